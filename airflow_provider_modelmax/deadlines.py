"""Until when a task waits for its job, and the clock."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

from airflow_provider_modelmax.api.parameters import check_deadline_argument

MIN_DEFERRAL = timedelta(seconds=15)
"""A shorter wait stays on the worker: a trigger fires after 8 s at the earliest, and deferring takes 5 more."""


def absolute_deadline(deadline: timedelta | datetime, execution_timeout: timedelta | None) -> datetime:
    """Return when to stop waiting. It may have passed: the job can be over already.

    Airflow does not enforce ``execution_timeout`` while a task is deferred, so it bounds the deadline here.

    :raises InvalidInputError: if ``deadline`` is not a deadline
    """
    deadline = check_deadline_argument(deadline)
    return bounded_deadline(utcnow() + deadline if isinstance(deadline, timedelta) else deadline, execution_timeout)


def bounded_deadline(deadline: datetime, execution_timeout: timedelta | None) -> datetime:
    """Return when to stop waiting, no later than an ``execution_timeout`` that begins now."""
    return min(deadline, utcnow() + execution_timeout) if execution_timeout else deadline


def utcnow() -> datetime:
    """Return the time."""
    return datetime.now(timezone.utc)


def deferral_timeout(deadline: datetime) -> timedelta:
    """Return Airflow's timeout for a deferral: 5 minutes after the trigger's own, which has the better message."""
    return deadline - utcnow() + timedelta(minutes=5)
