"""The billing call: one process fetches the result of a job, and stores it before anything else happens."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta
from typing import TYPE_CHECKING

from airflow_provider_modelmax import api, metrics
from airflow_provider_modelmax.api.text import log_lines
from airflow_provider_modelmax.jobs.cancellation import CancelToken, deferred_timeout
from airflow_provider_modelmax.jobs.lease import LEASE_SECONDS, RENEW_SECONDS, new_owner
from airflow_provider_modelmax.jobs.record import UNUSABLE, JobRecord

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
    from airflow_provider_modelmax.jobs.store import JobStore

MAX_ATTEMPTS = 6
"""How many billing calls are made for a job if no answer arrives; each but the first logs a warning."""

LOOK_AGAIN = 2.0
"""Seconds between two reads of what another process has stored."""


class _LeaseLostError(Exception):
    """Another process has taken over the lease: the call is not sent."""


@dataclass
class ResultFetcher:
    """Fetches the result of one job, at most once.

    :param hook: the service
    :param store: what is stored of the job
    :param log: the task's log
    :param cancel: set when the task is killed
    """

    hook: ModelMaxHook
    store: JobStore
    log: Logger
    cancel: CancelToken

    def fetch(self, record: JobRecord) -> JobRecord:
        """Return the record with the result. THIS BILLS, unless the result is stored already.

        :raises UnusableResultError: if the result was paid for and cannot be used
        :raises RefusedError: if the result was requested too often without an answer
        """
        with new_owner() as owner:
            while not record.result:
                if self.store.lease.is_held(record):  # the scheduler may have started two executions of this task
                    self.log.info("Another process (%s) is fetching the result; waiting for it.", record.owner)
                    while self.store.lease.is_held(record):
                        self.cancel.pause(LOOK_AGAIN)
                        record = self.store.latest(record)
                    if record.result:
                        break
                if record.phase == UNUSABLE:
                    raise api.UnusableResultError(f"{record.reason} {not_again(record.job)}", usage=record.billed)
                if record.attempts >= MAX_ATTEMPTS:
                    raise api.RefusedError(
                        f"The result of job {record.job.request_id} was requested {record.attempts} times and never "
                        f"arrived. Each time may have been billed. {not_again(record.job)}"
                    )
                with deferred_timeout() as raise_if_timed_out:
                    known = self.store.acquire(record, self._requesting(record, owner))
                    if known and known.owner == owner:
                        known = self._call(known, raise_if_timed_out)
                if known:
                    record = known
                else:  # another process has the lease, or is about to store something
                    self.cancel.pause(LOOK_AGAIN)
                    record = self.store.latest(record)
        return record

    def _requesting(self, record: JobRecord, owner: str) -> JobRecord:
        now = time.time()
        return record.requesting(owner, expires=now + LEASE_SECONDS, busy_until=now + self.hook.answer_seconds)

    def _call(self, record: JobRecord, raise_if_timed_out: Callable[[], None]) -> JobRecord | None:
        """Make the call as the holder of the lease, and store the result. Return None if the lease was lost.

        Each attempt is stored before it is sent, and how it ended before the next one.

        :param record: the stored record, with the first attempt begun
        """
        call, idle, is_sent = api.result(record.job), record.not_billed(), False
        result: api.Result | None = None
        last: api.ModelMaxError | None = None
        if idle.attempts:
            log_lines(
                self.log.warning,
                "The answer to an earlier call for the result is lost. Requesting it again: this may be billed a "
                f"second time. Job {record.job.request_id}.",
            )

        def check() -> None:  # a timeout or a kill is heeded while no attempt is under way
            raise_if_timed_out()
            self.cancel.check()

        def pause(seconds: float) -> None:
            end = time.monotonic() + seconds
            while (left := end - time.monotonic()) > 0:
                check()
                self.cancel.pause(min(left, 1))

        try:
            with self.store.lease.renewed():
                for attempt in itertools.count(1):
                    check()
                    if last and idle.attempts >= MAX_ATTEMPTS:
                        raise last  # noqa: TRY301
                    # Also if so much of the lease has passed, with a slow store, that it could end during the call.
                    if last or time.time() > record.expires - LEASE_SECONDS + RENEW_SECONDS:
                        record = self._renewed(idle, record.owner)
                    is_sent = True
                    try:
                        result = self.hook.call_once(call)
                    except api.ModelMaxError as error:
                        delay = api.delay_after(call, error, attempt, self.hook.log)
                        if delay is None:
                            raise
                        last, idle, is_sent = error, _after(record, call, error), False
                    else:
                        return self._keep(record, result)
                    if idle.attempts < record.attempts:  # or a kill in the pause would look like a lost answer
                        self.store.note(record.refused())
                    pause(delay)
        except _LeaseLostError:
            self.store.release(idle)
            return None
        except api.UnusableResultError as error:
            self.store.release(record.unusable(str(error), error.usage))
            error.args = (f"{error} {not_again(record.job)}",)
            raise
        except BaseException as error:
            if result is None:
                self.store.release(_after(record, call, error) if is_sent else idle)
            raise
        raise AssertionError("the last attempt returns or raises")

    def _renewed(self, idle: JobRecord, owner: str) -> JobRecord:
        """Return the record with the next attempt begun, and stored."""
        renewed = self.store.renew(self._requesting(idle, owner), self.cancel.pause)
        if not renewed:
            raise _LeaseLostError
        return renewed

    def _keep(self, record: JobRecord, result: api.Result) -> JobRecord:
        fetched = self.store.keep(record.fetched(result), killed=self.cancel.is_cancelled)
        waited = timedelta(seconds=time.time() - fetched.submitted_at) if fetched.submitted_at else None
        metrics.completed(fetched.job.model, result, waited)
        self.log.info("Fetched and stored the result. Billed: %s.", api.usage_text(result.usage))
        if fetched.samples not in {None, len(result.urls)}:
            self.log.warning("%s videos were asked for, and %s came.", fetched.samples, len(result.urls))
        return fetched


def _after(record: JobRecord, call: api.Call[api.Result], error: BaseException) -> JobRecord:
    """Return the record once an attempt has ended in an error."""
    is_billable = not isinstance(error, api.ModelMaxError) or api.may_have_billed(call, error)
    return record.lost() if is_billable else record.not_billed()


def not_again(job: api.Job) -> str:
    """Return the last sentences of an error after which the result is not requested again: how to do it by hand."""
    copyable = json.dumps({"model": job.model, "request_id": job.request_id}, ensure_ascii=False)
    return (
        "The result is not requested again. Look at the ModelMax console. To request it all the same, which may be "
        f"billed again, run a ModelMaxDownloadVideoOperator with another destination and job={copyable}"
    )
