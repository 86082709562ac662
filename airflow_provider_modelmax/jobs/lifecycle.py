"""The life of one job: submitted or found again, waited for, fetched, downloaded.

Whoever drives it (an operator, a command line, a batch) opens it and calls :meth:`VideoJob.advance`::

    job = VideoJob(...)
    job.open()                      # submits, or finds what an earlier try has stored
    step = job.advance()            # looks once
    if isinstance(step, Waiting):   # the job runs: wait elsewhere, with a trigger, or here:
        step = job.wait()

After a wait elsewhere, in another process::

    job = VideoJob(...)
    job.reopen(...)                 # finds what was stored before the wait
    step = job.resume(...)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.api.parameters import check_future
from airflow_provider_modelmax.deadlines import utcnow
from airflow_provider_modelmax.jobs.cancellation import CancelToken
from airflow_provider_modelmax.jobs.destination import Destination
from airflow_provider_modelmax.jobs.download import VideoDownload
from airflow_provider_modelmax.jobs.fetch import ResultFetcher
from airflow_provider_modelmax.jobs.record import SUBMITTED, JobRecord
from airflow_provider_modelmax.jobs.store import JobStore
from airflow_provider_modelmax.jobs.submission import Submission

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
    from airflow_provider_modelmax.jobs.request import VideoRequest
    from airflow_provider_modelmax.jobs.task_state import TaskState


@dataclass(frozen=True)
class Waiting:
    """The job runs: look again at ``next_poll``, and stop waiting at the job's deadline.

    :param wait: what was seen of the job
    """

    next_poll: datetime
    wait: polling.Wait


@dataclass(frozen=True)
class Done:
    """All videos are stored, and the record names them."""

    record: JobRecord


@dataclass
class VideoJob:
    """One job, from request to videos.

    :param hook: the service
    :param state: the task state
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of the task
    :param log: the task's log
    :param destination: where the videos go: a folder, or an object that ends in ``.mp4``
    :param stem: the file name in a folder
    :param deadline: when to stop waiting
    :param poll_interval: seconds between two status calls
    :param request: what to make; None if the job was submitted elsewhere
    :param job: the job, if it was submitted elsewhere
    :param overwrite: whether another job's video may be replaced
    :param regenerate_on_clear: whether a clear makes a new video
    :param cancel: set when the task is killed
    :param on_job: called with the record as soon as the job is known
    :param on_result: called with the record as soon as its result is stored
    """

    hook: ModelMaxHook
    state: TaskState
    task: Mapping[str, Any]
    log: Logger
    destination: object
    stem: str
    deadline: datetime
    poll_interval: float
    request: VideoRequest | None = None
    job: api.Job | None = None
    overwrite: bool = False
    regenerate_on_clear: bool = False
    cancel: CancelToken = field(default_factory=CancelToken)
    on_job: Callable[[JobRecord], object] = lambda _: None
    on_result: Callable[[JobRecord], object] = lambda _: None

    store: JobStore = field(init=False, repr=False, compare=False)
    """What is stored of the job, at the destination of the argument, or of the record once it is reopened."""
    _record: JobRecord | None = field(default=None, init=False)
    _is_reserved: bool = field(default=False, init=False)

    def _store_at(self, destination: object) -> JobStore:
        place = Destination.parse(destination, self.stem)
        return JobStore(self.state, place, self.task, self.overwrite, self.regenerate_on_clear, self.log)

    @property
    def record(self) -> JobRecord:
        """The record of the job, which must be open."""
        if self._record is None:
            raise RuntimeError("The job is not open: call open() or reopen() first.")
        return self._record

    @property
    def known(self) -> JobRecord | None:
        """What this process knows of the job; None before it knows a job."""
        return (self.store.last or self._record) if self._record else None

    def open(self) -> JobRecord:
        """Submit a job, unless an earlier try has, and return its record. Free of charge.

        The destination is checked, and the image read, before anything is sent.

        :raises InvalidInputError: if the request, the destination or the deadline is wrong
        :raises DestinationError: if the destination is no URI, is taken, or cannot be written
        """
        kept = self.state.get()
        self.store = self._store_at(self.destination)
        here = self.store.destination.uri
        if self.request is None:
            return self._open_given(kept, here)
        submission = Submission(
            self.request,
            self.hook,
            self.state,
            self.log,
            regenerate_on_clear=self.regenerate_on_clear,
            waits=True,
            cancel=self.cancel,
        )
        kept = self.store.recall(kept, order=self.request.order)
        if kept and submission.continues_with(kept):
            if not kept.result:  # the destination may have changed
                self.store.check(kept.job.request_id, kept.samples)
            return self._announce(self.state.adopt(self._completed(kept, self.request)))
        _ = self.request.image  # read now: what is wrong with it costs nothing yet
        check_future(self.deadline, utcnow())
        self.store.check(None, self.request.samples)
        return self._announce(submission.submit(self.task, here))

    def _open_given(self, kept: JobRecord | None, here: str) -> JobRecord:
        if self.job is None:
            raise api.InvalidInputError("Neither a request nor a job is given.")
        begun = self._announce(self.state.stamped(JobRecord(self.job, task=self.task, destination=here)))
        kept = self.store.recall(kept, job=self.job)
        if kept and kept.result:
            self._record = replace(kept, destination=here)
            return self._record
        self.store.check(self.job.request_id, None)
        if kept and kept.destination == here:
            self._record = kept
        else:
            self._record = self.state.put(replace(kept, destination=here) if kept else begun)
        return self._record

    def reopen(
        self,
        request_id: str,
        otherwise: Callable[[], Mapping[str, Any]],
        request: Callable[[], VideoRequest | None] = lambda: None,
    ) -> JobRecord:
        """Find the record that was stored before the wait. What was asked for, and where the videos go, is read there.

        :param request_id: the job that was waited for
        :param otherwise: returns the job, and what else is known, if nothing is stored of it
        :param request: returns the request, if it is not stored
        """
        kept = self.state.get()
        if kept and kept.job.request_id != request_id:
            kept = None
        known = kept or self.state.stamped(JobRecord.from_dict({"phase": SUBMITTED, **otherwise()}))
        self.store = self._store_at(known.destination or self.destination)
        found = self.store.recall(kept, job=known.job)
        record = found.as_requested_by(known) if found else known
        is_described = record.request is not None and record.order
        self._record = self._completed(record, None if is_described else request())
        return self._record

    def _completed(self, record: JobRecord, request: VideoRequest | None) -> JobRecord:
        """Return a record with the destination of this task, and with what 0.1.0 did not store."""
        return replace(
            record,
            task=record.task or self.task,
            request=record.request or (request.description if request else None),
            order=record.order or (request.order if request else ""),  # without it, a clear would pay again
            samples=record.samples or (request.samples if request else None),
            destination=self.store.destination.uri,
        )

    def advance(self) -> Waiting | Done:
        """Continue with the job: return its videos, or that it is to be waited for.

        :raises JobFailedError: if the job FAILED; the next try does not wait for it again
        :raises DestinationError: if an exact destination is reserved by another task
        """
        record = self.record
        if record.result:
            return self.finish()
        self._reserve(record)
        with self._failure_stored():
            job, now = record.job, utcnow()
            wait = polling.Wait.begin(job.request_id, deadline=self.deadline, poll_interval=self.poll_interval, now=now)
            seen = self.hook.look(wait, job)
            step = seen.next_step(utcnow())
            if isinstance(step, polling.AskAgain):
                return Waiting(step.at, seen)
            if step.error:
                raise step.error
        return self.finish()

    def wait(self) -> Done:
        """Wait for the job in this process, then finish it."""
        record = self.record
        if record.result:
            return self.finish()
        self._reserve(record)
        job = record.job
        with self._failure_stored():
            seen = self.hook.wait(
                job, deadline=self.deadline, poll_interval=self.poll_interval, pause=self.cancel.pause
            )
        metrics.waited(job.model, queued=seen.seconds_in_queue, generating=seen.seconds_running)
        return self.finish()

    def resume(self, raise_for_outcome: Callable[[], object]) -> Done:
        """Finish the job after a wait elsewhere.

        :param raise_for_outcome: raises what the wait ended in, unless the job is COMPLETED
        """
        with self._failure_stored():
            raise_for_outcome()
        return self.finish()

    def finish(self) -> Done:
        """Fetch the result, which BILLS unless it is stored already, and download the videos."""
        with self._failure_stored():
            fetched = ResultFetcher(self.hook, self.store, self.log, self.cancel).fetch(self.record)
            self.on_result(fetched)  # before the videos are stored: a task that fails at that has paid all the same
            self._record = fetched
            self._record = VideoDownload(self.hook, self.store, self.log, self.cancel).run(fetched)
        return Done(self._record)

    def _announce(self, record: JobRecord) -> JobRecord:
        self._record = record
        self.on_job(record)
        return record

    def _reserve(self, record: JobRecord) -> None:
        if not self._is_reserved:
            self.store.reserve(record, self.deadline)
            self._is_reserved = True

    @contextmanager
    def _failure_stored(self) -> Iterator[None]:
        """Store that the job FAILED, so that the next try does not wait for it again."""
        try:
            yield
        except api.JobFailedError as error:
            record = self.record
            try:
                self.store.failed(record.failed(error.reason))
            except Exception:
                self.log.exception("Could not store that job %s FAILED.", record.job.request_id)
            raise
