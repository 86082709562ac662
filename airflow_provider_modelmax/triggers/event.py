"""The event from the triggerer to the worker. Imports no trigger of Airflow: that would cost a worker 7 ms a video."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.api.text import storable


@dataclass(frozen=True)
class JobEvent:
    """The payload of the trigger's event. Airflow logs it verbatim: it holds no key, URL or prompt.

    :param request_id: the job
    :param outcome: ``completed``, ``failed``, ``timed_out``, ``gave_up``, ``refused`` (asking again cannot help)
        or ``error``
    :param message: what went wrong; the service's reason when ``failed``
    :param queued_seconds: how long it was seen IN_QUEUE; None if it was not seen there, or not seen to leave
    :param generating_seconds: how long it was seen IN_PROGRESS; None if it was not seen so
    :param status: of the HTTP answer, if ``refused``; 0 if there was none
    """

    request_id: str
    outcome: str
    message: str = ""
    queued_seconds: float | None = None
    generating_seconds: float | None = None
    status: int = 0

    @classmethod
    def of(cls, wait: polling.Wait, error: Exception | None) -> JobEvent:
        """Return the event for the end of a wait."""
        outcome, message = _outcome(error)
        queued, generating = _rounded(wait.seconds_in_queue), _rounded(wait.seconds_running)
        status = error.status if isinstance(error, api.ServiceError) else 0
        return cls(wait.request_id, outcome, storable(message), queued, generating, status)

    @classmethod
    def from_dict(cls, event: Mapping[str, Any] | None) -> JobEvent:
        """Read what :meth:`as_dict` wrote, of a triggerer that may be of another version.

        :raises ModelMaxError: when it is something else
        """
        if not isinstance(event, Mapping) or not {"request_id", "outcome"} <= event.keys():
            raise api.ModelMaxError("The event of the trigger cannot be read. Clear the task.")
        return cls(**{each.name: event[each.name] for each in fields(cls) if each.name in event})

    def is_of_another(self, request_id: str) -> bool:
        """Return whether the wait was for another job than ``request_id``: the task's may have changed."""
        return self.request_id != request_id

    def as_dict(self) -> dict[str, Any]:
        """Return the payload of the trigger event."""
        return asdict(self)

    def __str__(self) -> str:
        queued = "" if self.queued_seconds is None else f"{self.queued_seconds:.0f} s in queue"
        generating = "" if self.generating_seconds is None else f"{self.generating_seconds:.0f} s generating"
        seen = ", ".join(filter(None, (queued, generating)))
        return f"Job {self.request_id} is {self.outcome.upper()}{f': seen {seen}' if seen else ''}."

    def raise_for_outcome(self) -> None:
        """Raise what the wait ended in, unless the job is COMPLETED."""
        if self.outcome == "completed":
            return
        if self.outcome == "failed":
            raise api.JobFailedError(self.request_id, self.message)
        if self.outcome in {"timed_out", "gave_up"}:
            raise api.JobNotOverError(self.request_id, self.message, timed_out=self.outcome == "timed_out")
        if self.outcome == "refused":
            raise api.refusal(self.message, self.status)
        if self.outcome == "error":
            raise api.ModelMaxError(self.message)
        raise api.ModelMaxError(f"The wait for job {self.request_id} ended in {self.outcome!r}: {self.message}")


def _rounded(seconds: float | None) -> float | None:
    return None if seconds is None else round(seconds, 1)


def _outcome(error: Exception | None) -> tuple[str, str]:
    if error is None:
        return "completed", ""
    if isinstance(error, api.JobFailedError):
        return "failed", error.reason
    if isinstance(error, api.JobNotOverError):
        return "timed_out" if error.timed_out else "gave_up", error.why
    if not polling.is_retryable(error):
        return "refused", str(error)
    return "error", f"{type(error).__name__}: {error}"
