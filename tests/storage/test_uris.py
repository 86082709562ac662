"""URIs: which connection and which library one names, and that any name is found again."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_modelmax.api import DestinationError
from airflow_provider_modelmax.jobs.destination import Destination
from airflow_provider_modelmax.storage import local as local_file
from airflow_provider_modelmax.storage.location import locate
from airflow_provider_modelmax.storage.objects import (
    check_writable,
    load_json,
    read_bytes,
    save_json,
    save_video,
    size_of,
)
from tests.storage.common import OLD, SMALL, object_stores
from tests.stores import STORES, S3Store, Store, on

if TYPE_CHECKING:
    from collections.abc import Callable

NOT_FOUND = r".*: it does not exist, or Airflow's API server did not answer"

NAMES = [
    "with space",
    "manual__2026-11-22T11:32:05+00:00",
    "ünï-狐-🦊",
    "100%",
    "a%20b%2Fc",
    "a#b",
    "a?b=c&d",
    "a;b,c",
    "[a]*!'()",
    "job-=?+ 0",
    ".hidden",
    "~",
    "~root",
    " a ",
    "a...b",
    '{a}<b>|^`"',
    "e\u0301 \ufeff",
    "a@b:c",
    "?versionid3",
]


@pytest.mark.parametrize("userinfo", ["nobody", "my%40conn", "store:x", "store%20", "a@b", "Store-2", "", "ünï", "a b"])
def test_an_unknown_connection_never_becomes_the_machines_own_credentials(
    s3: S3Store, userinfo: str, monkeypatch: pytest.MonkeyPatch, connected: Callable[..., str]
) -> None:
    connected(s3.server.connection, "my@conn")  # what %40 would be if it were decoded
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "owner")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-the-owner")
    monkeypatch.setenv("AWS_ENDPOINT_URL", s3.server.url)
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    folder = f"s3://{userinfo}@{s3.server.bucket}/{s3.prefix}"
    calls: list[Callable[[], object]] = [
        lambda: check_writable(folder),
        lambda: size_of(f"{folder}/x.json"),
        lambda: save_video(f"{folder}/x.mp4", [SMALL]),
        lambda: read_bytes(f"{folder}/x.mp4", 1),
    ]
    for call in calls:
        with pytest.raises(DestinationError, match=NOT_FOUND):
            call()
    check_writable(f"s3://{s3.server.bucket}/{s3.prefix}")  # whoever leaves it out asks for them


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs"])
def test_an_unknown_connection_is_refused_on_every_store(scheme: str) -> None:
    with pytest.raises(DestinationError, match=f"'nobody'{NOT_FOUND}"):
        check_writable(f"{scheme}://nobody@videos/x.mp4")


@pytest.mark.parametrize("conn_id", ["my.conn-2", "my@conn", "my_Conn", "my conn", "MY%40CONN", "my:conn"])
def test_a_connection_may_have_any_name(s3: S3Store, conn_id: str, connected: Callable[..., str]) -> None:
    connected(s3.server.connection, conn_id)
    save_video(f"s3://{conn_id}@{s3.server.bucket}/{s3.prefix}/x.mp4", [SMALL])
    assert s3.read("x.mp4") == SMALL


def test_a_connection_that_airflow_cannot_use_is_refused(connected: Callable[..., str]) -> None:
    conn_id = connected({"conn_type": "aws", "extra": {"config_kwargs": {"no_such_option": 1}}})
    with pytest.raises(DestinationError, match=r"cannot be opened \(.*no_such_option.*\)\. Correct the connection\."):
        size_of(f"s3://{conn_id}@videos/x.mp4")


@pytest.mark.parametrize("uri", ["ftp://h/x.mp4", "https://h/x.mp4", "memory://x", "s3n://b/x.mp4", "run:1/x.mp4"])
def test_a_scheme_that_is_not_supported_is_refused(uri: str) -> None:
    with pytest.raises(DestinationError, match=r":// is not supported\. Use one of file, s3"):
        locate(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///x.mp4", "s3:x.mp4", "s3:/b/x.mp4", "s3://store@/x.mp4"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(DestinationError, match=r"names no bucket\. Write s3://conn_id@bucket/folder"):
        locate(uri)


def test_a_uri_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DestinationError, match=r"s3://\[b/x\.mp4 is no URI"):
        locate("s3://[b/x.mp4")


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("gcs", "gcs"), ("abfs", "azure"), ("abfss", "azure")])
def test_a_scheme_whose_provider_is_missing_names_the_extra(scheme: str, extra: str) -> None:
    if extra in STORES:
        pytest.skip(f"what {scheme}:// needs is installed here; `make test` runs this")
    assert_extra_named(extra, f"{scheme}://bucket")


def test_s3_without_amazons_provider_names_the_extra(
    connected: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    conn_id = connected({"conn_type": "aws"})
    for name in ("airflow.providers.amazon.aws.hooks.base_aws", "boto3", "botocore", "botocore.exceptions"):
        monkeypatch.setitem(sys.modules, name, None)
    assert_extra_named("s3", f"s3://{conn_id}@videos")


def assert_extra_named(extra: str, folder: str) -> None:
    """Assert that every call says what to install."""
    calls: list[Callable[[], object]] = [
        lambda: check_writable(folder),
        lambda: size_of(f"{folder}/x.mp4"),
        lambda: load_json(f"{folder}/x.json"),
        lambda: read_bytes(f"{folder}/x.png", 10),
        lambda: save_json(f"{folder}/x.json", {}),
        lambda: save_video(f"{folder}/x.mp4", [SMALL]),
    ]
    for call in calls:
        with pytest.raises(DestinationError) as raised:
            call()
        assert f"pip install 'airflow-provider-modelmax[{extra}]'" in str(raised.value)


@pytest.mark.parametrize("name", NAMES)
def test_any_name_is_found_again_under_exactly_that_name(store: Store, name: str) -> None:
    """Ours, a bystander and Airflow itself agree."""
    video, document = f"{name}/{name}.mp4", f"{name}/{name}.json"
    check_writable(store.uri(name))
    save_video(store.uri(video), [SMALL])
    save_json(store.uri(document), {"name": name})
    assert store.names() == sorted([video, document])
    assert store.read(video) == SMALL
    assert size_of(store.uri(video)) == len(SMALL)
    assert read_bytes(store.uri(video), 10) == SMALL[:10]
    assert load_json(store.uri(document)) == {"name": name}
    assert ObjectStoragePath(store.uri(video)).read_bytes() == SMALL
    assert store.leftovers() == []


@pytest.mark.parametrize("name", NAMES)
def test_video_and_manifest_of_an_exact_object_are_two_objects_at_the_names_that_are_reported(
    store: Store, name: str
) -> None:
    destination = Destination.parse(store.uri(f"{name}.mp4"), "unused")
    (video,) = destination.videos(1)
    save_video(video, [SMALL])
    save_json(destination.manifest, {"name": name})
    assert (video, destination.manifest) == (store.uri(f"{name}.mp4"), store.uri(f"{name}.modelmax.json"))
    assert store.names() == sorted([f"{name}.mp4", f"{name}.modelmax.json"])
    assert store.read(f"{name}.mp4") == SMALL


READ_AS_ANOTHER = {
    "take?versionId=3": "reads \\?versionId= as a version",
    "take?versionId=": "reads \\?versionId= as a version",
    "a//b": "two slashes in a row",
    "/a": "two slashes in a row",
    "./a": "a folder named \\. or \\.\\.",
    "a/./b": "a folder named \\. or \\.\\.",
    "../a": "a folder named \\. or \\.\\.",
    "a/../b": "a folder named \\. or \\.\\.",
    "..": "a folder named \\. or \\.\\.",
    "a\\b": "a backslash",
    "a\tb": "the character '\\\\t'",
    "a\nb": "the character '\\\\n'",
    "a\rb": "the character '\\\\r'",
    "a\0b": "the character '\\\\x00'",
    "a\x1bb": "the character '\\\\x1b'",
    "a\x7fb": "the character '\\\\x7f'",
    "half \ud83e": "the character '\\\\ud83e'",
}


@on("s3")
@pytest.mark.parametrize("name", READ_AS_ANOTHER)
def test_a_name_that_would_be_read_as_another_is_refused(store: Store, name: str) -> None:
    calls: list[Callable[[], object]] = [
        lambda: check_writable(store.uri(name)),
        lambda: check_writable(store.uri(f"{name}/")),
        lambda: size_of(store.uri(f"{name}/x.mp4")),
        lambda: save_video(store.uri(f"{name}/x.mp4"), [SMALL]),
        lambda: load_json(store.uri(f"{name}/x.modelmax.json")),
        lambda: read_bytes(store.uri(f"{name}/x.png"), 10),
    ]
    for call in calls:
        with pytest.raises(DestinationError, match=READ_AS_ANOTHER[name]) as raised:
            call()
        assert raised.value.leads_nowhere
    assert store.names() == []


@pytest.mark.parametrize("name", [name for name in READ_AS_ANOTHER if not name.isprintable()])
@pytest.mark.parametrize("place", ["/data/", "file:///data/", "s3://b/", "gs://b/", "abfs://b/"])
def test_a_name_with_a_control_character_is_refused_on_every_store(place: str, name: str) -> None:
    with pytest.raises(DestinationError, match=READ_AS_ANOTHER[name]):
        locate(f"{place}{name}/x.mp4")


@pytest.mark.parametrize("name", ["a?versionId=3", "a\\b", "a//b", "a/./b", "a/../b"])
def test_a_local_name_is_what_the_file_system_makes_of_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "a").mkdir()
    save_video(f"{tmp_path}/{name}/x.mp4", [SMALL])
    assert Path(f"{tmp_path}/{name}/x.mp4").read_bytes() == SMALL
    assert size_of(f"{tmp_path}/{name}/x.mp4") == len(SMALL)


@pytest.mark.parametrize(
    "bucket",
    ["videos?versionId=3", "videos#1", "videos:80", "vid eos", "videos%2Fx", "videos\\x", "bücket", "*", "{videos}"],
)
@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs"])
def test_a_bucket_whose_name_cannot_be_one_is_refused(scheme: str, bucket: str) -> None:
    for uri in (f"{scheme}://{bucket}/x.mp4", f"{scheme}://{bucket}"):
        with pytest.raises(DestinationError, match="the bucket's name may have letters"):
            locate(uri)


@pytest.mark.parametrize("bucket", ["-videos", "videos-", ".videos", "_"])
def test_a_bucket_whose_name_google_refuses_is_named(bucket: str) -> None:
    with pytest.raises(DestinationError, match="has to begin and to end with a letter or a digit"):
        locate(f"gs://{bucket}/x.mp4")


@on("azure")
@pytest.mark.parametrize("name", ["take?versionid=3", "a/take?versionid="])
def test_a_name_that_azures_library_reads_as_a_version_is_refused(store: Store, name: str) -> None:
    for call in (lambda: check_writable(store.uri(name)), lambda: save_video(store.uri(f"{name}/x.mp4"), [SMALL])):
        with pytest.raises(DestinationError, match=r"reads \?versionid= as a version"):
            call()
    assert store.names() == []


@on("s3")
def test_a_name_like_a_version_of_another_store_is_a_name(store: Store) -> None:
    for name in ("?versionid=3", "?generation=3", "#1234567890123456"):
        save_video(store.uri(f"{name}.mp4"), [SMALL])
        assert store.read(f"{name}.mp4") == SMALL


@on("azure")
def test_a_part_of_a_name_that_ends_in_a_dot_is_refused_by_azure(store: Store) -> None:
    with pytest.raises(DestinationError, match="ends in a dot"):
        save_video(store.uri("a./x.mp4"), [SMALL])


@on("local", "s3")
@pytest.mark.parametrize("name", NAMES)
def test_unfinished_writes_of_any_name_are_cleared(store: Store, name: str) -> None:
    if isinstance(store, S3Store):
        store.begin(f"{name}.mp4")
    else:
        store.put(f".{local_file.short_name(Path(f'{name}.mp4'))}.12345678.part", b"half")
    assert len(store.leftovers()) == 1
    save_video(store.uri(f"{name}.mp4"), [SMALL])
    assert store.leftovers() == []


def test_local_paths_may_be_written_in_many_ways(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    forms = [
        "r/1.mp4",
        "./r/2.mp4",
        f"{tmp_path}/r/3.mp4",
        f"file://{tmp_path}/r/4.mp4",
        f"file:{tmp_path}/r/5.mp4",
        f"FILE://{tmp_path}/r/6.mp4",
        "~/r/7.mp4",
        f"/{tmp_path}/r/8.mp4",
        f"file:///{tmp_path}/r/9.mp4",
    ]
    for form in forms:
        save_video(form, [SMALL])
        assert size_of(form) == len(SMALL)
    assert sorted(path.name for path in tmp_path.rglob("*.mp4")) == [f"{n}.mp4" for n in range(1, 10)]
    assert {path.parent for path in tmp_path.rglob("*.mp4")} == {tmp_path / "r"}


@pytest.mark.parametrize("uri", ["file://data/x.mp4", "file://localhost/x.mp4", "file://conn@/x.mp4"])
def test_a_file_uri_with_a_host_is_refused(uri: str) -> None:
    with pytest.raises(DestinationError, match=r"names the host .* Write file:///"):
        save_video(uri, [SMALL])


def test_a_home_of_nobody_is_refused() -> None:
    with pytest.raises(DestinationError, match=r"~nosuchuser/x.mp4: .* Write the path from the root"):
        save_video("~nosuchuser/x.mp4", [SMALL])


def test_something_else_in_the_way_of_a_local_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "file").write_bytes(OLD)
    (tmp_path / "folder.mp4").mkdir()
    (tmp_path / "dangling").symlink_to(tmp_path / "nowhere")
    calls: list[Callable[[], object]] = [
        lambda: check_writable(f"{tmp_path}/file"),
        lambda: check_writable(f"{tmp_path}/file/v"),
        lambda: check_writable(f"{tmp_path}/dangling"),
        lambda: size_of(f"{tmp_path}/folder.mp4"),
        lambda: size_of(f"{tmp_path}/file/x.mp4"),
        lambda: load_json(f"{tmp_path}/folder.mp4"),
        lambda: save_video(f"{tmp_path}/folder.mp4", [SMALL]),
        lambda: save_video(f"{tmp_path}/file/x.mp4", [SMALL]),
    ]
    for call in calls:
        with pytest.raises(DestinationError, match=r"in the way.*Move it, or choose another destination"):
            call()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["dangling", "file", "folder.mp4"]


@object_stores
def test_a_folder_of_an_object_store_is_no_object(store: Store) -> None:
    store.put("x.mp4/y", OLD)
    assert size_of(store.uri("x.mp4")) is None
    assert load_json(store.uri("x.mp4")) is None


def test_a_listing_made_before_hides_nothing_written_since(store: Store) -> None:
    store.put("v/a.json", b"{}")
    listed = [path.name for path in ObjectStoragePath(store.uri("v")).iterdir()]
    store.put("v/x.json", b'{"bytes": 1}')
    store.put("v/a.json", b'{"longer": true}')
    assert listed == ["a.json"]
    assert size_of(store.uri("v/x.json")) == 12
    assert size_of(store.uri("v/a.json")) == 16
    assert read_bytes(store.uri("v/a.json"), 100) == b'{"longer": true}'
    assert load_json(store.uri("v/x.json")) == {"bytes": 1}
