"""Bytes become a checked object, all or nothing: on a local folder, S3, Google Cloud Storage and Azure."""

from __future__ import annotations

import contextlib
import gc
import hashlib
import itertools
import json
import os
import signal
import subprocess
import sys
import threading
import tracemalloc
import uuid
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from airflow.exceptions import AirflowTaskTimeout
from airflow.sdk import ObjectStoragePath
from airflow.sdk.io import has_fs
from fsspec.spec import AbstractBufferedFile
from s3fs import S3FileSystem

from airflow_provider_modelmax import local_file, storage, stores
from airflow_provider_modelmax.mp4 import BrokenVideoError
from airflow_provider_modelmax.storage import (
    check_writable,
    create_json,
    load_json,
    read_bytes,
    save_json,
    save_video,
    size_of,
)
from airflow_provider_modelmax.stores import DestinationError, StorageError, connect
from tests.mp4s import encode, padded
from tests.stack.processes import PROJECT, child_environment, free_port
from tests.stack.s3 import BUCKET, SeaweedFS
from tests.stores import CONN_ID, ELSEWHERE, MAKERS, MISSING, STORES, AzureStore, GcsStore, S3Store, Store, on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

# A file that fails when it is forgotten was not discarded in full.
pytestmark = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")

MEBI = 1024 * 1024
OLD = b"what stood there before"
SMALL = encode("faststart")
SIZES = {"small": len(SMALL), "one part": 8 * MEBI, "several parts": 20 * MEBI + 12_345}

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
]


