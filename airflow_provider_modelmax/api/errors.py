"""Everything that this provider raises, as one tree; each class names the next step. No I/O.

::

    ModelMaxError
    ├── InvalidInputError            an argument is wrong; found before anything was sent
    ├── ConnectionSetupError         the Airflow connection is incomplete or unusable
    ├── TransportError               no complete answer: refused, reset, timed out, cut off
    │   └── BusyError                not sent: too many calls were waiting for answers already
    ├── AnswerError                  an answer arrived that is not in the contract
    │   ├── ForeignUrlError          it points to another host, or to none: the key is not sent there
    │   ├── TooEarlyError            the result is not there yet: not billed, request it again
    │   └── UnusableResultError      the result was paid for and cannot be used (completely): do not request it again
    ├── ServiceError                 the service refused (any other 4xx)
    │   ├── BadRequestError          400 of the service itself: correct the request
    │   ├── UnauthorizedError        401: correct the key
    │   ├── InsufficientBalanceError 402: top up; nothing was charged
    │   ├── NotFoundError            404 or 410 of the service itself: check the id, and the host of the connection
    │   └── TemporaryError           408, 425, 429, 5xx, or a gateway's 400, 404 or 410: retry later
    ├── RefusedError                 another attempt cannot help, or might cost: the message says what to do
    │   └── KeptNowhereError         a paid result could not be stored: it is in the log
    ├── JobFailedError               the job FAILED; nothing is billed for it
    ├── JobNotOverError              the wait has ended; the job may still be running
    ├── StorageError                 the object store or file system failed; a retry continues
    │   ├── DestinationError         the destination cannot be used: choose another, or correct its permissions
    │   └── OverwrittenError         another object is there, right after a video was stored
    └── BrokenVideoError             the bytes are not a complete MP4; nothing was stored
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from airflow_provider_modelmax.api.text import storable


class ModelMaxError(Exception):
    """The base class of everything that this provider raises.

    :param message: what happened, and what to do next
    """

    retry_after: float | None = None
    """Seconds that the service's answer asked to wait, or None."""

    def __init__(self, message: str = "") -> None:
        super().__init__(storable(message))


class InvalidInputError(ModelMaxError, ValueError):
    """An argument is wrong. Nothing was sent; correct what the message names."""


class ConnectionSetupError(ModelMaxError):
    """The Airflow connection cannot be used. Nothing was sent; correct what the message names."""


class TransportError(ModelMaxError):
    """No complete answer came.

    :param message: what happened, without secrets
    :param reached: whether the request may have reached the service; False if no connection was made
    """

    def __init__(self, message: str, *, reached: bool = True) -> None:
        super().__init__(message)
        self.reached = reached


class BusyError(TransportError):
    """Not sent: too many calls were waiting for their answers already. Ask again later.

    :param message: how many, and for how long
    """

    def __init__(self, message: str) -> None:
        super().__init__(message, reached=False)


class AnswerError(ModelMaxError):
    """An answer came that is not in the contract.

    :param message: what was expected, and an excerpt of what came
    :param garbled: whether the body could not be read at all (HTML of a gateway, cut JSON)
    """

    def __init__(self, message: str, *, garbled: bool = False) -> None:
        super().__init__(message)
        self.garbled = garbled


class ForeignUrlError(AnswerError):
    """A URL or redirect leads to another origin than the connection's, or is invalid. The key is not sent there.

    :param message: where it leads
    :param reached: whether the request may have reached the service: a redirect is an answer, of the service or of a
        gateway under maintenance, and a later call may get another one
    """

    def __init__(self, message: str, *, reached: bool = False) -> None:
        super().__init__(message)
        self.reached = reached


class TooEarlyError(AnswerError):
    """The status said COMPLETED, but the result is not there yet. Not billed; ask again."""


