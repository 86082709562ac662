"""Named places in the provider at which a task process kills itself. Only a DAG of the chaos run turns them on.

A video has at most one crash point, by its number, and dies there once: the folder of crashes remembers it.
"""

from __future__ import annotations

import functools
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_modelmax import storage
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.manifest import Manifest
from airflow_provider_modelmax.operators import landing
from airflow_provider_modelmax.operators.download import LandsVideo
from airflow_provider_modelmax.operators.record import Record
from airflow_provider_modelmax.operators.submit import SubmitsVideo
from airflow_provider_modelmax.operators.task_state import TaskState
from airflow_provider_modelmax.progress import FETCHED, FETCHING, LANDED

WINDOW = "answer on its way"
"""The one place where a kill can cost a second bill: the service has billed, and nothing is kept yet."""

CLAIMED = "claimed, not asked"
"""Looks the same to the next try, so it asks with a warning; but nothing was billed yet."""

POINTS = (
    "before the submit",
    "submitted, not kept",
    "submission kept",
    "resumed",
    CLAIMED,
    WINDOW,
    "result in task state only",
    "result kept",
    "in the middle of a download",
    "downloaded, not published",
    "published",
    "landed, manifest only",
    "landed",
    "handed over",
)


def point_of(number: int) -> str | None:
    """Return the crash point of a video; every fourth video has none."""
    group, rest = divmod(number, 4)
    return None if rest == 3 else POINTS[(group * 3 + rest) % len(POINTS)]


class Crashes:
    """Who died where: one empty file for each, made before the death."""

    def __init__(self, folder: Path) -> None:
        """Take the folder in which the files are."""
        self.folder = folder

    def there(self, number: int, point: str) -> None:
        """Die if this is the video's crash point, the first time."""
        if point != point_of(number):
            return
        try:
            (self.folder / f"{number:04}@{point}").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def all(self) -> dict[int, str]:
        """Return the crash point of each video that died."""
        names = (path.name.partition("@") for path in self.folder.iterdir())
        return {int(number): point for number, _, point in names}


def install(number: Callable[[], int | None], folder: Path) -> None:
    """Turn the crash points on in this process; `number` tells whose turn it is."""

    def here(point: str) -> None:
        if (current := number()) is not None:
            Crashes(folder).there(current, point)

    _around(ModelMaxHook, "submit_video", here, before="before the submit", after="submitted, not kept")
    _around(SubmitsVideo, "_announce", here, after="submission kept")
    _around(LandsVideo, "execute_complete", here, before="resumed")
    _around(LandsVideo, "_hand_over", here, after="handed over")
    _around(Record, "claim", here, after=CLAIMED, when=lambda result: result.phase == FETCHING)
    _around(ModelMaxHook, "get_result", here, after=WINDOW)
    _around(TaskState, "put", here, after="result in task state only", when=lambda result: result.phase == FETCHED)
    _around(Record, "keep", here, after="result kept")
    _around(landing, "save_video", here, after="published")
    _around(Manifest, "write", here, after="landed, manifest only", of=lambda self: self.progress.phase == LANDED)
    _around(Record, "put", here, after="landed", when=lambda result: result.phase == LANDED)
    _around_download(here)


def _around(
    owner: Any,
    name: str,
    here: Callable[[str], None],
    *,
    before: str = "",
    after: str = "",
    when: Callable[[Any], bool] = lambda _: True,
    of: Callable[[Any], bool] = lambda _: True,
) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before:
            here(before)
        result = original(*args, **kwargs)
        if after and when(result) and of(args[0]):
            here(after)
        return result

    setattr(owner, name, wrapped)


def _around_download(here: Callable[[str], None]) -> None:
    original = storage._published

    @contextmanager
    def wrapped(path: Any, uri: str, content_type: str) -> Iterator[Callable[[bytes], object]]:
        with original(path, uri, content_type) as write:
            if content_type != "video/mp4":
                yield write
                return

            def checked(data: bytes) -> object:
                write(data[: len(data) // 2])
                here("in the middle of a download")
                return write(data[len(data) // 2 :])

            yield checked
            here("downloaded, not published")

    storage._published = wrapped
