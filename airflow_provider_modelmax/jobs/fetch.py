"""From a COMPLETED job to its result: one billing call, stored before anything else happens."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_modelmax import api, metrics
from airflow_provider_modelmax.api.text import tell
from airflow_provider_modelmax.jobs import timeouts as alarm
from airflow_provider_modelmax.jobs.cancellation import Stop
from airflow_provider_modelmax.jobs.lease import asker, is_asking
from airflow_provider_modelmax.jobs.record import UNUSABLE, Progress
from airflow_provider_modelmax.jobs.store import Record

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook

MAX_ASKS = 6
"""How many billing calls are made for a job if no answer arrives; each but the first logs a warning."""

LOOK_AGAIN = 2.0
"""Seconds between two reads of what another process has stored."""


def not_again(job: api.Job) -> str:
    """Return the last sentences of an error after which the result is not requested again: how to do it by hand."""
    copyable = json.dumps({"model": job.model, "request_id": job.request_id}, ensure_ascii=False)
    return (
        "The result is not asked for again. Look at the ModelMax console. To ask nevertheless, which may be billed "
        f"again, run a ModelMaxDownloadVideoOperator with another destination and job={copyable}"
    )


@dataclass
class Billing:
    """Fetches the result of one job, at most once.

    :param hook: the service
    :param record: what is stored about the job
    :param log: the task's log
    :param stop: set when the task is killed
    """

    hook: ModelMaxHook
    record: Record
    log: Logger
    stop: Stop

    def fetch(self, progress: Progress) -> Progress:
        """Return the progress with the result. THIS BILLS, unless the result is stored already."""
        with asker() as name:
            while not progress.result:
                progress = self._await_other(progress)
                if progress.result:
                    break
                progress = self._take_turn(progress, self._asking(progress, name))
        return progress

    def _await_other(self, progress: Progress) -> Progress:
        """Wait for the billing call of another execution of this task: the scheduler may have started two."""
        if is_asking(progress):
            self.log.info("Another process (%s) is fetching the result; waiting for it.", progress.asker)
        while is_asking(progress):
            self.stop.pause(LOOK_AGAIN)
            progress = self.record.latest(progress)
        return progress

    def _asking(self, progress: Progress, name: str) -> Progress:
        if progress.phase == UNUSABLE:
            raise api.UnusableResultError(f"{progress.reason} {not_again(progress.job)}", usage=progress.billed)
        if progress.asks >= MAX_ASKS:
            raise api.RefusedError(
                f"The result of job {progress.job.request_id} was asked for {progress.asks} times and never arrived. "
                f"Each time may have been billed. {not_again(progress.job)}"
            )
        if progress.asks:
            tell(
                self.log.warning,
                "The answer to an earlier call for the result is lost. Requesting it again: this may be billed a "
                f"second time. Job {progress.job.request_id}.",
            )
        return progress.asking(name, self.busy_until())

    def busy_until(self) -> float:
        """Return when a billing call that begins now is over at the latest, in seconds since the epoch."""
        return time.time() + self.hook.answer_seconds

    def _take_turn(self, progress: Progress, asking: Progress) -> Progress:
        """Get the lease and fetch the result, or return what another process has stored since."""
        with alarm.held_back() as let_alarm_through:
            claimed = self.record.claim(progress, asking)
            if claimed and claimed.asker == asking.asker:
                try:
                    return self._fetch(claimed, let_alarm_through)
                except _LeaseLostError:
                    claimed = None
        if claimed:
            return claimed
        self.stop.pause(LOOK_AGAIN)
        return self.record.latest(progress)

    def _fetch(self, asking: Progress, let_alarm_through: Callable[[], None]) -> Progress:
        attempts = _Attempts(self, asking, let_alarm_through)
        result = attempts.result()
        fetched = self.record.keep(attempts.asking.fetched(result), killed=self.stop.is_set())
        self._tell(fetched, result)
        return fetched

    def _tell(self, fetched: Progress, result: api.Result) -> None:
        waited = timedelta(seconds=time.time() - fetched.submitted_at) if fetched.submitted_at else None
        metrics.completed(fetched.job.model, result, waited)
        self.log.info("Fetched and stored the result. Billed: %s.", api.usage_text(result.usage))
        if self.record.samples not in {None, len(result.urls)}:
            self.log.warning("%s videos were asked for, and %s came.", self.record.samples, len(result.urls))


class _LeaseLostError(Exception):
    """Another process has taken over the lease: the call is not sent."""


@dataclass
class _Attempts:
    """The attempts of one billing call: each is stored before it is sent, and so is the end of the call.

    :param billing: whose call it is
    :param asking: the progress with the last attempt under way; the first one is claimed already
    :param let_alarm_through: raises a timeout of Airflow that was held back
    :param failed: the error of the last attempt, None before the first one has ended
    :param under_way: whether an attempt is under way
    """

    billing: Billing
    asking: Progress
    let_alarm_through: Callable[[], None]
    failed: api.ModelMaxError | None = None
    under_way: bool = False

    def __post_init__(self) -> None:
        self._known = self.asking.not_asked()

    def result(self) -> api.Result:
        hook, job = self.billing.hook, self.asking.job
        try:
            call = api.result(job)
            for attempt in api.attempts(call, pause=self._pause, log=hook.log):
                self._begin()
                with attempt:
                    return hook.call_once(call)
                if attempt.error:
                    self._end(attempt.error)
            raise AssertionError("the last attempt returns or raises")  # noqa: TRY301
        except _LeaseLostError:
            self.billing.record.release(self._known)
            raise
        except api.UnusableResultError as error:
            self.billing.record.release(self.asking.unusable(str(error), error.usage))
            error.args = (f"{error} {not_again(job)}",)
            raise
        except BaseException as error:
            self.billing.record.release(self._after(error))
            raise

    def _begin(self) -> None:
        self._heed_timeout_and_kill()
        if self.failed:
            if self._known.asks >= MAX_ASKS:
                raise self.failed
            self._renew(self._known.asking(self.asking.asker, self.billing.busy_until()))
        elif self.asking.busy_until < self.billing.busy_until() - api.MAX_RETRY_AFTER:  # a slow store has used it up
            self._renew(replace(self.asking, busy_until=self.billing.busy_until()))
        self.under_way = True

    def _renew(self, asking: Progress) -> None:
        renewed = self.billing.record.renew(asking, self.billing.stop.pause)
        if not renewed:
            raise _LeaseLostError
        self.asking = renewed

    def _end(self, error: api.ModelMaxError) -> None:
        known = self._after(error)
        if (
            self.under_way and known.asks < self.asking.asks
        ):  # otherwise a kill in the pause would look like a lost answer
            self.billing.record.release(self.asking.refused())
        self._known, self.failed, self.under_way = known, error, False

    def _pause(self, seconds: float) -> None:
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            self._heed_timeout_and_kill()
            self.billing.stop.pause(min(left, 1))

    def _heed_timeout_and_kill(self) -> None:
        """Raise a timeout or a kill that was held back: no call is under way now."""
        self.let_alarm_through()
        self.billing.stop.pause(0)

    def _after(self, error: BaseException) -> Progress:
        """Return the progress once no attempt is under way any more."""
        if not self.under_way:
            return self._known
        may_have_billed = not isinstance(error, api.ModelMaxError) or api.may_have_billed(
            api.result(self.asking.job), error
        )
        return self.asking.lost() if may_have_billed else self.asking.not_asked()
