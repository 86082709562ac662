"""What a task already has, kept where retries, kills and clears do not reach: in the task state store.

The store exists since Airflow 3.3. Before, and when it was discarded, the manifest beside the video carries the result.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api import Job, Result
from airflow_provider_modelmax.storage import Saved

if TYPE_CHECKING:
    from airflow.sdk import Context

KEY = "modelmax"

SUBMITTED, FETCHING, FETCHED, LANDED, FAILED = "submitted", "fetching", "fetched", "landed", "failed"


@dataclass(frozen=True)
class Progress:
    """How far a task got with one job.

    :param job: what was submitted
    :param phase: ``submitted``, ``fetching`` (the billing call has begun), ``fetched``, ``landed`` or ``failed``
    :param order: fingerprint of what was asked for
    :param asks: how often the billing call was begun
    :param asker: who began it last, as ``host:pid``
    :param asked_at: when, in seconds since the epoch
    :param result: what was paid for
    :param videos: what has landed
    :param reason: why the job failed
    """

    job: Job
    phase: str = SUBMITTED
    order: str = ""
    asks: int = 0
    asker: str = ""
    asked_at: float = 0.0
    result: Result | None = None
    videos: tuple[Saved, ...] = ()
    reason: str = ""

    def fetched(self, result: Result) -> Progress:
        """Return the progress once the result is there."""
        return replace(self, phase=FETCHED, result=result)

    def landed(self, videos: tuple[Saved, ...]) -> Progress:
        """Return the progress once all videos stand at their URIs."""
        return replace(self, phase=LANDED, videos=videos)

    def failed(self, reason: str) -> Progress:
        """Return the progress once the job FAILED."""
        return replace(self, phase=FAILED, reason=reason)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON that is stored."""
        return {
            "job": self.job.as_dict(),
            "phase": self.phase,
            "order": self.order,
            "asks": self.asks,
            "asker": self.asker,
            "asked_at": self.asked_at,
            "result": self.result.as_dict() if self.result else None,
            "videos": [[video.uri, video.size, video.sha256] for video in self.videos],
            "reason": self.reason,
        }

    @classmethod
    def from_dict(cls, kept: dict[str, Any]) -> Progress:
        """Read what :meth:`as_dict` wrote."""
        result = Result.from_dict(kept["result"]) if kept["result"] else None
        videos = tuple(Saved(*video) for video in kept["videos"])
        return cls(**{**kept, "job": Job.of(kept["job"]), "result": result, "videos": videos})


class ProgressStore:
    """The task state store of one task instance; forgets everything where Airflow has none.

    :param context: the task's
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")

    @property
    def available(self) -> bool:
        """Whether anything is kept."""
        return self._store is not None

    def get(self) -> Progress | None:
        """Return what was kept."""
        kept = self._store.get(KEY) if self._store is not None else None
        return Progress.from_dict(kept) if kept else None

    def put(self, progress: Progress) -> Progress:
        """Keep ``progress`` for ever, and return it."""
        if self._store is not None:
            from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - Airflow 3.3 and later

            self._store.set(KEY, progress.as_dict(), retention=NEVER_EXPIRE)
        return progress
