"""From a result to whole videos at their destination: what is there already is not downloaded again."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

from airflow_provider_modelmax import airflow_errors, api
from airflow_provider_modelmax.api.errors import OverwrittenError, StorageError
from airflow_provider_modelmax.api.parameters import MAX_SAMPLES
from airflow_provider_modelmax.hooks.video import DOWNLOAD_ATTEMPTS, download
from airflow_provider_modelmax.jobs.fetch import not_again
from airflow_provider_modelmax.jobs.lease import new_owner
from airflow_provider_modelmax.jobs.store import is_there
from airflow_provider_modelmax.storage.objects import Saved, size_of

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
    from airflow_provider_modelmax.jobs.cancellation import CancelToken
    from airflow_provider_modelmax.jobs.record import JobRecord
    from airflow_provider_modelmax.jobs.store import JobStore

Wanted = tuple[str, str, Saved | None]
"""A video: its URL, its URI, and what is at the URI already."""


@dataclass
class VideoDownload:
    """Downloads the videos of one job.

    :param hook: the service
    :param store: what is stored of the job, and where the videos go
    :param log: the task's log
    :param cancel: set when the task is killed
    """

    hook: ModelMaxHook
    store: JobStore
    log: Logger
    cancel: CancelToken
    _overwritten: dict[str, OverwrittenError] = field(default_factory=dict, init=False)
    """By URI, for videos that another job may have overwritten right after they were published."""

    def run(self, record: JobRecord) -> JobRecord:
        """Return the record with all videos at their URIs.

        :raises UnusableResultError: if the result has no URL for some of them; the others are stored then
        """
        result = record.result or api.Result(record.job.request_id, record.job.model, (), {})
        urls = result.urls
        places = list(zip(urls, self.store.destination.videos(len(urls)), strict=True))
        with new_owner() as owner:
            owned = self.store.own(record, owner, self.cancel.pause)
            # If it was not, another job may have overwritten them since; equal sizes prove nothing then.
            there = {each.uri: each for each in record.videos if owned or is_there(each)}
            landed = self._download(record, [(url, uri, there.get(uri)) for url, uri in places if url])
            if not there or landed != record:
                landed = self._publish(record, landed, places, owner)
        if missing := [uri for url, uri in places if not url]:
            raise api.UnusableResultError(
                f"{api.said_and_billed(result.said, result.usage)} {len(landed.videos)} of {len(urls)} videos of job "
                f"{record.job.request_id} are stored. Its result has no usable URL for {', '.join(missing)}, which "
                f"was paid for all the same. {not_again(record.job)}",
                usage=result.usage,
            )
        return landed

    def _publish(self, record: JobRecord, landed: JobRecord, places: list[tuple[str, str]], owner: str) -> JobRecord:
        """Store that the videos are there, and download those again that another job has overwritten."""
        for _ in range(DOWNLOAD_ATTEMPTS):
            again = {each.uri for each in self.store.publish(landed, owner, self.cancel.pause)}
            if not again:
                return landed
            self.log.warning(
                "Another job has overwritten videos of this one: downloading %s again.", ", ".join(sorted(again))
            )
            kept = {each.uri: each for each in landed.videos if each.uri not in again}
            landed = self._download(record, [(url, uri, kept.get(uri)) for url, uri in places if url])
        raise next(iter(self._overwritten.values()), None) or StorageError(
            f"Another process overwrites {', '.join(sorted(again))} again and again. Retry, free of charge."
        )

    def _download(self, record: JobRecord, wanted: list[Wanted]) -> JobRecord:
        """Return the record with all videos at their URIs. If one fails, those that are there are stored first."""
        found = self._all(wanted)
        landed = record.landed(tuple([each for each in found if isinstance(each, Saved)]))
        errors = [each for each in found if isinstance(each, BaseException)]
        if not errors:
            return landed
        if not self.cancel.is_cancelled:
            self.store.put(replace(record, videos=landed.videos))
        # An error that a retry may fix comes first.
        raise next((error for error in errors if airflow_errors.is_retryable(error)), errors[0])

    def _all(self, wanted: list[Wanted]) -> list[Saved | BaseException]:
        """Return a video or an error for each: if one fails, the others, which are paid for too, are still stored."""
        if len(wanted) == 1:
            return [self._one(*wanted[0])]
        with ThreadPoolExecutor(MAX_SAMPLES, thread_name_prefix="modelmax-download") as pool:
            futures = [pool.submit(self._one, *each) for each in wanted]
            try:
                wait(futures)
            except BaseException:  # a timeout of Airflow
                self.cancel.cancel()
                raise
        return [future.exception() or future.result() for future in futures]

    def _one(self, url: str, uri: str, there: Saved | None) -> Saved:
        if there and size_of(uri) == there.size:
            self.log.info("Exists already (%s bytes): %s", f"{there.size:,}", uri)
            return there
        self.cancel.check()  # nothing is begun after a kill
        try:
            return download(self.hook, url, uri, log=self.log, pause=self.cancel.pause, through=self._until_cancelled)
        except OverwrittenError as error:
            if not self.store.overwrite:
                raise
            self._overwritten[uri] = error  # `publish` finds out whether by another job's video
            return Saved(uri, error.size, error.sha256)
        except StorageError:
            raise
        except api.ModelMaxError as error:
            raise _not_stored(uri, error, with_state=self.store.state.has_store) from None

    def _until_cancelled(self, chunks: Iterator[bytes]) -> Iterator[bytes]:
        for chunk in chunks:
            self.cancel.check()
            yield chunk


def _not_stored(uri: str, error: Exception, *, with_state: bool) -> Exception:
    """Return the error for a paid video that could not be downloaded.

    :param with_state: whether the result is in the task state, and not in the manifest only
    """
    if isinstance(error, api.BadRequestError | api.NotFoundError):
        return api.RefusedError(
            f"ModelMax does not have the video, or no longer: {error} It was paid for. Clear this task later to try "
            "again, free of charge. To make another video, which is paid for again, clear the generate or submit task "
            f"with regenerate_on_clear=True. Not stored: {uri}"
        )
    where = "" if with_state else ", with the same destination,"
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
