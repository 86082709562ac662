"""A video becomes a whole, checked object, or what stood there before stays: on all stores."""

from __future__ import annotations

import gc
import hashlib
import itertools
import os
import tracemalloc
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from airflow_provider_modelmax.api import BrokenVideoError, DestinationError, StorageError
from airflow_provider_modelmax.storage import local as local_file
from airflow_provider_modelmax.storage import prefetch
from airflow_provider_modelmax.storage.bucket import BucketLocation
from airflow_provider_modelmax.storage.location import locate
from airflow_provider_modelmax.storage.objects import (
    create_json,
    save_json,
    save_video,
    size_of,
)
from tests.airflow_versions import AirflowTaskTimeout
from tests.mp4s import padded
from tests.storage.common import MEBI, OLD, SIZES, SMALL, nothing_new, object_stores, pieces
from tests.stores import ELSEWHERE, MISSING, STORES, AzureStore, S3Store, Store, on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack.s3_proxy import Proxy


@pytest.mark.skipif(bool(MISSING), reason=ELSEWHERE)
def test_all_of_this_holds_on_all_stores() -> None:
    assert STORES == ["local", "s3", "gcs", "azure"]


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
        assert store.content_type(name) == "video/mp4"
    save_json(store.uri("x.json"), {})
    create_json(store.uri("y.json"), {})
    assert store.content_type("x.json") == "application/json"
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


def test_bytes_after_the_last_box_land_with_a_warning_if_the_size_was_announced(
    store: Store, caplog: pytest.LogCaptureFixture
) -> None:
    video = SMALL + b"TAG" + bytes(125)
    with caplog.at_level("WARNING"):
        assert save_video(store.uri("x.mp4"), pieces(video, 1000), size=len(video)).size == len(video)
    assert store.read("x.mp4") == video
    assert "x.mp4 is a whole MP4, followed by 128 bytes that belong to no box" in caplog.text


def test_bytes_after_the_last_box_are_damage_if_no_size_was_announced(store: Store) -> None:
    with pytest.raises(BrokenVideoError):
        save_video(store.uri("x.mp4"), [SMALL, bytes(4096)])
    assert nothing_new(store, None)


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
    assert len(list(chunks)) >= 1000 - prefetch.AHEAD - 1


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
    fail_to_publish(store, monkeypatch, OSError(28, "No space left on device"))
    with pytest.raises(StorageError, match=r"x\.mp4: the store failed \(OSError: .*No space left on device"):
        save_video(store.uri("x.mp4"), [padded(SIZES[size]) if size != "small" else SMALL])
    monkeypatch.undo()
    assert nothing_new(store, OLD)


@pytest.mark.parametrize("error", [KeyboardInterrupt, AirflowTaskTimeout])
def test_a_kill_while_publishing_leaves_the_old_object(
    store: Store, error: type[BaseException], monkeypatch: pytest.MonkeyPatch
) -> None:
    store.put("x.mp4", OLD)
    fail_to_publish(store, monkeypatch, error())
    with pytest.raises(error):
        save_video(store.uri("x.mp4"), [padded(9 * MEBI)])
    monkeypatch.undo()
    assert nothing_new(store, OLD)


def fail_to_publish(store: Store, monkeypatch: pytest.MonkeyPatch, error: BaseException) -> None:
    """A full disk and a signal at this very moment cannot be had; all else is real."""

    def fail(*_: object) -> None:
        raise error

    place = locate(store.uri("y.mp4"))
    if isinstance(place, BucketLocation):
        upload = place.open("video/mp4")
        upload.discard()
        monkeypatch.setattr(type(upload), "close", fail)
    else:
        monkeypatch.setattr(os, "fsync", fail)


def test_an_upload_that_cannot_be_discarded_is_still_not_published(
    behind: Callable[..., S3Store], caplog: pytest.LogCaptureFixture
) -> None:
    store = behind(
        lambda proxy, body: proxy.refuse(500, "InternalError") if proxy.command == "DELETE" else proxy.hand_on(body)
    )
    with pytest.raises(BrokenVideoError), caplog.at_level("WARNING"):
        save_video(store.uri("x.mp4"), [padded(9 * MEBI)[:-1]])
    gc.collect(1)
    assert store.names() == []
    assert "An unfinished upload may be left behind: ClientError: " in caplog.text


