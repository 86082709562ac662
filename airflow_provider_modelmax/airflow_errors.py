"""Errors of this package as Airflow's: which fail a task at once, and how they look in its log."""

from __future__ import annotations

import _thread
import contextvars
import functools
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
)

from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.api import text as texts
from airflow_provider_modelmax.api.errors import DestinationError

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

Run = TypeVar("Run", bound=Callable[..., Any])

NOT_RETRYABLE = (
    *polling.NOT_RETRYABLE,
    api.InvalidInputError,
    api.JobFailedError,
    api.RefusedError,
    api.UnusableResultError,
)
"""Classes of errors that no retry can fix; :func:`is_retryable` decides."""


def is_retryable(error: BaseException) -> bool:
    """Return whether a retry of the task may fix the error."""
    if isinstance(error, DestinationError):
        return not error.leads_nowhere
    if isinstance(error, polling.NOT_RETRYABLE):
        return polling.is_retryable(error)
    return not isinstance(error, NOT_RETRYABLE)


MAX_KILL_LOG_SECONDS = 1.0
"""For how long a signal handler waits for its log line to be written."""


def log_when_killed(log: Logger, message: Callable[[], str]) -> None:
    """Log a warning from a signal handler.

    The interrupted thread may hold the lock of the log file, so another thread writes the warning, and is waited for
    `MAX_KILL_LOG_SECONDS` at most.

    :param message: returns the message
    """
    written = False

    def write() -> None:
        nonlocal written
        try:
            texts.log_lines(log.warning, message())
        finally:
            written = True

    _thread.start_new_thread(contextvars.copy_context().run, (write,))  # `Thread.start` takes locks, too
    end = time.monotonic() + MAX_KILL_LOG_SECONDS
    while not written and time.monotonic() < end:
        time.sleep(0.01)


def reporting_errors(run: Run) -> Run:
    """Decorate a method that Airflow calls: expected errors are logged in short lines, and without their traceback.

    Airflow logs the exception as well, on one line, which its log page cuts off. The frames of this package would add
    nothing to what the message says; with the log level DEBUG they are logged. Other errors are left as they are.
    """

    @functools.wraps(run)
    def reported(task: Any, *args: Any, **kwargs: Any) -> Any:
        try:
            return run(task, *args, **kwargs)
        except Exception as error:
            if _is_expected(error):
                _report(task, error)
                _drop_tracebacks(error)
            raise  # `raise error` would add this frame to the traceback

    return reported  # type: ignore[return-value]


def _is_expected(error: Exception) -> bool:
    """Return whether ``error`` is one of this package, or one of Airflow's that was raised for it."""
    if metrics.is_ours(error):
        return True
    if not isinstance(error, AirflowFailException | AirflowSensorTimeout | AirflowSkipException):
        return False
    return any(metrics.is_ours(each) for each in _causes(error))


def _report(task: Any, error: Exception) -> None:
    ours = next(each for each in (error, *_causes(error)) if metrics.is_ours(each))
    task.log.debug("Where it was raised:", exc_info=error)
    if getattr(ours, "is_reported", False):
        return
    write = task.log.warning if isinstance(error, AirflowSkipException) else task.log.error
    job: api.Job | None = task.known_job
    for line in texts.lines(str(ours)):
        if not (job and line == f"Job {job.request_id}."):
            write("%s", line)
    if job:
        write("%s", job.as_argument())


def _causes(error: BaseException) -> Iterator[BaseException]:
    while cause := error.__cause__:
        yield cause
        error = cause


def _drop_tracebacks(error: BaseException) -> None:
    for each in (error, *_causes(error)):
        each.__traceback__ = each.__context__ = None


@contextmanager
def translate_errors(task: Any) -> Iterator[None]:
    """Count errors, and turn those that no retry can fix into Airflow's ``AirflowFailException``.

    :param task: the operator; if it has a :class:`.ModelMaxRetryPolicy`, that decides and needs the original error,
        except for a sensor with ``soft_fail``, whose base class skips for Airflow's exceptions only
    """
    try:
        yield
    except Exception as error:
        metrics.failed(error)
        sees_every_error = getattr(getattr(task, "retry_policy", None), "sees_every_error", False)
        if not is_retryable(error) and (not sees_every_error or getattr(task, "soft_fail", False)):
            raise AirflowFailException(str(error)) from error
        raise
