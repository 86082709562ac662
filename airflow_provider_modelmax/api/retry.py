"""The retry rule: which calls are sent again, when and how often; which may have been billed. No I/O."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator
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


def attempts(call: Call[Any], *, pause: Callable[[float], object], log: Any) -> Iterator[Attempt]:
    """Yield the attempts of a call, with a pause before each but the first. The last one raises its error.

    ::

        for attempt in attempts(call, pause=time.sleep, log=log):
            with attempt:
                return send(call)

    :param call: the call
    :param pause: waits for that many seconds; may raise to end the attempts
    :param log: a logger for the warnings
    """
    for number in itertools.count(1):
        yield (attempt := Attempt(call, number, log))
        if attempt.error is None:
            return
        pause(attempt.delay)


class Attempt:
    """One attempt of a call. ``with attempt:`` logs and suppresses an error if another attempt follows.

    :param call: the call
    :param number: from 1
    :param log: a logger for the warnings
    :ivar error: the error that was suppressed, None if there was none
    :ivar delay: seconds until the next attempt
    """

    def __init__(self, call: Call[Any], number: int, log: Any) -> None:
        self.call, self.number, self.log = call, number, log
        self.error: ModelMaxError | None = None
        self.delay = 0.0

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, ModelMaxError):
            return False
        delay = retry_delay(self.call, error, self.number)
        if delay is None:
            return False
        self.error, self.delay = error, delay
        most = max_attempts(self.call, error)
        log_lines(self.log.warning, str(error))
        self.log.warning("Attempt %s of %s; the next one is in %.1f s.", self.number, most, delay)
        if may_have_billed(self.call, error):
            log_lines(
                self.log.warning,
                "This call bills, and its answer was lost: asking again may be billed a second time. If it is, "
                "the ModelMax console shows two charges for this request.",
            )
        return True


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
