"""Writers that are killed, and several of one object: the next one clears up, and nobody sees half a video."""

from __future__ import annotations

import itertools
import signal
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.storage import local as local_file
from airflow_provider_modelmax.storage.objects import (
    save_video,
    size_of,
)
from tests.mp4s import padded
from tests.storage.common import MEBI, SMALL, nothing_new, pieces, writing
from tests.stores import S3Store, Store, on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack.s3_proxy import Proxy


@pytest.fixture
def writer(store: Store, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """Start another process that has written 17 of 20 MiB of x.mp4 and waits."""
    with writing(store, tmp_path_factory.mktemp("airflow")) as process:
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


def write_overtaken(store: Store, video: bytes, other: bytes = SMALL) -> None:
    """Write a video of 20 MiB while another writer puts another one in its place."""

    def overtake(written: int) -> None:
        if written < len(video):
            save_video(store.uri("x.mp4"), [other])

    save_video(store.uri("x.mp4"), [video[: 17 * MEBI], video[17 * MEBI :]], on_progress=overtake)


@on("s3", "azure")
def test_an_upload_that_another_writer_aborted_says_so(store: Store) -> None:
    other = padded(9 * MEBI)  # azurite, unlike Azure, keeps the blocks when a blob is written in one piece
    with pytest.raises(StorageError, match="another process writes the same object") as raised:
        write_overtaken(store, padded(20 * MEBI), other)
    assert not isinstance(raised.value, DestinationError)  # a retry is the remedy
    assert nothing_new(store, other)


@on("gcs")
def test_of_two_uploads_to_google_the_later_one_stays(store: Store) -> None:
    video = padded(20 * MEBI)
    write_overtaken(store, video)
    assert nothing_new(store, video)


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
    behind: Callable[..., S3Store], caplog: pytest.LogCaptureFixture
) -> None:
    def answer(proxy: Proxy, body: bytes) -> None:
        if proxy.command == "GET" and "uploads" in proxy.path:
            proxy.refuse(403, "AccessDenied", "not yours to list")
        else:
            proxy.hand_on(body)

    store = behind(answer)
    with caplog.at_level("INFO"):
        save_video(store.uri("x.mp4"), [SMALL])
    assert store.read("x.mp4") == SMALL
    assert "Could not list the unfinished uploads of" in caplog.text
    assert "not yours to list" in caplog.text