@pytest.fixture(autouse=True)
def _no_connection_is_remembered() -> Iterator[None]:
    yield
    stores._look_up.cache_clear()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = MAKERS[request.param](request, tmp_path, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


object_stores = on("s3", "gcs", "azure")


@pytest.fixture
def s3(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    made = S3Store(seaweedfs, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], str]:
    """Make a connection under an id that no other test uses: Airflow keeps the filesystem of an id."""

    def make(connection: dict[str, Any], conn_id: str = "") -> str:
        conn_id = conn_id or f"c{uuid.uuid4().hex}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    return make


def pieces(video: bytes, size: int) -> Iterator[bytes]:
    return (video[at : at + size] for at in range(0, len(video), size))


def nothing_new(store: Store, old: bytes | None) -> bool:
    """Say whether the store shows what it showed before, and hides nothing."""
    gc.collect(1)  # a file that was only forgotten would be published by now
    if store.leftovers():
        return False
    return store.names() == [] if old is None else store.names() == ["x.mp4"] and store.read("x.mp4") == old


def bucket_of(store: Store) -> str:
    return store.uri("").split(f"@{BUCKET}")[0] + f"@{BUCKET}"


def missing_bucket(store: Store) -> str:
    return bucket_of(store).replace(f"@{BUCKET}", "@no-such-bucket")


@pytest.mark.skipif(bool(MISSING), reason=ELSEWHERE)
def test_all_of_this_holds_on_all_stores() -> None:
    assert STORES == ["local", "s3", "gcs", "azure"]


# --- whole objects ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("chunk", [10_007, MEBI, 9 * MEBI + 1])
@pytest.mark.parametrize("size", SIZES)
def test_a_video_lands_whole_with_its_size_digest_and_content_type(store: Store, size: str, chunk: int) -> None:
    video, told = padded(SIZES[size]) if size != "small" else SMALL, []
    saved = save_video(store.uri("x.mp4"), pieces(video, chunk), size=len(video), on_progress=told.append)
    digest = hashlib.sha256(video).hexdigest()
    assert (saved.uri, saved.size, saved.sha256) == (store.uri("x.mp4"), len(video), digest)
    assert hashlib.sha256(store.read("x.mp4")).hexdigest() == digest
    assert store.content_type("x.mp4") in {"video/mp4", None}
    assert store.names() == ["x.mp4"]
    assert store.leftovers() == []
    assert told == [*range(chunk, len(video), chunk), len(video)]


@object_stores
def test_an_object_store_says_video_mp4(store: Store) -> None:
    for name, video in (("small.mp4", SMALL), ("big.mp4", padded(9 * MEBI))):
        save_video(store.uri(name), [video])
        assert store.content_type(name) in {"video/mp4", None}
    save_json(store.uri("x.json"), {})
    create_json(store.uri("y.json"), {})
    assert store.content_type("x.json") in {"application/json", None}
    assert store.content_type("y.json") == "application/json"


def test_an_old_object_is_replaced(store: Store) -> None:
    store.put("x.mp4", OLD)
    save_video(store.uri("x.mp4"), [SMALL])
    assert store.read("x.mp4") == SMALL


def test_empty_chunks_are_no_end(store: Store) -> None:
    assert save_video(store.uri("x.mp4"), [b"", SMALL[:100], b"", SMALL[100:], b""]).size == len(SMALL)


def test_folders_are_made(store: Store) -> None:
    save_video(store.uri("a/b/c/x.mp4"), [SMALL])
    assert store.names() == ["a/b/c/x.mp4"]


# --- nothing, or what stood there before -----------------------------------------------------------------------------


@pytest.mark.parametrize("old", [None, OLD], ids=["nothing before", "an old object"])
@pytest.mark.parametrize("after", [0, 1000, 9 * MEBI, 20 * MEBI + 12_345], ids=["at once", "small", "parts", "all"])
@pytest.mark.parametrize("error", [OSError, KeyboardInterrupt, SystemExit, AirflowTaskTimeout, GeneratorExit])
def test_an_exception_in_the_middle_leaves_what_was_there(
    store: Store, error: type[BaseException], after: int, old: bytes | None
) -> None:
    if old:
        store.put("x.mp4", old)

    def failing() -> Iterator[bytes]:
        yield from pieces(padded(20 * MEBI + 12_345)[:after], MEBI + 7)
        raise error

    with pytest.raises(error):
        save_video(store.uri("x.mp4"), failing())
    assert nothing_new(store, old)


@pytest.mark.parametrize("old", [None, OLD], ids=["nothing before", "an old object"])
@pytest.mark.parametrize("size", SIZES)
@pytest.mark.parametrize("told", [True, False], ids=["size known", "size unknown"])
def test_a_cut_that_shows_only_at_the_end_leaves_what_was_there(
    store: Store, size: str, told: bool, old: bytes | None
) -> None:
    if old:
        store.put("x.mp4", old)
    video = padded(SIZES[size]) if size != "small" else SMALL
    with pytest.raises(BrokenVideoError):
        save_video(store.uri("x.mp4"), pieces(video[:-1], MEBI), size=len(video) if told else None)
    assert nothing_new(store, old)


@pytest.mark.parametrize("size", [len(SMALL) - 1, len(SMALL) + 1, 0])
def test_another_size_than_was_said_is_no_whole_video(store: Store, size: int) -> None:
    with pytest.raises(BrokenVideoError, match=f"bytes came of {size:,}"):
        save_video(store.uri("x.mp4"), [SMALL], size=size)
    assert nothing_new(store, None)


@pytest.mark.parametrize("body", [b"<html>502</html>", b'{"error":1}', b"", b"\0" * 100])
def test_what_is_no_video_is_not_kept(store: Store, body: bytes) -> None:
    with pytest.raises(BrokenVideoError):
        save_video(store.uri("x.mp4"), [body])
    assert nothing_new(store, None)


def test_html_ends_the_download_at_its_first_chunk(store: Store) -> None:
    chunks = iter([b"<!DOCTYPE html>", *[b"never written"] * 1000])
    with pytest.raises(BrokenVideoError):
        save_video(store.uri("x.mp4"), chunks)
    assert len(list(chunks)) >= 1000 - storage.AHEAD - 1


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt])
def test_a_report_that_fails_leaves_nothing(store: Store, error: type[BaseException]) -> None:
    def report(_: int) -> None:
        raise error

    with pytest.raises(error):
        save_video(store.uri("x.mp4"), [SMALL], on_progress=report)
    assert nothing_new(store, None)


