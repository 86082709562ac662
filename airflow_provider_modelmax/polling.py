"""When to poll a job again, and when to stop. Pure decisions: no I/O, and the time is an argument."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api import (
    FAILED,
    FINAL,
    IN_QUEUE,
    MAX_RETRY_AFTER,
    STATUSES,
    BadRequestError,
    ForeignUrlError,
    InsufficientBalanceError,
    Job,
    JobFailedError,
    JobNotOverError,
    JobStatus,
    ModelMaxError,
    ServiceError,
    UnauthorizedError,
)
from airflow_provider_modelmax.poll_schedule import MAX_INTERVALS

if TYPE_CHECKING:
    from airflow_provider_modelmax.poll_schedule import ModelStats

DEFAULT_DEADLINE = timedelta(hours=1)
"""How long a job is waited for."""

DEFAULT_POLL_INTERVAL = 5.0
"""Seconds, as the service recommends."""

SILENCE_LIMIT = timedelta(minutes=15)
"""How long the service may give no usable answer before a wait ends: longer than a deployment or a short outage."""

UNKNOWN_STATUS_LIMIT = timedelta(minutes=2)
"""How long a wait tolerates a status that the contract does not know: it may be a new one before COMPLETED."""

CLOSE_SIGHTINGS = 30.0
"""Seconds, added to the longest pause. Between two answers further apart, the time of a change is not known."""

NOT_RETRYABLE = (BadRequestError, UnauthorizedError, InsufficientBalanceError, ForeignUrlError)
"""Errors that another attempt of the same call cannot fix."""


@dataclass(frozen=True)
class AskAgain:
    """The job is not over: poll again at ``at``."""

    at: datetime


@dataclass(frozen=True)
class Over:
    """The wait is over. ``error`` is None when the job is COMPLETED."""

    error: ModelMaxError | None = None


@dataclass(frozen=True)
class Wait:
    """What is known of one job while it is waited for.

    :param request_id: the job
    :param deadline: when to stop waiting (aware datetime)
    :param poll_interval: seconds between two status calls
    :param started: when the wait began
    :param heard: when the service last gave an answer that could be understood
    :param silent_since: when the first of the calls ended that had no such answer since; None when the last one had
    :param status: the last status, None before the first answer
    :param since: when that status was first seen; of statuses that the contract does not know, the first one
    :param running_since: when the job was first seen out of the queue
    :param reason: the service's reason when the status is FAILED
    :param trouble: what the last status call ended in, None when it was answered
    :param submitted: when the job was submitted, None where that is not known
    :param seen_in_queue: whether the first answer was IN_QUEUE
    """

    request_id: str
    deadline: datetime
    poll_interval: float
    started: datetime
    heard: datetime
    since: datetime
    status: str | None = None
    running_since: datetime | None = None
    reason: str | None = None
    trouble: ModelMaxError | None = None
    silent_since: datetime | None = None
    submitted: datetime | None = None
    seen_in_queue: bool = False

    @classmethod
    def begin(
        cls,
        request_id: str,
        *,
        deadline: datetime,
        poll_interval: float,
        now: datetime,
        submitted: datetime | None = None,
    ) -> Wait:
        """Return a wait without any answer yet."""
        return cls(request_id, deadline, poll_interval, started=now, heard=now, since=now, submitted=submitted)

    def answered(self, answer: JobStatus, now: datetime) -> Wait:
        """Return what is known after an answer to *status*."""
        known = self._with(heard=now, status=answer.status, reason=answer.error, trouble=None, silent_since=None)
        if answer.status == self.status:
            return known
        if self._is_unknown and known._is_unknown:
            return known  # the limit is for all unknown statuses in a row together
        observed = (now - self.heard).total_seconds() <= CLOSE_SIGHTINGS + MAX_INTERVALS * self.poll_interval
        running = self.running_since or (None if answer.status == IN_QUEUE else now)
        first = self.status is None and answer.status == IN_QUEUE  # in the queue since it was submitted
        return known._with(
            since=self.started if first else now,
            running_since=running if observed or answer.status not in FINAL else now,
            seen_in_queue=first or (self.seen_in_queue and (observed or self.status != IN_QUEUE)),
        )

    def failed(self, error: ModelMaxError, now: datetime) -> Wait:
        """Return what is known after a status call that ended in ``error``."""
        return self._with(trouble=error, silent_since=self.silent_since or now)

    @property
    def in_doubt(self) -> bool:
        """Whether the last call had no usable answer, or a status that the contract does not know."""
        return self.trouble is not None or self.status not in STATUSES

    @property
    def is_over(self) -> bool:
        """Whether the last answer was COMPLETED or FAILED."""
        return self.trouble is None and self.status in FINAL

    def kept(self) -> dict[str, str | None]:
        """Return, as JSON, what another process needs to continue this wait."""
        silent_since = self.silent_since.isoformat() if self.silent_since else None
        return {"silent_since": silent_since, "status": self.status, "since": self.since.isoformat()}

    def taken_over(self, kept: Mapping[str, Any]) -> Wait:
        """Return this wait with what :meth:`kept` returned in another process."""
        silent_since = kept["silent_since"] and datetime.fromisoformat(kept["silent_since"])
        status, since = kept["status"], datetime.fromisoformat(kept["since"])
        known = self._with(silent_since=silent_since, status=status, since=since)
        if status is None:
            return known
        if status == IN_QUEUE:
            return known._with(started=since, heard=since, seen_in_queue=True)
        return known._with(heard=since, running_since=since)

    def next_step(self, now: datetime, stats: ModelStats | None = None) -> AskAgain | Over:
        """Decide whether to poll again, and when.

        :param stats: with other jobs of the model; without it the job is polled at each interval
        """
        if self.trouble and ends_wait(self.trouble):
            return Over(self.trouble)
        if self.is_over:
            failed = JobFailedError(self.request_id, self.reason or "no reason given")
            return Over(failed if self.status == FAILED else None)
        if why := self._gave_up(now):
            return Over(JobNotOverError(self.request_id, why, timed_out=now >= self.deadline))
        if self.in_doubt or not stats:
            pause = max(self.poll_interval, min(self._asked_to_wait, MAX_RETRY_AFTER))
        else:
            pause = self.pause(now, stats)
        left = (self.deadline - now).total_seconds()
        return AskAgain(self.deadline if pause >= left else now + timedelta(seconds=pause))

    def pause(self, now: datetime, stats: ModelStats) -> float:
        """Return how many seconds to pause, judged by how long other jobs took."""
        in_queue = self.status == IN_QUEUE
        age, running = self._ages(now)
        return stats.pause(self.poll_interval, age=age, running=running, in_queue=in_queue)

    def teach(self, stats: ModelStats) -> None:
        """Remember how old the job was at the last answer before it was over."""
        age, running = self._ages(self.heard)
        stats.add(age=age, running=running)

    def news(self, before: Wait, now: datetime) -> str:
        """Return the log line for what changed since ``before``; empty if nothing did."""
        if self.trouble and not before.trouble:
            retries = "" if ends_wait(self.trouble) else f" Retrying until {self._patience(now)}."
            return f"No usable answer for job {self.request_id}: {self.trouble}{retries}"
        if self.trouble or self.status == (before.status or IN_QUEUE):  # a new job is in the queue: that is no news
            return "" if self.trouble or not before.trouble else f"ModelMax answers again for job {self.request_id}."
        if before.status is None:
            return f"Job {self.request_id} is {self.status}."
        seconds = (now - before.since).total_seconds()
        return f"Job {self.request_id}: {before.status} -> {self.status} after {seconds:.0f} s."

    @property
    def seconds_in_queue(self) -> float | None:
        """Seconds from the first IN_QUEUE to the first IN_PROGRESS that was seen; None if either was not."""
        running_since = self._seen_running_since
        return (running_since - self.started).total_seconds() if running_since and self.seen_in_queue else None

    @property
    def seconds_running(self) -> float | None:
        """Seconds that the job was seen running, neither in the queue nor over; None if it was not."""
        running_since, end = self._seen_running_since, self.since if self.status in FINAL else self.heard
        return (end - running_since).total_seconds() if running_since else None

    def _with(self, **changes: Any) -> Wait:
        """Do what ``dataclasses.replace`` does in a fifth of its time: once a poll."""
        changed = object.__new__(Wait)
        changed.__dict__.update(self.__dict__, **changes)
        return changed

    @property
    def _seen_running_since(self) -> datetime | None:
        """When the job was first seen running; None if it was over the first time it was seen out of the queue."""
        was_over = self.status in FINAL and self.running_since == self.since
        return None if was_over else self.running_since

    @property
    def _asked_to_wait(self) -> float:
        """Seconds that the last answer asked to wait, 0 if it did not."""
        return (self.trouble and self.trouble.retry_after) or 0.0

    @property
    def _is_unknown(self) -> bool:
        return self.status is not None and self.status not in STATUSES

    def _ages(self, now: datetime) -> tuple[float | None, float | None]:
        """Return how many seconds the job exists, and how many it is out of the queue; None if that is not known."""
        begun = self.submitted or (self.started if self.seen_in_queue else None)
        left_queue = self.running_since if self.seen_in_queue else None
        return (
            (now - begun).total_seconds() if begun else None,
            (now - left_queue).total_seconds() if left_queue else None,
        )

    def _patience(self, now: datetime) -> str:
        silence = (self.silent_since or self.heard) + SILENCE_LIMIT - now
        left = min(max(silence.total_seconds(), self._asked_to_wait), (self.deadline - now).total_seconds())
        return shown(now + timedelta(seconds=left))

    def _gave_up(self, now: datetime) -> str | None:
        last = f"its last status was {self.status}" if self.status else "no status was seen"
        if now >= self.deadline:
            trouble = f" ({self.trouble})" if self.trouble else ""
            return f"The deadline, {shown(self.deadline)}, has passed; {last}{trouble}."
        # After a long Retry-After the service is polled sooner than it asked for, so it is not given up before.
        patient = self._asked_to_wait > MAX_RETRY_AFTER
        if self.silent_since and now - self.silent_since >= SILENCE_LIMIT and not patient:
            silence = (now - self.silent_since) // timedelta(minutes=1)
            return (
                f"Gave up waiting: ModelMax gave no usable answer for {silence} minutes; "
                f"{last}. The last error: {self.trouble}"
            )
        if self._is_unknown and now - self.since >= UNKNOWN_STATUS_LIMIT:
            return (
                f"Gave up waiting: its status has been unknown for "
                f"{UNKNOWN_STATUS_LIMIT // timedelta(minutes=1)} minutes. It is {self.status!r}, not one of "
                f"{', '.join(sorted(STATUSES))}."
            )
        return None


def is_retryable(error: BaseException) -> bool:
    """Return whether another attempt of the same call may succeed."""
    if isinstance(error, ForeignUrlError):
        return error.reached  # a redirect may be gone
    return not isinstance(error, NOT_RETRYABLE)


def ends_wait(error: ModelMaxError) -> bool:
    """Return whether an error of a status call ends a wait.

    A clear refusal by the service does, and a status URL on another host. A redirect, or a refusal that the service
    does not document, may come from a gateway and be gone with the next call.
    """
    return not is_retryable(error) and not (isinstance(error, ServiceError) and not error.documented)


def shown(time: datetime) -> str:
    """Return a time for logs and messages."""
    return f"{time.astimezone(timezone.utc):%Y-%m-%d %H:%M:%S} UTC"


def on_kill_message(job: Job | None, *, asked: bool = False, paid: bool = False) -> str:
    """Return what operator, sensor and trigger log when they are killed: ModelMax has no call to cancel a job.

    :param job: the job, None when there is none yet
    :param asked: whether its result was asked for, so that it may be billed
    :param paid: whether its result is there already
    """
    if job is None:
        return "Killed before a job was known. Nothing is billed until a result is fetched."
    if paid:
        return (
            "Killed while downloading. The result is paid for and stored: a retry or clear of this task continues from "
            f"there. Job {job.request_id}."
        )
    if asked:
        return (
            "Killed during the call that bills: the result may be billed. Retry or clear this task, which "
            f"knows of the call; another task does not. Job {job.request_id}."
        )
    return (
        "Killed while waiting. The job goes on at ModelMax, which has no call to cancel it. It costs nothing unless "
        "its result is fetched. To continue, retry or clear this task (Airflow 3.3 and later), or use a "
        f"ModelMaxDownloadVideoOperator. {job.as_argument()}"
    )
