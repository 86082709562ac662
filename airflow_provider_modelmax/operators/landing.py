"""From a COMPLETED job to whole videos at their destination: one billing call, kept before anything else happens."""

from __future__ import annotations

import json
import os
import socket
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax import api
from airflow_provider_modelmax.manifest import Destination, Manifest
from airflow_provider_modelmax.mp4 import BrokenVideoError
from airflow_provider_modelmax.operators.progress import FETCHING, Progress, ProgressStore
from airflow_provider_modelmax.storage import DestinationError, Saved, StorageError, check_writable, save_video, size_of

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook

PARALLEL = 4
"""Videos downloaded at once: the most that one job has."""

DOWNLOAD_ATTEMPTS = 4

MAX_ASKS = 6
"""How often the billing call may be begun over all tries of a task, each with a warning from the second on."""

ASKING_LIMIT = 300.0
"""Seconds after which another process's billing call counts as dead: longer than all its attempts and timeouts."""

_LOG_EVERY = 10.0
"""Seconds between two progress lines of a download."""


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """A download was told to stop: the task is killed, or a sibling failed."""


@dataclass
class Landing:
    """Fetches the result of one job and lands its videos; every step starts from what is already there.

    :param hook: the service
    :param store: where progress is kept
    :param destination: where the videos go
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of the task
    :param overwrite: whether another job's video may be replaced
    :param request: what was asked for, for the manifest; None when the job was submitted elsewhere
    :param log: the task's log
    """

    hook: ModelMaxHook
    store: ProgressStore
    destination: Destination
    task: Mapping[str, Any]
    overwrite: bool
    request: Mapping[str, Any] | None
    log: Logger
    stop: threading.Event = field(default_factory=threading.Event)

    def check(self, request_id: str | None) -> None:
        """Make sure that the videos can land, before money is spent.

        :param request_id: the job, when it is known already
        :raises DestinationError: when the destination is taken, or cannot be written
        """
        if self.destination.exact and not self.overwrite:
            for uri in (*self.destination.videos(1), *self.destination.videos(2)[:1]):
                if size_of(uri) is not None:
                    self._refuse_if_taken(uri, request_id)
        check_writable(self.destination.folder)

    def recall(self, job: api.Job | None = None) -> Progress | None:
        """Return what was kept: from the task state store, else from the manifest beside the destination.

        :param job: the job, when the caller names one; progress with another job does not count then
        """
        kept = self.store.get()
        if kept and job and kept.job.request_id != job.request_id:
            kept = None
        if kept and kept.result:
            return kept
        manifest = Manifest.read(self.destination.manifest)
        known = job or (kept.job if kept else None)
        if not manifest or not self._answers(manifest, known):
            return kept
        self.log.info("Found the result of job %s in %s.", manifest.result.request_id, self.destination.manifest)
        return _from_manifest(manifest)

    def fetch(self, progress: Progress) -> Progress:
        """Return the progress with the result in it, fetching it at most once. THIS BILLS."""
        if progress.phase == FETCHING:
            progress = self._await_other(progress)
        if progress.result:
            return progress
        if progress.asks >= MAX_ASKS:
            raise api.RefusedError(
                f"The result of job {progress.job.request_id} was asked for {progress.asks} times and never arrived. "
                "Each time may have been billed, so it is not asked for again. Look at the ModelMax console; to ask "
                "nevertheless, give the job to a ModelMaxDownloadVideoOperator in a new run."
            )
        asking = replace(
            progress, phase=FETCHING, asks=progress.asks + 1, asker=_whoami(), asked_at=round(time.time(), 1)
        )
        self.store.put(asking)
        fetched = asking.fetched(self.hook.get_result(progress.job))
        self._keep(fetched)
        self.log.info("Result of job %s is kept. Billed: %s.", fetched.job.request_id, _usage(fetched))
        return fetched

    def land(self, progress: Progress) -> Progress:
        """Return the progress with all videos at their URIs; what stands there already is not fetched again."""
        urls = self._result(progress).urls
        pairs = list(zip(urls, self.destination.videos(len(urls)), strict=True))
        there = {video.uri: video for video in progress.videos}
        videos = self._all([(url, uri, there.get(uri)) for url, uri in pairs])
        landed = progress.landed(tuple(videos))
        if landed.videos != progress.videos or landed.phase != progress.phase:
            self._manifest(landed).write(self.destination.manifest)
            self.store.put(landed)
        return landed

    def _keep(self, fetched: Progress) -> None:
        """Keep a paid result in the task state and in the manifest; when neither takes it, in the log."""
        kept = self._put(fetched)
        manifest = self._manifest(fetched)
        try:
            manifest.write(self.destination.manifest)
        except StorageError:
            if not kept:
                self.log.exception(
                    "The result of job %s is paid for and could be kept nowhere else. Write this to %s and retry: %s",
                    fetched.job.request_id,
                    self.destination.manifest,
                    json.dumps(manifest.as_dict()),
                )
            raise

    def _put(self, progress: Progress) -> bool:
        try:
            self.store.put(progress)
        except Exception:
            self.log.exception("The task state could not be written; the manifest keeps the result.")
            return False
        return self.store.available

    def _answers(self, manifest: Manifest, job: api.Job | None) -> bool:
        if job:
            return manifest.result.request_id == job.request_id
        return dict(manifest.task) == dict(self.task) and manifest.request == self.request

    def _refuse_if_taken(self, uri: str, request_id: str | None) -> None:
        manifest = Manifest.read(self.destination.manifest)
        if manifest and (manifest.result.request_id == request_id or dict(manifest.task) == dict(self.task)):
            return
        whose = f"job {manifest.result.request_id} of {dict(manifest.task)}" if manifest else "something else"
        raise DestinationError(
            f"{uri} is taken by {whose}. Nothing was spent. Put {{{{ dag_run.run_id }}}} into the destination, name a "
            "folder instead of an .mp4, or set overwrite=True."
        )

    def _manifest(self, progress: Progress) -> Manifest:
        return Manifest(self._result(progress), self.task, self.request, progress.videos)

    @staticmethod
    def _result(progress: Progress) -> api.Result:
        if progress.result is None:
            raise ValueError(f"job {progress.job.request_id} has no result yet")
        return progress.result

    def _await_other(self, progress: Progress) -> Progress:
        """Let another execution of this task finish its billing call: the scheduler may have started two at once."""
        end = progress.asked_at + ASKING_LIMIT
        while time.time() < end and not _is_dead(progress.asker):
            self.log.info("Another process (%s) is fetching the result; waiting for it.", progress.asker)
            time.sleep(2)
            progress = self.store.get() or progress
            if progress.result:
                return progress
        self.log.warning(
            "An earlier try died while it fetched the result of job %s, and its answer is lost. Asking again: this may "
            "be billed a second time.",
            progress.job.request_id,
        )
        return progress

    def _all(self, wanted: list[tuple[str, str, Saved | None]]) -> list[Saved]:
        if len(wanted) == 1:
            return [self._one(*wanted[0])]
        with ThreadPoolExecutor(PARALLEL, thread_name_prefix="modelmax-download") as pool:
            futures = [pool.submit(self._one, *each) for each in wanted]
            try:
                return [future.result() for future in futures]
            except BaseException:
                self.stop.set()
                raise

    def _one(self, url: str, uri: str, there: Saved | None) -> Saved:
        if there and size_of(uri) == there.size:
            self.log.info("%s is there already (%s bytes).", uri, f"{there.size:,}")
            return there
        for attempt in range(1, DOWNLOAD_ATTEMPTS + 1):
            try:
                return self._download(url, uri)
            except (api.TransportError, api.TemporaryError, api.AnswerError, BrokenVideoError) as error:
                if attempt == DOWNLOAD_ATTEMPTS or isinstance(error, api.ForeignUrlError):
                    raise
                pause = pause_before(attempt, error)
                self.log.warning("%s: %s Nothing was written. Fetching it again in %.0f s.", uri, error, pause)
                if self.stop.wait(pause):
                    raise Stopped(uri) from None
        raise AssertionError("the loop ends by return or raise")

    def _download(self, url: str, uri: str) -> Saved:
        started = time.monotonic()
        with self.hook.stream_content(url) as content:
            saved = save_video(
                uri,
                self._until_stopped(content.chunks, uri),
                size=content.size,
                on_progress=self._reporter(uri, content.size),
            )
        seconds = max(time.monotonic() - started, 0.001)
        rate = saved.size / seconds / 1e6
        self.log.info("Landed %s: %s bytes in %.1f s (%.1f MB/s).", uri, f"{saved.size:,}", seconds, rate)
        return saved

    def _until_stopped(self, chunks: Iterator[bytes], uri: str) -> Iterator[bytes]:
        for chunk in chunks:
            if self.stop.is_set():
                raise Stopped(uri)
            yield chunk

    def _reporter(self, uri: str, size: int | None) -> Callable[[int], None]:
        due = time.monotonic() + _LOG_EVERY

        def report(written: int) -> None:
            nonlocal due
            if time.monotonic() >= due:
                due += _LOG_EVERY
                of = f" of {size / 1e6:.0f}" if size else ""
                self.log.info("%s: %.0f%s MB so far.", uri, written / 1e6, of)

        return report


def pause_before(attempt: int, error: Exception) -> float:
    """Return how many seconds to wait after ``attempt`` to download ended in ``error``."""
    return min(getattr(error, "retry_after", None) or 2.0 ** (attempt - 1), api.MAX_RETRY_AFTER)


def _from_manifest(manifest: Manifest) -> Progress:
    result = manifest.result
    job = api.Job.of({"model": result.model, "request_id": result.request_id})
    return Progress(job).fetched(result).landed(manifest.videos)


def _usage(progress: Progress) -> str:
    usage = progress.result.usage if progress.result else {}
    return ", ".join(f"{name}={value}" for name, value in usage.items()) or "the service did not say"


def _whoami() -> str:
    return f"{socket.gethostname()}:{os.getpid()}"


def _is_dead(asker: str) -> bool:
    """Tell whether ``host:pid`` is a process of this host that has ended; of other hosts we cannot know."""
    host, _, pid = asker.rpartition(":")
    if host != socket.gethostname():
        return False
    if int(pid) == os.getpid():
        return True  # asking again ourselves: the earlier call has ended
    try:
        os.kill(int(pid), 0)
    except ProcessLookupError:
        return True
    except PermissionError:
        return False
    return False