@pytest.mark.parametrize("size", SIZES)
def test_a_store_that_fails_to_publish_leaves_the_old_object(
    store: Store, size: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("x.mp4", OLD)
    fail_to_publish(monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(StorageError, match=r"x\.mp4: the store failed \(OSError: .*No space left on device"):
        save_video(store.uri("x.mp4"), [padded(SIZES[size]) if size != "small" else SMALL])
    monkeypatch.undo()
    assert nothing_new(store, OLD)


@pytest.mark.parametrize("error", [KeyboardInterrupt, AirflowTaskTimeout])
def test_a_kill_while_publishing_leaves_the_old_object(
    store: Store, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("x.mp4", OLD)
    fail_to_publish(monkeypatch, error())
    with pytest.raises(error):
        save_video(store.uri("x.mp4"), [padded(9 * MEBI)])
    monkeypatch.undo()
    assert nothing_new(store, OLD)


def fail_to_publish(monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A full disk and a signal at this very moment cannot be had; all else is real."""

    def fail(*_: object) -> None:
        raise error

    call, flush = S3FileSystem.call_s3, AbstractBufferedFile.flush
    publishing = {"put_object", "complete_multipart_upload"}
    monkeypatch.setattr(os, "fsync", fail)
    monkeypatch.setattr(S3FileSystem, "call_s3", lambda *a, **k: fail() if a[1] in publishing else call(*a, **k))
    monkeypatch.setattr(AbstractBufferedFile, "flush", lambda file, force=False: fail() if force else flush(file))


def test_an_upload_that_cannot_be_discarded_is_still_not_published(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(*_: object) -> None:
        raise OSError("the store is gone")

    monkeypatch.setattr(S3FileSystem, "abort_mpu", fail)
    with pytest.raises(BrokenVideoError), caplog.at_level("WARNING"):
        save_video(s3.uri("x.mp4"), [padded(9 * MEBI)[:-1]])
    gc.collect(1)
    assert s3.names() == []
    assert "An unfinished upload may be left behind: OSError: the store is gone" in caplog.text


def test_a_json_document_that_cannot_be_written_leaves_the_old_one(store: Store) -> None:
    save_json(store.uri("x.mp4"), {"old": True})
    old = store.read("x.mp4")
    with pytest.raises(TypeError):
        save_json(store.uri("x.mp4"), {"value": object()})
    assert nothing_new(store, old)


@on("azure")
def test_the_log_is_not_filled_with_the_headers_of_every_request(
    store: AzureStore, caplog: pytest.LogCaptureFixture
) -> None:
    uri = store.uri("x.mp4")
    with caplog.at_level("INFO"):
        save_video(uri, [padded(9 * MEBI)])
    assert [record.name for record in caplog.records if record.name.startswith("azure")] == []


# --- killed writers, several writers ---------------------------------------------------------------------------------

WRITER = """
import sys
from airflow_provider_modelmax.storage import save_video
from tests.mp4s import padded

def written(count):
    print("in the middle", flush=True)
    sys.stdin.read()

save_video(sys.argv[1], [padded(20 << 20)[: 17 << 20], b""], on_progress=written)
"""


@pytest.fixture
def writer(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """Start another process that has written 17 of 20 MiB of x.mp4 and waits."""
    home = {"AIRFLOW_HOME": str(tmp_path_factory.mktemp("airflow")), "PYTHONPATH": str(PROJECT)}
    process = subprocess.Popen(
        [sys.executable, "-c", WRITER, store.uri("x.mp4")],
        env=child_environment({**store.environment(), **home}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert any("in the middle" in line for line in process.stdout)
        yield process
        process.kill()


def test_a_killed_writer_leaves_nothing_visible_and_the_next_one_clears_up(
    store: Store, writer: subprocess.Popen[str]
) -> None:
    unfinished = 1 if store.keeps_unfinished else 0
    assert len(store.leftovers()) == unfinished
    writer.send_signal(signal.SIGKILL)
    writer.wait()
    assert store.names() == []
    assert len(store.leftovers()) == unfinished
    assert size_of(store.uri("x.mp4")) is None
    for other in ("x", "x.mp", "y.mp4", "x.mp4.mp4"):
        save_video(store.uri(other), [SMALL])
    assert len(store.leftovers()) == unfinished
    video = padded(9 * MEBI)
    save_video(store.uri("x.mp4"), [video], size=len(video))
    assert store.leftovers() == []
    assert store.read("x.mp4") == video


def test_a_living_writer_is_told_or_left_alone(store: Store, writer: subprocess.Popen[str]) -> None:
    """Local writers lock their file. Elsewhere are no locks: the later one wins, and neither leaves half a video."""
    save_video(store.uri("x.mp4"), [SMALL])
    assert store.read("x.mp4") == SMALL
    assert len(store.leftovers()) == (1 if store.kind == "local" else 0)
    writer.kill()
    writer.wait()
    assert store.read("x.mp4") == SMALL


def write_overtaken(store: Store, video: bytes) -> None:
    """Write a video of 20 MiB while another writer puts SMALL in its place."""

    def overtake(written: int) -> None:
        if written < len(video):
            save_video(store.uri("x.mp4"), [SMALL])

    save_video(store.uri("x.mp4"), [video[: 17 * MEBI], video[17 * MEBI :]], on_progress=overtake)


@on("s3", "azure")
def test_an_upload_that_another_writer_aborted_says_so(store: Store) -> None:
    with pytest.raises(StorageError, match="another process writes the same object") as raised:
        write_overtaken(store, padded(20 * MEBI))
    assert not isinstance(raised.value, DestinationError)  # a retry is the remedy
    assert nothing_new(store, SMALL)


@on("gcs")
def test_of_two_uploads_to_google_the_later_one_stays(store: Store) -> None:
    video = padded(20 * MEBI)
    write_overtaken(store, video)
    assert nothing_new(store, video)


@on("azure")
def test_the_next_writer_discards_the_blocks_that_azure_keeps_of_an_unfinished_video(store: AzureStore) -> None:
    store.put("x.mp4", OLD)
    with pytest.raises(BrokenVideoError):
        save_video(store.uri("x.mp4"), [padded(20 * MEBI)[:-1]])
    assert store.uncommitted("x.mp4") > 0
    assert store.read("x.mp4") == OLD
    save_video(store.uri("x.mp4"), [SMALL])
    assert store.uncommitted("x.mp4") == 0
    assert store.read("x.mp4") == SMALL


def test_two_local_writers_at_once_both_succeed(tmp_path: Path) -> None:
    def overtaken() -> Iterator[bytes]:
        yield SMALL[:1000]
        save_video(f"{tmp_path}/x.mp4", [padded(5000)])
        yield SMALL[1000:]

    save_video(f"{tmp_path}/x.mp4", overtaken())
    assert (tmp_path / "x.mp4").read_bytes() == SMALL
    assert [path.name for path in tmp_path.iterdir()] == ["x.mp4"]


def test_writers_at_once_leave_one_whole_object(store: Store) -> None:
    videos = [padded(17 * MEBI + number) for number in range(3)]
    together = threading.Barrier(len(videos))

    def write(video: bytes) -> bool:
        together.wait(30)
        try:
            save_video(store.uri("x.mp4"), pieces(video, MEBI), size=len(video))
        except StorageError:
            return False
        return True

    with ThreadPoolExecutor(len(videos)) as pool:
        outcomes = list(pool.map(write, videos))
    assert any(outcomes)
    assert store.read("x.mp4") in [video for video, done in zip(videos, outcomes, strict=True) if done]
    assert store.names() == ["x.mp4"]
    assert store.leftovers() == []


def test_a_file_taken_for_a_leftover_before_it_was_locked_is_made_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock, first = local_file.fcntl.flock, itertools.count()

    def late(file: Any, how: int) -> None:
        if next(first) == 0:
            Path(file.name).unlink()
        lock(file, how)

    monkeypatch.setattr(local_file.fcntl, "flock", late)
    save_video(f"{tmp_path}/x.mp4", [SMALL])
    assert (tmp_path / "x.mp4").read_bytes() == SMALL


def test_a_folder_that_knows_no_locks_takes_videos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(local_file.fcntl, "flock", refuse)
    part = f".{local_file.short_name(Path('x.mp4'))}.12345678.part"
    (tmp_path / part).write_bytes(b"perhaps alive")
    save_video(f"{tmp_path}/x.mp4", [SMALL])
    assert sorted(path.name for path in tmp_path.iterdir()) == [part, "x.mp4"]


def test_unfinished_uploads_that_cannot_be_listed_do_not_stop_a_video(
    s3: S3Store, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def refuse() -> None:
        raise PermissionError("not yours to list")

    call, listing = S3FileSystem.call_s3, "list_multipart_uploads"
    monkeypatch.setattr(S3FileSystem, "call_s3", lambda *a, **k: refuse() if a[1] == listing else call(*a, **k))
    with caplog.at_level("INFO"):
        save_video(s3.uri("x.mp4"), [SMALL])
    assert s3.read("x.mp4") == SMALL
    assert "could not be looked for: PermissionError: not yours to list" in caplog.text


# --- memory ----------------------------------------------------------------------------------------------------------


def test_memory_stays_flat_while_64_mib_stream_through(store: Store) -> None:
    head, chunk = SMALL + (8 + 64 * MEBI).to_bytes(4, "big") + b"free", bytes(MEBI)
    save_video(store.uri("x.mp4"), [SMALL])  # what is loaded once does not count
    tracemalloc.start()
    save_video(store.uri("x.mp4"), itertools.chain([head], itertools.repeat(chunk, 64)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size_of(store.uri("x.mp4")) == len(head) + 64 * MEBI
    assert peak < 40 * MEBI


# --- is the destination usable? --------------------------------------------------------------------------------------


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
    assert not [
        name for name in connect(f"{bucket}/x").fs.ls(f"{BUCKET}/", refresh=True) if ".write-check" in str(name)
    ]


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
            with pytest.raises(DestinationError, match=r"access denied (?s:.)* Look at the credentials") as raised:
                call()
            assert "wrong" not in str(raised.value)
        with pytest.raises(StorageError, match="cannot be read: "):
            read_bytes(f"{folder}/x.json", 10)
    assert store.names() == ["x.json"]


@on("gcs")
@pytest.mark.parametrize("status", [401, 403])
def test_a_refusal_by_google_is_access_denied(store: GcsStore, connected: Callable[..., str], status: int) -> None:
    """What fake-gcs-server never says, in the words of Google's documentation."""
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
            with pytest.raises(DestinationError, match=r"access denied (?s:.)*storage\.objects\.create access"):
                call()


@contextlib.contextmanager
def refusing(status: int, body: bytes) -> Iterator[str]:
    """Run a server that answers every request alike."""

    class Refusal(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        do_POST = do_GET  # noqa: N815 - the name that the library looks for

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Refusal) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


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
        with pytest.raises(DestinationError, match=r"names the connection .*, which does not exist\. Create it"):
            call()
    check_writable(f"s3://{s3.server.bucket}/{s3.prefix}")  # whoever leaves it out asks for them


@pytest.mark.parametrize("scheme", ["s3", "gs", "abfs"])
def test_an_unknown_connection_is_refused_on_every_store(scheme: str) -> None:
    with pytest.raises(DestinationError, match=r"names the connection 'nobody', which does not exist\. Create it"):
        check_writable(f"{scheme}://nobody@videos/x.mp4")


@pytest.mark.parametrize("conn_id", ["my.conn-2", "my@conn", "my_Conn", "my conn", "MY%40CONN", "my:conn"])
def test_a_connection_may_have_any_name(s3: S3Store, conn_id: str, connected: Callable[..., str]) -> None:
    connected(s3.server.connection, conn_id)
    save_video(f"s3://{conn_id}@{s3.server.bucket}/{s3.prefix}/x.mp4", [SMALL])
    assert s3.read("x.mp4") == SMALL


def test_a_connection_that_airflow_cannot_use_is_refused(connected: Callable[..., str]) -> None:
    conn_id = connected({"conn_type": "aws", "extra": {"config_kwargs": {"no_such_option": 1}}})
    with pytest.raises(DestinationError, match=r"cannot be opened \(.*no_such_option.*\)\. Correct the connection\."):
        connect(f"s3://{conn_id}@videos/x.mp4")


@pytest.mark.parametrize("uri", ["ftp://h/x.mp4", "https://h/x.mp4", "memory://x", "s3n://b/x.mp4", "run:1/x.mp4"])
def test_a_scheme_that_is_not_supported_is_refused(uri: str) -> None:
    with pytest.raises(DestinationError, match=r":// is not supported\. Use one of file, s3"):
        connect(uri)


@pytest.mark.parametrize("uri", ["s3://", "s3:///x.mp4", "s3:x.mp4", "s3:/b/x.mp4", "s3://store@/x.mp4"])
def test_a_uri_without_a_bucket_is_refused(uri: str) -> None:
    with pytest.raises(DestinationError, match=r"names no bucket\. Write s3://conn_id@bucket/folder"):
        connect(uri)


def test_a_uri_that_cannot_be_read_is_refused() -> None:
    with pytest.raises(DestinationError, match=r"s3://\[b/x\.mp4 is no URI"):
        connect("s3://[b/x.mp4")


@pytest.mark.parametrize(("scheme", "extra"), [("gs", "gcs"), ("gcs", "gcs"), ("abfs", "azure"), ("abfss", "azure")])
def test_a_scheme_whose_provider_is_missing_names_the_extra(scheme: str, extra: str) -> None:
    if has_fs(scheme):
        pytest.skip(f"what {scheme}:// needs is installed here; `make test` runs this")
    with pytest.raises(DestinationError) as raised:
        connect(f"{scheme}://bucket/x.mp4")
    assert f"pip install 'airflow-provider-modelmax[{extra}]'" in str(raised.value)


def test_s3_without_s3fs_names_the_extra(connected: Callable[..., str], monkeypatch: pytest.MonkeyPatch) -> None:
    conn_id = connected({"conn_type": "aws"})
    monkeypatch.setitem(sys.modules, "s3fs", None)
    with pytest.raises(DestinationError) as raised:
        connect(f"s3://{conn_id}@videos/x.mp4")
    assert "pip install 'airflow-provider-modelmax[s3]'" in str(raised.value)


# --- names -----------------------------------------------------------------------------------------------------------


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


# --- reading ---------------------------------------------------------------------------------------------------------


def test_a_json_document_comes_back(store: Store) -> None:
    document = {"text": "a fox, 狐, 🦊, half: \ud83e", "none": None, "list": [1, 2.5, True], "nested": {"a": {}}}
    save_json(store.uri("x.json"), document)
    assert load_json(store.uri("x.json")) == document
    save_json(store.uri("x.json"), {})
    assert load_json(store.uri("x.json")) == {}


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"7", b"\xff", SMALL], ids=len)
def test_a_foreign_file_in_the_place_of_a_json_document_is_named(store: Store, text: bytes) -> None:
    store.put("x.json", text)
    with pytest.raises(DestinationError, match=r"x\.json is in the way: it should be a JSON object\. Move it"):
        load_json(store.uri("x.json"))


def test_what_is_not_there_is_none(store: Store) -> None:
    assert size_of(store.uri("x.mp4")) is None
    assert size_of(store.uri("no/such/folder/x.mp4")) is None
    assert load_json(store.uri("x.json")) is None
    with pytest.raises(FileNotFoundError):
        read_bytes(store.uri("x.mp4"), 10)


@pytest.mark.parametrize("limit", [1, len(SMALL) - 1, len(SMALL), len(SMALL) + 1])
def test_no_more_bytes_are_read_than_wanted(store: Store, limit: int) -> None:
    store.put("x.mp4", SMALL)
    assert read_bytes(store.uri("x.mp4"), limit) == SMALL[:limit]


def test_an_empty_object_is_an_object(store: Store) -> None:
    store.put("x.mp4", b"")
    assert size_of(store.uri("x.mp4")) == 0
    assert read_bytes(store.uri("x.mp4"), 10) == b""


def test_a_folder_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read: IsADirectoryError"):
        read_bytes(str(tmp_path), 10)


# Of several, one


def test_of_many_who_create_a_document_at_once_one_succeeds(store: Store) -> None:
    uri = store.uri("claim.json")
    with ThreadPoolExecutor(8) as pool:
        created = list(pool.map(lambda number: create_json(uri, {"who": number}), range(8)))
    assert created.count(True) == 1
    assert load_json(uri) == {"who": created.index(True)}
    assert store.leftovers() == []


def test_a_document_that_is_there_is_not_created(store: Store) -> None:
    save_json(store.uri("claim.json"), {"who": "first"})
    assert not create_json(store.uri("claim.json"), {"who": "second"})
    assert load_json(store.uri("claim.json")) == {"who": "first"}


def test_a_folder_that_knows_no_hard_links_takes_a_document_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(local_file.os, "link", refuse)
    assert [create_json(f"{tmp_path}/claim.json", {"who": number}) for number in range(2)] == [True, False]
    assert load_json(f"{tmp_path}/claim.json") == {"who": 0}
    assert [path.name for path in tmp_path.iterdir()] == ["claim.json"]


@object_stores
def test_a_document_cannot_be_created_in_a_bucket_that_does_not_exist(store: Store) -> None:
    with pytest.raises(DestinationError, match="does not exist"):
        create_json(f"{missing_bucket(store)}/x.json", {})


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path) -> None:
    name = "n" * 251 + ".mp4"
    save_video(f"{tmp_path}/{name}", [SMALL])
    assert [path.name for path in tmp_path.iterdir()] == [name]