class UnusableResultError(AnswerError):
    """The result was paid for and cannot be used. Asking again may bill again; the message holds the answer.

    :param message: what came, and what to do
    :param said: the service's reason; the message begins with it
    :param usage: what was billed, as the service gave it
    """

    def __init__(self, message: str, *, said: str = "", usage: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.said, self.usage = said, usage or {}


class ServiceError(ModelMaxError):
    """The service answered with an error.

    :param message: call, status, the service's sentence, and what to do next
    :param status: HTTP status
    :param type: the service's error type, for example ``bad_request``; empty when a gateway answered
    :param retry_after: seconds that the answer asked to wait, or None
    :param documented: whether the service documents this type for this status; otherwise a gateway may have answered
    """

    def __init__(
        self,
        message: str,
        *,
        status: int,
        type: str = "",  # noqa: A002 - the service's word
        retry_after: float | None = None,
        documented: bool = True,
    ) -> None:
        super().__init__(message)
        self.status = status
        self.type = type
        self.retry_after = retry_after
        self.documented = documented


class BadRequestError(ServiceError):
    """400 in the service's own format. Asking again cannot help."""


class UnauthorizedError(ServiceError):
    """401. The key is missing, wrong or revoked."""


class InsufficientBalanceError(ServiceError):
    """402. Refused before it reached the provider; nothing is charged."""


class NotFoundError(ServiceError):
    """404 or 410 in the service's own format: it does not know this, or no longer."""


class TemporaryError(ServiceError):
    """408, 425, 429, 5xx, or a refusal of a gateway in front of the service. Asking again later can help."""


class RefusedError(ModelMaxError):
    """Another attempt cannot help, or might be billed again; the message says what to do."""


class JobFailedError(ModelMaxError):
    """The job is over and FAILED. Nothing is billed for it.

    :param request_id: the job
    :param reason: the service's words, for example ``content policy violation``
    """

    def __init__(self, request_id: str, reason: str) -> None:
        super().__init__(
            f"The job FAILED: {reason.rstrip('.')}. Nothing is billed for it. "
            "Change the prompt or the parameters, then clear the task that submitted it. "
            f"Job {request_id}."
        )
        self.request_id = request_id
        self.reason = reason


class JobNotOverError(ModelMaxError):
    """The wait has ended; the job may still be running, and another task can wait for it.

    :param request_id: the job
    :param why: what ended the wait
    :param timed_out: True at the deadline, False if the service gave no usable answer for too long
    """

    def __init__(self, request_id: str, why: str, *, timed_out: bool) -> None:
        super().__init__(
            f"{why} The job may still be running; nothing is billed until its result is fetched. "
            "To go on, clear or retry this task (Airflow 3.3 and later), or use a ModelMaxDownloadVideoOperator. "
            f"Job {request_id}."
        )
        self.request_id = request_id
        self.why = why
        self.timed_out = timed_out


class KeptNowhereError(RefusedError):
    """A result is paid for, and neither task state nor manifest could be written: it is in the log."""


class StorageError(ModelMaxError):
    """The store failed. What was paid for is stored; a retry continues from there."""


class DestinationError(StorageError, ValueError):
    """The destination cannot be used, which is usually found before the submit. What was paid for is stored.

    :param message: what is wrong, and what to do
    :param leads_nowhere: whether the URI itself is wrong: no store was called, and a retry cannot help
    """

    def __init__(self, message: str, *, leads_nowhere: bool = False) -> None:
        super().__init__(message)
        self.leads_nowhere = leads_nowhere


class OverwrittenError(StorageError):
    """An object was written, but the store shows another one there.

    :param message: what is there
    :param size: bytes that were written
    :param sha256: of what was written, in hex
    """

    def __init__(self, message: str, *, size: int, sha256: str) -> None:
        super().__init__(message)
        self.size, self.sha256 = size, sha256


class BrokenVideoError(ModelMaxError):
    """The bytes are not a complete MP4. Nothing was stored; download the video again."""
