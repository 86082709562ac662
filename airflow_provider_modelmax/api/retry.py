"""The retry rule: which calls are sent again, when and how often; which may have been billed. No I/O."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api.errors import (
    AnswerError,
    ForeignUrlError,
    ModelMaxError,
    ServiceError,
    TemporaryError,
    TooEarlyError,
    TransportError,
    UnusableResultError,
)
from airflow_provider_modelmax.api.text import log_lines

if TYPE_CHECKING:
    from airflow_provider_modelmax.api.calls import Call

MAX_RETRY_AFTER = 60.0
"""Seconds. A longer ``Retry-After`` is not slept through: on a worker the error is raised and Airflow retries the task;
a wait polls again after this time."""

ATTEMPTS_WHEN_IT_MAY_BILL = 3
"""Attempts of the call that bills, at most, if an earlier one may have been billed."""

MAX_ATTEMPTS = 5
"""Attempts of any other call, at most."""

_REFUSED_BEFORE_BILLING = {401, 402, 407, 421, 425, 429}
"""Statuses of a call that was not carried out, also if a gateway answers (contract, RFC 9110, RFC 8470, RFC 6585)."""


def delay_after(call: Call[Any], error: ModelMaxError, attempt: int, log: Any) -> float | None:
    """Return what :func:`retry_delay` does, and log why another attempt follows, if one does.

    :param log: a logger for the warnings
    """
    delay = retry_delay(call, error, attempt)
    if delay is None:
        return None
    log_lines(log.warning, str(error))
    log.warning("Attempt %s of %s; the next one is in %.1f s.", attempt, max_attempts(call, error), delay)
    if may_have_billed(call, error):
        log_lines(
            log.warning,
            "This call bills, and its answer was lost: asking again may be billed a second time. If it is, "
            "the ModelMax console shows two charges for this request.",
        )
    return delay


def retry_delay(call: Call[Any], error: ModelMaxError, attempt: int) -> float | None:
    """Return the seconds after which to send ``call`` again, or None if it must not be sent again.

    :param error: of the last attempt
    :param attempt: the number of the last attempt, from 1
    """
    if not can_pass(call, error) or attempt >= max_attempts(call, error):
        return None
    return backoff(attempt, error.retry_after)


def max_attempts(call: Call[Any], error: ModelMaxError) -> int:
    """Return how many attempts of ``call`` are made at most, if the last one ended in ``error``."""
    return ATTEMPTS_WHEN_IT_MAY_BILL if may_have_billed(call, error) else MAX_ATTEMPTS


def can_pass(call: Call[Any], error: ModelMaxError) -> bool:
    """Return whether another attempt of ``call`` may succeed after ``error``."""
    if isinstance(error, ForeignUrlError | UnusableResultError):
        return False
    if isinstance(error, AnswerError):
        return call.replayable or error.garbled or isinstance(error, TooEarlyError)
    return isinstance(error, TransportError | TemporaryError)


def backoff(attempt: int, asked: float | None) -> float | None:
    """Return the seconds to pause after an attempt, or None if the service asked for more than MAX_RETRY_AFTER.

    :param attempt: the number of the last attempt, from 1
    :param asked: seconds that the service asked for (``Retry-After``), or None
    """
    if asked is not None:
        return None if asked > MAX_RETRY_AFTER else max(asked, 0.1)
    return 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret


def may_have_billed(call: Call[Any], error: ModelMaxError) -> bool:
    """Return whether ``call`` may have been billed although it ended in ``error``.

    Only an error in the service's own format proves that it refused. A gateway can answer in its place even after the
    service has billed, except with a status in ``_REFUSED_BEFORE_BILLING``.
    """
    if call.replayable or isinstance(error, TooEarlyError):
        return False
    if isinstance(error, TransportError | ForeignUrlError):
        return error.reached
    if isinstance(error, ServiceError):
        refused = error.type and error.status < 500
        return not refused and error.status not in _REFUSED_BEFORE_BILLING
    return isinstance(error, AnswerError)
