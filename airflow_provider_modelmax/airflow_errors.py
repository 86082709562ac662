"""What operators and sensor share with Airflow: its exceptions, log, labels, configuration and clock."""

from __future__ import annotations

import _thread
import contextvars
import functools
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    conf,
)

from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.api import text as texts
from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.api.parameters import check_deadline_argument

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

Run = TypeVar("Run", bound=Callable[..., Any])

HOPELESS = (*polling.HOPELESS, api.InvalidInputError, api.JobFailedError, api.RefusedError, api.UnusableResultError)
"""The classes of errors that no retry can fix; :func:`is_hopeless` decides."""

DEFAULT_CONN_ID = "modelmax_default"

MIN_DEFERRAL = timedelta(seconds=15)
"""A shorter wait stays on the worker: a trigger fires after 8 s at the earliest, and deferring takes 5 more."""


def is_hopeless(error: BaseException) -> bool:
    """Return whether no retry can fix the error."""
    if isinstance(error, DestinationError):
        return error.leads_nowhere
    return isinstance(error, HOPELESS) and (not isinstance(error, polling.HOPELESS) or polling.is_hopeless(error))


MAX_KILL_LOG_SECONDS = 1.0
"""How long a signal handler waits for its message to be written."""


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
            texts.tell(log.warning, message())
        finally:
            written = True

    _thread.start_new_thread(contextvars.copy_context().run, (write,))  # `Thread.start` takes locks, too
    end = time.monotonic() + MAX_KILL_LOG_SECONDS
    while not written and time.monotonic() < end:
        time.sleep(0.01)


MAX_LABEL = 250
"""Characters of a mapped task's label (``map_index_template``): PostgreSQL and MySQL refuse a longer one, and the
api-server then the task's success."""

_LABEL = "{{ modelmax_label() }}"


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


def keep_label_storable(context: Context) -> None:
    """Make the label from any ``map_index_template`` fit into Airflow's database.

    Airflow renders it before the task runs, and once more when it is over, to store it together with the task's state.

    :param context: the task's, while its template fields are rendered
    """
    template = context.get("map_index_template")
    if template is None or template == _LABEL:
        return
    from jinja2 import pass_context  # noqa: PLC0415 - not at DAG parse
    from jinja2.nativetypes import NativeEnvironment  # noqa: PLC0415

    ti: Any = context["ti"]

    @pass_context
    def label(variables: jinja2.runtime.Context) -> str:
        try:
            parts = variables.environment.from_string(template).generate(variables.get_all())
            rendered = "".join(map(str, parts))  # `render` would read it as a Python literal, with native types
        except Exception as error:
            context["task"].log.warning("map_index_template cannot be rendered: %s", error)
            rendered = ti.map_index
        text = texts.storable(texts.cut(str(rendered), MAX_LABEL - 1))
        # With render_template_as_native_obj, what this returns is read as a Python literal.
        return repr(text) if isinstance(variables.environment, NativeEnvironment) else text

    variables_of_templates: dict[str, Any] = context  # type: ignore[assignment]
    variables_of_templates |= {"map_index_template": _LABEL, "modelmax_label": label}


@contextmanager
def told_to_airflow(task: Any) -> Iterator[None]:
    """Count errors, and turn those that no retry can fix into Airflow's ``AirflowFailException``.

    :param task: the operator; if it has a :class:`.ModelMaxRetryPolicy`, that decides and needs the original error,
        except for a sensor with ``soft_fail``, whose base class skips for Airflow's exceptions only
    """
    try:
        yield
    except Exception as error:
        metrics.failed(error)
        sees_every_error = getattr(getattr(task, "retry_policy", None), "sees_every_error", False)
        if is_hopeless(error) and (not sees_every_error or getattr(task, "soft_fail", False)):
            raise AirflowFailException(str(error)) from error
        raise


def default_deferrable() -> bool:
    """Return ``[operators] default_deferrable`` where the environment sets it, and True otherwise.

    A false in ``airflow.cfg`` is ignored: Airflow writes its own defaults into that file (3.1.8, 3.3.2).
    """
    if "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" not in os.environ:
        return True
    return bool(conf.getboolean("operators", "default_deferrable"))


def absolute(deadline: timedelta | datetime, execution_timeout: timedelta | None) -> datetime:
    """Return when to stop waiting. It may have passed: the job can be over already.

    Airflow does not enforce ``execution_timeout`` while a task is deferred, so it bounds the deadline here.

    :raises InvalidInputError: if ``deadline`` is not a deadline
    """
    deadline = check_deadline_argument(deadline)
    return bounded(utcnow() + deadline if isinstance(deadline, timedelta) else deadline, execution_timeout)


def bounded(deadline: datetime, execution_timeout: timedelta | None) -> datetime:
    """Return when to stop waiting, no later than an ``execution_timeout`` that begins now."""
    return min(deadline, utcnow() + execution_timeout) if execution_timeout else deadline


def utcnow() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)


def backstop(deadline: datetime) -> timedelta:
    """Return Airflow's own timeout for a deferral: after the trigger's, whose error says more."""
    return deadline - utcnow() + timedelta(minutes=5)
