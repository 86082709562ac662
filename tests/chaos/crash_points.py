"""Enables the crash points in a process by wrapping methods of the provider. Only the DAG of the chaos run uses it."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from airflow_provider_modelmax.api import Call, Result
from airflow_provider_modelmax.hooks import video
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import FETCHED, FETCHING, LANDED, JobRecord
from airflow_provider_modelmax.jobs.store import JobStore
from airflow_provider_modelmax.jobs.submission import Submission
from airflow_provider_modelmax.jobs.task_state import TaskState
from airflow_provider_modelmax.operators.base import ModelMaxVideoOperator
from airflow_provider_modelmax.storage.bucket import BucketLocation
from airflow_provider_modelmax.storage.location import Upload
from tests.chaos.crash_plan import CLAIMED, STATE_ONLY, WINDOW, Crashes


def install(number: Callable[[], int | None], folder: Callable[[], Path]) -> None:
    """Enable the crash points in this process; `number` returns the number of the current video."""

    def here(point: str) -> None:
        if (current := number()) is not None:
            Crashes(folder()).there(current, point)

    _around(ModelMaxHook, "call", here, before="before the submit", after="submitted, not kept", of=_is_submit)
    _around(Submission, "submit", here, after="submission kept")
    _around(ModelMaxVideoOperator, "execute_complete", here, before="resumed")
    _around(ModelMaxVideoOperator, "_hand_over", here, after="handed over")
    _around(JobStore, "acquire", here, after=CLAIMED, when=lambda result: result and result.phase == FETCHING)
    _around(ModelMaxHook, "call_once", here, after=WINDOW, when=lambda answer: isinstance(answer, Result))
    _around(TaskState, "put", here, after=STATE_ONLY, when=lambda result: result.phase == FETCHED)
    _around(JobStore, "keep", here, after="result kept")
    _around(video, "save_video", here, after="published")
    _around(Manifest, "put", here, after="landed, manifest only", of=_is_landed)
    _around(JobStore, "publish", here, after="landed", when=lambda to_publish_again: not to_publish_again)
    _around_download(here)


def _is_submit(_: ModelMaxHook, call: Call[Any], **__: Any) -> bool:
    return call.method == "POST"


def _is_landed(_: Manifest, record: JobRecord) -> bool:
    return record.phase == LANDED


def _around(
    owner: Any,
    name: str,
    here: Callable[[str], None],
    *,
    before: str = "",
    after: str = "",
    when: Callable[[Any], bool] = lambda _: True,
    of: Callable[..., bool] = lambda *_: True,
) -> None:
    original = getattr(owner, name)

    @functools.wraps(original)
    def wrapped(*args: Any, **kwargs: Any) -> Any:
        if before and of(*args):
            here(before)
        result = original(*args, **kwargs)
        if after and when(result) and of(*args):
            here(after)
        return result

    setattr(owner, name, wrapped)


def _around_download(here: Callable[[str], None]) -> None:
    original = BucketLocation.writing

    class InHalves:
        def __init__(self, upload: Upload) -> None:
            self._upload = upload

        def write(self, data: bytes) -> object:
            self._upload.write(data[: len(data) // 2])
            here("in the middle of a download")
            return self._upload.write(data[len(data) // 2 :])

    @contextmanager
    def wrapped(self: BucketLocation, content_type: str) -> Iterator[Upload]:
        with original(self, content_type) as upload:
            if content_type != "video/mp4":
                yield upload
                return
            yield InHalves(upload)
            here("downloaded, not published")

    BucketLocation.writing = wrapped  # type: ignore[method-assign]