@on("azure")
def test_the_log_is_not_filled_with_the_headers_of_every_request(
    store: AzureStore, caplog: pytest.LogCaptureFixture
) -> None:
    uri = store.uri("x.mp4")
    with caplog.at_level("INFO"):
        save_video(uri, [padded(9 * MEBI)])
    assert [record.name for record in caplog.records if record.name.startswith("azure")] == []


def test_a_store_that_accepts_a_video_and_keeps_nothing_is_noticed(behind: Callable[..., S3Store]) -> None:
    def answer(proxy: Proxy, body: bytes) -> None:
        if proxy.command == "PUT":
            proxy.say(200, b"", {"ETag": '"0"'})
        else:
            proxy.hand_on(body)

    store = behind(answer)
    with pytest.raises(StorageError, match=r"bytes were written, but the store shows nothing there") as raised:
        save_video(store.uri("x.mp4"), [SMALL])
    assert not isinstance(raised.value, DestinationError)  # a retry is the remedy
    assert store.names() == []


@pytest.mark.parametrize("size", ["small", "one part"])
def test_another_object_at_the_place_of_a_video_that_was_just_written_is_noticed(
    behind: Callable[..., S3Store], size: str
) -> None:
    video = SMALL if size == "small" else padded(SIZES[size])

    def answer(proxy: Proxy, body: bytes) -> None:
        proxy.hand_on(body)
        if (proxy.command == "PUT" and size == "small") or (proxy.command == "POST" and "uploadId" in proxy.path):
            store.put("x.mp4", OLD)

    store = behind(answer)
    with pytest.raises(StorageError, match=rf"{len(video):,} bytes were written, but the store shows .*{len(OLD)} byt"):
        save_video(store.uri("x.mp4"), [video])


@pytest.mark.parametrize("size", SIZES)
def test_what_was_written_is_looked_at_once(behind: Callable[..., S3Store], size: str) -> None:
    asked = []

    def answer(proxy: Proxy, body: bytes) -> None:
        asked.append(proxy.command)
        proxy.hand_on(body)

    save_video(behind(answer).uri("x.mp4"), [padded(SIZES[size]) if size != "small" else SMALL])
    assert asked.count("HEAD") == 1


def test_memory_stays_flat_while_64_mib_stream_through(store: Store) -> None:
    head, chunk = SMALL + (8 + 64 * MEBI).to_bytes(4, "big") + b"free", bytes(MEBI)
    save_video(store.uri("x.mp4"), [SMALL])  # what is loaded once does not count
    tracemalloc.start()
    save_video(store.uri("x.mp4"), itertools.chain([head], itertools.repeat(chunk, 64)))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert size_of(store.uri("x.mp4")) == len(head) + 64 * MEBI
    assert peak < 40 * MEBI


def test_the_name_of_a_local_file_survives_a_power_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[Path, bool]] = []
    fsync = os.fsync

    def watched(fd: int) -> None:
        path = Path(f"/dev/fd/{fd}").resolve()
        flushed.append((path, path == tmp_path and (tmp_path / "x.mp4").exists()))
        fsync(fd)

    monkeypatch.setattr(local_file.os, "fsync", watched)
    save_video(f"{tmp_path}/x.mp4", [SMALL])
    assert create_json(f"{tmp_path}/x.json", {})
    assert [path == tmp_path for path, _ in flushed] == [False, True] * 2  # a file, then the folder with its name
    assert flushed[1] == (tmp_path, True)


def test_a_name_as_long_as_the_file_system_allows_is_written(tmp_path: Path) -> None:
    name = "n" * 251 + ".mp4"
    save_video(f"{tmp_path}/{name}", [SMALL])
    assert [path.name for path in tmp_path.iterdir()] == [name]
