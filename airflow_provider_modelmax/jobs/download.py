"""From a COMPLETED job to whole videos at their destination: what is there already is not downloaded again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_modelmax import airflow_errors as edge
from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import Result
from airflow_provider_modelmax.api.errors import BrokenVideoError, OverwrittenError, StorageError
from airflow_provider_modelmax.api.parameters import MOST_SAMPLES
from airflow_provider_modelmax.hooks.video import DOWNLOAD_ATTEMPTS, download
from airflow_provider_modelmax.jobs.cancellation import Stop, Stopped
from airflow_provider_modelmax.jobs.fetch import Billing, not_again
from airflow_provider_modelmax.jobs.lease import asker
from airflow_provider_modelmax.jobs.record import Progress
from airflow_provider_modelmax.jobs.store import Record, is_there
from airflow_provider_modelmax.storage.objects import Saved, size_of

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook


@dataclass
class Landing:
    """Fetches the result of one job and lands its videos; every step starts from what is already there.

    :param hook: the service
    :param record: what is stored about the job, and where the videos go
    :param log: the task's log
    :param stop: set when the task is killed
    """

    hook: ModelMaxHook
    record: Record
    log: Logger
    stop: Stop = field(default_factory=Stop)
    _overwritten: dict[str, OverwrittenError] = field(default_factory=dict, init=False)
    """By URI, for videos that another job may have overwritten right after they were published."""

    def fetch(self, progress: Progress) -> Progress:
        """Return the progress with the result in it, fetching it at most once. THIS BILLS."""
        return Billing(self.hook, self.record, self.log, self.stop).fetch(progress)

    def land(self, progress: Progress) -> Progress:
        """Return the progress with all videos at their URIs; what is there already is not downloaded again.

        :raises UnusableResultError: if the result has no URL for some of them; the others have landed then
        """
        with asker() as owner:
            return self._land(progress, owner)

    def _land(self, progress: Progress, owner: str) -> Progress:
        result = progress.result or Result(progress.job.request_id, progress.job.model, (), {})
        urls = result.urls
        places = list(zip(urls, self.record.destination.videos(len(urls)), strict=True))
        owned = self.record.own(progress, owner, self.stop.pause)
        # If it was not, another job may have overwritten them since; equal sizes prove nothing then.
        there = {each.uri: each for each in progress.videos if owned or is_there(each)}
        landed = progress.landed(self._videos(progress, [(url, uri, there.get(uri)) for url, uri in places if url]))
        if not there or landed != progress:
            for _ in range(DOWNLOAD_ATTEMPTS):
                again = {each.uri for each in self.record.publish(landed, owner, self.stop.pause)}
                if not again:
                    break
                self.log.warning(
                    "Another job has overwritten videos of this one: downloading %s again.", ", ".join(sorted(again))
                )
                kept = {each.uri: each for each in landed.videos if each.uri not in again}
                wanted = [(url, uri, kept.get(uri)) for url, uri in places if url]
                landed = progress.landed(self._videos(progress, wanted))
            else:
                raise next(iter(self._overwritten.values()), None) or _never_stays(again)
        if missing := [uri for url, uri in places if not url]:
            raise api.UnusableResultError(
                f"{api.said_and_billed(result.said, result.usage)} {len(landed.videos)} of {len(urls)} videos of job "
                f"{progress.job.request_id} have landed. Its result has no usable URL for {', '.join(missing)}, which "
                f"was paid for all the same. {not_again(progress.job)}",
                usage=result.usage,
            )
        return landed

    def _videos(self, progress: Progress, wanted: list[tuple[str, str, Saved | None]]) -> tuple[Saved, ...]:
        """Return the videos once all are at their URIs. If one fails, those that have landed are stored first."""
        found = self._all(wanted)
        videos = tuple(each for each in found if isinstance(each, Saved))
        if errors := [each for each in found if isinstance(each, BaseException)]:
            raise self._some_missing(replace(progress, videos=videos), errors)
        return videos

    def _all(self, wanted: list[tuple[str, str, Saved | None]]) -> list[Saved | BaseException]:
        """Return a video or an error for each: if one fails, the others, which are paid for too, still land."""
        if len(wanted) == 1:
            return [self._one(*wanted[0])]
        with ThreadPoolExecutor(MOST_SAMPLES, thread_name_prefix="modelmax-download") as pool:
            futures = [pool.submit(self._one, *each) for each in wanted]
            try:
                wait(futures)
            except BaseException:  # a timeout of Airflow
                self.stop.set()
                raise
        return [future.exception() or future.result() for future in futures]

    def _some_missing(self, progress: Progress, errors: list[BaseException]) -> BaseException:
        """Store what has landed, and return the error to raise: one that a retry may fix comes first."""
        if not self.stop.is_set():
            self.record.put(progress)
        return next((error for error in errors if not edge.is_hopeless(error)), errors[0])

    def _one(self, url: str, uri: str, there: Saved | None) -> Saved:
        if there and size_of(uri) == there.size:
            self.log.info("Exists already (%s bytes): %s", f"{there.size:,}", uri)
            return there
        self.stop.pause(0)  # nothing is begun after a kill
        try:
            return download(
                self.hook,
                url,
                uri,
                log=self.log,
                pause=self.stop.pause,
                through=lambda chunks: self._until_stopped(chunks, uri),
            )
        except OverwrittenError as error:
            if not self.record.overwrite:
                raise
            self._overwritten[uri] = error  # `publish` finds out whether by another job's video
            return Saved(uri, error.size, error.sha256)
        except (api.ModelMaxError, BrokenVideoError) as error:
            raise _not_landed(uri, error, with_store=self.record.state.has_store) from None

    def _until_stopped(self, chunks: Iterator[bytes], uri: str) -> Iterator[bytes]:
        for chunk in chunks:
            if self.stop.is_set():
                raise Stopped(uri)
            yield chunk


def _never_stays(uris: set[str]) -> StorageError:
    return StorageError(f"Another process overwrites {', '.join(sorted(uris))} again and again. Retry, free of charge.")


def _not_landed(uri: str, error: Exception, *, with_store: bool) -> Exception:
    """Return the error for a paid video that could not be downloaded.

    :param with_store: whether the result is in the task state, and not in the manifest only
    """
    if isinstance(error, api.BadRequestError | api.NotFoundError):
        return api.RefusedError(
            f"ModelMax does not have the video, or no longer: {error} It was paid for. Clear this task later to try "
            "again, free of charge. To make another video, which is paid for again, clear the generate or submit task "
            f"with regenerate_on_clear=True. Not stored: {uri}"
        )
    where = "" if with_store else ", with the same destination,"
    again = f": a retry or clear of this task{where} fetches it, free of charge"
    if isinstance(error, api.ServiceError) and error.status == 403:
        again = (
            ". If the URL has expired, no retry helps. A new URL may come with the result, but asking for that again "
            "may be billed again: to do so, give the job to a ModelMaxDownloadVideoOperator with another destination"
        )
    elif isinstance(error, api.ForeignUrlError) and error.reached:
        again = f". A retry or clear of this task{where} tries again, free of charge"
    elif isinstance(error, api.ForeignUrlError):
        again = ". If that host is ModelMax's own, put it into the host of the ModelMax connection, and clear this task"
    error.args = (f"{str(error).rstrip('.')}. The video is paid for, and its URL is stored{again}. Not stored: {uri}",)
    return error
