"""Where the videos of a job go, and what is kept beside them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_modelmax.api import DestinationError, InvalidInputError, Job, Result
from airflow_provider_modelmax.jobs.manifest import Destination, Manifest
from airflow_provider_modelmax.jobs.record import Progress
from airflow_provider_modelmax.storage.objects import Saved

JOB = Job.of({"request_id": "req-1", "model": "m/one"})
RESULT = Result("req-1", "m/one", ("/v1/content/1", "/v1/content/2"), {"seconds": 16})
TASK = {"dag_id": "d", "run_id": "manual__2026-11-22T11:32:05+00:00", "task_id": "t", "map_index": -1}
REQUEST = {"prompt": "a fox, 狐, 🦊", "parameters": {"sample_count": 2}}
VIDEOS = (Saved("s3://c@b/x-0.mp4", 12, "ab"), Saved("s3://c@b/x-1.mp4", 13, "cd"))
PROGRESS = Progress(JOB, order="0a1b", max_tries=2).asking("host:1:ab", 1e9 + 0.5).fetched(RESULT).landed(VIDEOS)
MANIFEST = Manifest(PROGRESS, TASK, REQUEST)


@pytest.mark.parametrize(
    ("destination", "before", "suffix", "exact"),
    [
        ("s3://c@b/v", "s3://c@b/v/job", ".mp4", False),
        ("s3://c@b/v/", "s3://c@b/v/job", ".mp4", False),
        ("s3://c@b", "s3://c@b/job", ".mp4", False),
        ("s3://b/", "s3://b/job", ".mp4", False),
        ("s3://c@b/x.mp4", "s3://c@b/x", ".mp4", True),
        ("s3://c@b/a.b/x.y.mp4", "s3://c@b/a.b/x.y", ".mp4", True),
        ("s3://c@b/x.MP4", "s3://c@b/x", ".MP4", True),
        ("s3://c@b/x.mp4/", "s3://c@b/x.mp4/job", ".mp4", False),
        ("  s3://c@b/v\n", "s3://c@b/v/job", ".mp4", False),
        ("/data/v", "/data/v/job", ".mp4", False),
        ("/x.mp4", "/x", ".mp4", True),
        ("/", "/job", ".mp4", False),
        ("file:/data/v", "file:/data/v/job", ".mp4", False),
        ("//data/v", "/data/v/job", ".mp4", False),
        ("~/v", f"{Path.home()}/v/job", ".mp4", False),
        (Path("/data/x.mp4"), "/data/x", ".mp4", True),
        (ObjectStoragePath("file:///data/v/"), "file:///data/v/job", ".mp4", False),
        (ObjectStoragePath("s3://c@b/v/"), "s3://c@b/v/job", ".mp4", False),
        ("file:///data/v/", "file:///data/v/job", ".mp4", False),
        ("s3://c@b/r:1+2=%20#?", "s3://c@b/r:1+2=%20#?/job", ".mp4", False),
    ],
)
def test_a_destination_is_a_folder_or_the_object_itself(
    destination: object, before: str, suffix: str, exact: bool
) -> None:
    parsed = Destination.parse(destination, "job")
    assert parsed.videos(1) == [before + suffix]
    assert parsed.videos(2) == [f"{before}-0{suffix}", f"{before}-1{suffix}"]
    assert parsed.manifest == f"{before}.modelmax.json"
    assert parsed.exact is exact


@pytest.mark.parametrize("destination", ["", "  ", "None", None, 7, ["s3://b/v"], b"s3://b/v"])
def test_a_destination_that_is_no_text_is_refused(destination: object) -> None:
    with pytest.raises(InvalidInputError, match="must be a folder such as s3://"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize(
    "destination", ["v", "videos/", "./x.mp4", "../v", "x.mp4", ".", "file:v", "file:./x.mp4", "視頻/", Path("v/x.mp4")]
)
def test_a_relative_path_is_refused_with_what_to_write_instead(destination: object) -> None:
    with pytest.raises(InvalidInputError, match=r"current directory.*Write the path from the root, such as /data"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize(
    "destination",
    [r"\\server\share\videos", r"C:\videos\x.mp4", "C:/videos/", "c:videos", "file:///C:/videos/", "file://C:/v/x.mp4"],
)
def test_a_path_of_windows_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInputError, match=r"a path of Windows.*Mount the folder on the workers"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize("destination", ["s3://b/x.mov", "/x.WEBM", "x.gif"])
def test_another_format_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInputError, match=r"end it in \.mp4, or name a folder"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize("destination", [".mp4", "s3://c@b/.mp4", "/v/.MP4"])
def test_an_object_whose_name_a_template_left_empty_is_refused(destination: str) -> None:
    with pytest.raises(InvalidInputError, match="a name must stand before"):
        Destination.parse(destination, "job")


@pytest.mark.parametrize(
    "manifest",
    [
        MANIFEST,
        replace(MANIFEST, progress=Progress(JOB).asking("host:1:ab", 1e9).fetched(RESULT)),
        replace(MANIFEST, progress=Progress(JOB).asking("host:1:ab", 1e9)),
        replace(MANIFEST, request=None),
    ],
    ids=["landed", "fetched", "fetching", "adopted"],
)
def test_what_is_written_is_read_back(manifest: Manifest, tmp_path: Path) -> None:
    uri = f"{tmp_path}/x.modelmax.json"
    manifest.write(uri)
    assert Manifest.read(uri) == manifest


def test_a_prompt_stays_readable_in_the_file(tmp_path: Path) -> None:
    MANIFEST.write(f"{tmp_path}/x.modelmax.json")
    assert "狐, 🦊" in (tmp_path / "x.modelmax.json").read_text("utf-8")


def test_an_emoji_cut_in_half_does_not_keep_the_manifest_from_being_written(tmp_path: Path) -> None:
    manifest = replace(MANIFEST, request={"prompt": "a fox, \ud83e"})
    manifest.write(f"{tmp_path}/x.modelmax.json")
    assert Manifest.read(f"{tmp_path}/x.modelmax.json") == manifest


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert Manifest.read(f"{tmp_path}/x.modelmax.json") is None


def written(tmp_path: Path) -> dict[str, Any]:
    MANIFEST.write(f"{tmp_path}/x.modelmax.json")
    document: dict[str, Any] = json.loads((tmp_path / "x.modelmax.json").read_text())
    return document


def test_fields_of_a_later_release_are_kept_when_the_manifest_is_written_back(tmp_path: Path) -> None:
    uri, document = f"{tmp_path}/x.modelmax.json", {**written(tmp_path), "manifest_version": "1.7", "colour": "red"}
    document["videos"][1]["codec"] = document["data"][0]["codec"] = "av1"
    document["task"]["map_key"], document["request"]["seed"] = "k", 7
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    found = Manifest.read(uri)
    assert found == replace(MANIFEST, task=document["task"], request=document["request"])
    assert found.is_of(TASK)
    Manifest(replace(found.progress, reason="since"), TASK, REQUEST, found.stored).write(uri)
    assert json.loads((tmp_path / "x.modelmax.json").read_text()) == {
        **document,
        "manifest_version": 1,
        "reason": "since",
    }


def test_fields_of_a_video_that_was_replaced_are_not_kept(tmp_path: Path) -> None:
    document = written(tmp_path)
    document["videos"][0]["codec"] = "av1"
    found = Progress.from_dict(document)
    assert "codec" not in found.landed((Saved(VIDEOS[0].uri, 12, "another"), VIDEOS[1])).as_dict()["videos"][0]


@pytest.mark.parametrize("version", [2, "2.0", 2.5, 10])
def test_a_manifest_that_only_a_newer_release_can_read_names_that_release(tmp_path: Path, version: object) -> None:
    later = {**written(tmp_path), "manifest_version": version, "provider_version": "3.1.4", "phase": {"new": "form"}}
    (tmp_path / "x.modelmax.json").write_text(json.dumps(later))
    with pytest.raises(DestinationError, match=r"airflow-provider-modelmax 3\.1\.4 .* Install that release or a later"):
        Manifest.read(f"{tmp_path}/x.modelmax.json")


@pytest.mark.parametrize("missing", ["request_id", "model", "phase"])
def test_a_manifest_without_a_job_or_a_phase_is_in_the_way(missing: str, tmp_path: Path) -> None:
    document = written(tmp_path)
    del document[missing]
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    with pytest.raises(DestinationError, match=r"x\.modelmax\.json is in the way.*Move it"):
        Manifest.read(f"{tmp_path}/x.modelmax.json")


@pytest.mark.parametrize("missing", sorted(MANIFEST.as_dict().keys() - {"request_id", "model", "phase", "data"}))
def test_any_other_field_has_a_default(missing: str, tmp_path: Path) -> None:
    for document in (written(tmp_path), {**written(tmp_path), missing: None}):
        if document[missing] is not None:
            del document[missing]
        (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
        found = Manifest.read(f"{tmp_path}/x.modelmax.json")
        assert (found.progress.job.request_id, found.progress.result.urls) == ("req-1", RESULT.urls)


@pytest.mark.parametrize("phase", ["fetched", "landed"])
def test_a_manifest_that_was_paid_for_and_lost_its_data_is_not_one_that_can_be_paid_for(tmp_path, phase) -> None:
    document = {**written(tmp_path), "phase": phase, "data": None}
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    with pytest.raises(DestinationError, match="but there is no data"):
        Manifest.read(f"{tmp_path}/x.modelmax.json")


@pytest.mark.parametrize(
    "changed",
    [
        {"data": ["text"]},
        {"videos": [{}]},
        {"videos": 3},
        {"usage": 7},
        {"usage": "text"},
        {"usage": ["text"]},
        {"task": "text"},
        {"asks": "many"},
        {"busy_until": "later"},
        {"manifest_version": "one"},
    ],
    ids=str,
)
def test_a_manifest_of_another_shape_is_in_the_way(changed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.modelmax.json").write_text(json.dumps({**written(tmp_path), **changed}))
    with pytest.raises(DestinationError, match=r"x\.modelmax\.json is in the way.*Move it"):
        Manifest.read(f"{tmp_path}/x.modelmax.json")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"not json", b'{"a": 1}'])
def test_a_foreign_file_is_in_the_way(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.modelmax.json").write_bytes(text)
    with pytest.raises(DestinationError, match=r"x\.modelmax\.json is in the way.*Move it"):
        Manifest.read(f"{tmp_path}/x.modelmax.json")
