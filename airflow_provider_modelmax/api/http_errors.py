"""The error of a call that got another HTTP answer than the expected one, or none: its class and message. No I/O."""

from __future__ import annotations

from collections.abc import Mapping
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING, Any

import pendulum

from airflow_provider_modelmax.api.errors import (
    AnswerError,
    BadRequestError,
    ForeignUrlError,
    InsufficientBalanceError,
    ModelMaxError,
    NotFoundError,
    RefusedError,
    ServiceError,
    TemporaryError,
    TransportError,
    UnauthorizedError,
)
from airflow_provider_modelmax.api.text import cut, excerpt, read_json
from airflow_provider_modelmax.api.urls import redirect_target

if TYPE_CHECKING:
    from airflow_provider_modelmax.api.calls import Call

_LONGEST_RETRY_AFTER = 86_400.0
"""Seconds. A ``Retry-After`` that is longer is read as this."""

MAX_NAME, MAX_REASON = 100, 1000
"""Characters of a name and of a sentence of the service that are shown."""

_NOT_FOUND = (
    NotFoundError,
    "ModelMax does not know this (any more). Check the id, and the host of the ModelMax connection.",
)

_NEXT_STEP: Mapping[int, tuple[type[ServiceError], str]] = {
    400: (BadRequestError, "Correct the request; asking again cannot help."),
    401: (UnauthorizedError, "Put a valid API key into the password of the ModelMax connection."),
    402: (InsufficientBalanceError, "This call was not charged. Top up the ModelMax balance, then clear the task."),
    404: _NOT_FOUND,
    410: _NOT_FOUND,
}

_ADVICE: Mapping[int, str] = {
    403: "Look at the rights of the API key, and for a firewall or gateway between Airflow and ModelMax.",
    413: "Make the image smaller, or raise the limit of the gateway between Airflow and ModelMax.",
}

_DOCUMENTED_TYPE: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_balance",
    500: "internal_error",
    502: "bad_gateway",
}

_TEMPORARY = (TemporaryError, "Retry later.")

_GATEWAY_REFUSED = (TemporaryError, "Retry later; if it persists, check the host of the ModelMax connection.")


def error_of(call: Call[Any], status_code: int, headers: Mapping[str, str], body: bytes) -> ModelMaxError:
    """Return the error for an answer whose status is not the expected one."""
    if 300 <= status_code < 400:
        target = redirect_target(headers.get("Location", ""))
        check = "check the host of the ModelMax connection; if that is right, " if target.startswith("to ") else ""
        return ForeignUrlError(
            f"{call} answered {status_code} and redirects {target}. Redirects are not followed, so that the key is "
            f"sent nowhere else. If it lasts, {check}ask whoever runs the service or the gateway in front of it.",
            reached=True,
        )
    if status_code < 300:
        return AnswerError(f"{call} answered {status_code}, which is not expected here.")
    kind, sentence = _service_sentence(body)
    cls, advice = _next_step(status_code, kind)
    message = f"{call} answered {status_code} {kind}".rstrip() + f": {sentence.rstrip('.')}. {advice}"
    documented = kind == _DOCUMENTED_TYPE.get(status_code)
    return cls(message, status=status_code, type=kind, retry_after=_retry_after(headers), documented=documented)


def refusal(message: str, status_code: int) -> ModelMaxError:
    """Return the error of a call that another process has made and that a retry cannot fix.

    :param message: of the error there
    :param status_code: of the answer, 0 if the error is not about its status
    """
    if status_code not in _NEXT_STEP:
        return RefusedError(message)
    return _NEXT_STEP[status_code][0](message, status=status_code)


def is_of_modelmax(error: ServiceError) -> bool:
    """Return whether an error answer has both the form and a type of ModelMax: other services use the same form."""
    return error.documented or (error.status in {404, 410} and error.type == "not_found")


CA_ADVICE = "If the service has its own CA, put the path of its bundle into the connection's extra 'verify'."

TIMED_OUT = "timed out"
CLOSED = "the connection was closed"
CUT_OFF = "the answer was cut off"
NO_HTTP = "not an HTTP answer"
"""Why no whole answer came, in the words of both transports."""


def os_words(error: BaseException) -> str:
    """Return the text of an error of the operating system, without its number and address."""
    text = error.strerror if isinstance(error, OSError) else ""
    return text or str(error) or type(error).__name__


def no_answer(call: Call[Any], said: str, *, reached: bool = True) -> TransportError:
    """Return the error of a call that got no whole answer.

    :param said: why, without secrets
    :param reached: whether it may have reached the service
    """
    advice = "" if reached else " Check the host and the proxy of the ModelMax connection, and the network."
    return TransportError(f"{call}: no whole answer ({said}).{advice}", reached=reached)


def _next_step(status_code: int, kind: str) -> tuple[type[ServiceError], str]:
    """Return the class and the advice for an error answer.

    :param kind: the service's error type; empty if the answer is not in the service's form
    """
    if status_code in {400, 404, 410} and not kind:
        return _GATEWAY_REFUSED
    if status_code in {408, 425, 429} or status_code >= 500:
        return _TEMPORARY
    other = _ADVICE.get(status_code, "Look for a proxy or gateway between Airflow and ModelMax.")
    return _NEXT_STEP.get(status_code, (ServiceError, other))


def _service_sentence(body: bytes) -> tuple[str, str]:
    """Return type and message of an error body; for one that is not in the service's form, an empty type."""
    try:
        error = read_json(body)["error"]
        kind, sentence = error["type"], str(error["message"])
    except (KeyError, TypeError):
        kind = sentence = ""
    if not isinstance(kind, str) or not kind.strip():
        return "", f"no error object of the service, but {excerpt(body)}"
    return cut(kind, MAX_NAME), cut(sentence, MAX_REASON)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _LONGEST_RETRY_AFTER)
    try:
        seconds = (parsedate_to_datetime(value) - pendulum.now("UTC")).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _LONGEST_RETRY_AFTER)
