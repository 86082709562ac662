"""Where our words become Airflow's: its exceptions, its configuration, its clock. Shared by operators and sensor."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException, conf

from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.parameters import check_deadline_argument

HOPELESS = (*polling.HOPELESS, api.InvalidInputError, api.JobFailedError, api.RefusedError, api.UnusableResultError)
"""The classes of what no retry can change; :func:`is_hopeless` decides."""

DEFAULT_CONN_ID = "modelmax_default"

MIN_DEFERRAL = timedelta(seconds=15)
"""A wait that ends sooner stays on the worker: a trigger needs its first 8 s, and the way there and back 5 more."""


def is_hopeless(error: BaseException) -> bool:
    """Return whether no retry can change the error."""
    return isinstance(error, HOPELESS) and (not isinstance(error, polling.HOPELESS) or polling.is_hopeless(error))


@contextmanager
def told_to_airflow(task: Any) -> Iterator[None]:
    """Count what fails, and fail at once, without Airflow's retries, what no retry can mend.

    :param task: the operator; where it has a retry policy of ours, that decides, and sees the error as it is, but for
        a sensor that skips instead (``soft_fail``): the base class knows that by Airflow's exceptions only
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

    A false in ``airflow.cfg`` is nobody's choice: Airflow writes its own defaults into that file (3.1.8, 3.3.2).
    """
    if "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" not in os.environ:
        return True
    return bool(conf.getboolean("operators", "default_deferrable"))


def absolute(deadline: timedelta | datetime, execution_timeout: timedelta | None) -> datetime:
    """Return when to stop waiting. It may have passed: a job can be over all the same.

    Airflow does not enforce ``execution_timeout`` while a task is deferred, so it bounds the deadline here.

    :raises InvalidInputError: when ``deadline`` is none
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
    """Return Airflow's own timeout for a deferral: later than the trigger's, whose end is told in our words."""
    return deadline - utcnow() + timedelta(minutes=5)
