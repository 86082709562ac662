"""Whether a destination can be written: buckets, rights, credentials, stores that are away."""

from __future__ import annotations

import gc
import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from airflow.sdk import ObjectStoragePath

from airflow_provider_modelmax.api import BrokenVideoError, DestinationError, StorageError
from airflow_provider_modelmax.storage import throwaway
from airflow_provider_modelmax.storage.objects import (
    check_writable,
    create_json,
    load_json,
    read_bytes,
    save_json,
    save_video,
    size_of,
)
from tests.mp4s import padded
from tests.stack.bare_server import Answers, answering
from tests.stack.processes import free_port
from tests.stack.s3 import SeaweedFS
from tests.storage.common import MEBI, SMALL, bucket_of, missing_bucket, object_stores
from tests.stores import CONN_ID, AzureStore, GcsStore, S3Store, Store, on

if TYPE_CHECKING:
    from collections.abc import Callable
    from contextlib import AbstractContextManager


def test_a_check_leaves_nothing(store: Store) -> None:
    check_writable(store.uri(""))
    check_writable(store.uri("a/b"))
    gc.collect(1)
    assert store.names() == []
    assert store.leftovers() == []


def test_a_check_leaves_not_even_a_folder(tmp_path: Path) -> None:
    check_writable(f"{tmp_path}/a/b")
    assert list(tmp_path.iterdir()) == []


@object_stores
def test_a_check_passes_at_the_root_of_a_bucket(store: Store) -> None:
    bucket = bucket_of(store)
    check_writable(bucket)
    check_writable(f"{bucket}/")
    assert not [path.name for path in ObjectStoragePath(bucket).iterdir() if throwaway.PREFIX in path.name]


@on("azure")
def test_a_check_needs_no_right_to_list_or_delete(store: AzureStore, connected: Callable[..., str]) -> None:
    writer = connected(store.server.connection_with(write=True))
    check_writable(store.uri("").replace(f"{CONN_ID}@", f"{writer}@"))
    assert store.names() == []


@object_stores
def test_a_check_names_the_bucket_that_does_not_exist(store: Store) -> None:
    missing = missing_bucket(store)
    with pytest.raises(DestinationError, match=rf"{missing}/v: the bucket .* does not exist(?s:.)*Create it"):
        check_writable(f"{missing}/v")


@object_stores
def test_a_video_for_a_bucket_that_does_not_exist_says_so(store: Store) -> None:
    missing = missing_bucket(store)
    for video in (SMALL, padded(9 * MEBI), padded(16 * MEBI)):
        with pytest.raises(DestinationError, match=r"the bucket .* does not exist"):
            save_video(f"{missing}/x.mp4", [video])
    assert size_of(f"{missing}/x.mp4") is None
    assert load_json(f"{missing}/x.json") is None


@on("s3", "azure")
def test_rights_to_list_read_and_write_are_enough(store: S3Store | AzureStore, connected: Callable[..., str]) -> None:
    folder = store.uri("").rstrip("/").replace(f"{CONN_ID}@", f"{connected(store.writer())}@")
    video = padded(9 * MEBI)
    check_writable(folder)
    assert load_json(f"{folder}/x.json") is None
    assert create_json(f"{folder}/x.json", {})
    save_json(f"{folder}/x.json", {"more": 1})
    with pytest.raises(BrokenVideoError):
        save_video(f"{folder}/x.mp4", [video[:-1]])
    assert size_of(f"{folder}/x.mp4") is None
    save_video(f"{folder}/x.mp4", [video], size=len(video))
    assert load_json(f"{folder}/x.json") == {"more": 1}
    assert read_bytes(f"{folder}/x.mp4", 10) == video[:10]
    assert store.names() == ["x.json", "x.mp4"]
    assert store.leftovers() == []


@on("s3", "azure")
def test_a_connection_that_may_only_read_is_refused(store: Store, connected: Callable[..., str]) -> None:
    store.put("x.json", b"{}")
    folder = store.uri("").rstrip("/").replace(f"{CONN_ID}@", f"{connected(store.reader())}@")
    assert load_json(f"{folder}/x.json") == {}
    calls: list[Callable[[], object]] = [
        lambda: check_writable(folder),
        lambda: save_video(f"{folder}/x.mp4", [SMALL]),
        lambda: save_video(f"{folder}/x.mp4", [padded(9 * MEBI)]),
        lambda: save_json(f"{folder}/y.json", {}),
        lambda: create_json(f"{folder}/y.json", {}),
    ]
    for call in calls:
        with pytest.raises(DestinationError, match=r"access denied (?s:.)* give their user the right"):
            call()
    assert store.names() == ["x.json"]


@on("s3", "azure")
def test_wrong_credentials_are_refused_by_every_call(store: Store, connected: Callable[..., str]) -> None:
    store.put("x.json", b"{}")
    for stranger in store.strangers():
        folder = store.uri("").rstrip("/").replace(f"{CONN_ID}@", f"{connected(stranger)}@")
        calls: list[Callable[[], object]] = [
            lambda: check_writable(folder),  # noqa: B023 - called before the next folder
            lambda: size_of(f"{folder}/x.json"),  # noqa: B023
            lambda: load_json(f"{folder}/x.json"),  # noqa: B023
            lambda: save_json(f"{folder}/y.json", {}),  # noqa: B023
            lambda: save_video(f"{folder}/x.mp4", [SMALL]),  # noqa: B023
        ]
        for call in calls:
            with pytest.raises(DestinationError, match=r"access denied (?s:.)* Check the credentials") as raised:
                call()
            assert "wrong" not in str(raised.value)
        with pytest.raises(StorageError, match="cannot be read: "):
            read_bytes(f"{folder}/x.json", 10)
    assert store.names() == ["x.json"]


@on("gcs")
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_google_is_access_denied(store: GcsStore, connected: Callable[..., str], status: int) -> None:
    """What fake-gcs-server never says, in the words of Google's documentation."""
    said = {401: "Anonymous credentials", 403: r"does not have storage\.objects\.create access"}
    body = {"error": {"code": status, "message": "robot does not have storage.objects.create access", "errors": []}}
    with refusing(status, json.dumps(body).encode()) as url:
        connection = store.server.connection
        connection["extra"]["gcs.endpoint"] = url
        folder = f"gs://{connected(connection)}@videos/v"
        calls: list[Callable[[], object]] = [
            lambda: check_writable(folder),
            lambda: size_of(f"{folder}/x.json"),
            lambda: load_json(f"{folder}/x.json"),
            lambda: save_json(f"{folder}/y.json", {}),
            lambda: create_json(f"{folder}/y.json", {}),
            lambda: save_video(f"{folder}/x.mp4", [padded(9 * MEBI)]),
        ]
        for call in calls:
            with pytest.raises(DestinationError, match=rf"access denied \((?s:.)*{said[status]}"):
                call()


def refusing(status: int, body: bytes) -> AbstractContextManager[str]:
    """Run a server that answers every request alike."""

    class Refusal(Answers):
        def answer(self, _: bytes) -> None:
            self.say(status, body)

    return answering(Refusal)


def test_a_store_that_cannot_be_reached_is_no_mistake_of_the_destination(
    seaweedfs: SeaweedFS, connected: Callable[..., str]
) -> None:
    connection = seaweedfs.connection
    connection["extra"]["endpoint_url"] = f"http://127.0.0.1:{free_port()}"
    connection["extra"]["config_kwargs"]["retries"] = {"total_max_attempts": 1}
    folder = f"s3://{connected(connection)}@{seaweedfs.bucket}/v"
    for call in (lambda: check_writable(folder), lambda: size_of(f"{folder}/x.mp4")):
        with pytest.raises(StorageError, match=r"the store failed .*Could not connect") as raised:
            call()
        assert not isinstance(raised.value, DestinationError)
