"""The record of every call, bill and job. It never holds the key.

The last `KEEP_CALLS` calls are kept, and all of them counted, so that a long run stays small.
"""

from __future__ import annotations

from collections import Counter, deque
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .jobs import Job

KEEP_CALLS = 50_000


@dataclass(slots=True)
class Call:
    """One request. The fields from `request_id` on are set while it is answered.

    :param time: When it arrived, by the simulator's clock.
    :param method: `GET` or `POST`.
    :param path: The quoted path; the key in it is masked.
    :param call: `submit`, `status`, `result`, `content`, or `other`.
    :param model: The model that the path names.
    :param authorization: Whether the key was `right`, `wrong` or `missing`.
    :param key_seen: Whether this simulator's key was anywhere in the request line or headers.
    :param header_names: In lower case.
    :param request_id: The job, once there is one.
    :param status: HTTP status of the answer; None if none was sent.
    :param fault: The kinds of the faults that were applied, separated by commas.
    :param bytes_sent: Bytes of the body that were sent.
    """

    time: float
    method: str
    path: str
    call: str
    model: str
    authorization: str
    key_seen: bool
    header_names: tuple[str, ...] = ()
    request_id: str | None = None
    status: int | None = None
    fault: str | None = None
    bytes_sent: int = 0

    def mark(self, kind: str) -> None:
        """Record a fault that was applied."""
        self.fault = kind if self.fault is None else f"{self.fault}, {kind}"


@dataclass(frozen=True)
class Bill:
    """One bill.

    :param time: When the result was fetched, by the simulator's clock.
    :param request_id: The job that is billed.
    :param model: Its model.
    :param video_seconds: The sum over all samples.
    :param video_resolution: What the job asked for.
    :param video_has_audio: What the job asked for.
    :param nth: Number of this bill among those of the same job, from 1.
    """

    time: float
    request_id: str
    model: str
    video_seconds: int
    video_resolution: str
    video_has_audio: bool
    nth: int


@dataclass(frozen=True)
class Video:
    """One MP4, as a content call without a range serves it."""

    url: str
    bytes: int
    sha256: str


class Ledger:
    """Calls, bills, jobs and videos since the start or the last reset."""

    def __init__(self, keep_calls: int = KEEP_CALLS) -> None:
        self.recent: deque[Call] = deque(maxlen=keep_calls)
        self.counts: Counter[tuple[str, str | None]] = Counter()
        self.totals: Counter[str] = Counter()
        self.bills: list[Bill] = []
        """All bills, oldest first."""
        self.jobs: dict[str, Job] = {}
        """All jobs by request_id. A job's `order` holds the prompt and the parameters that were submitted."""
        self.videos: dict[str, dict[str, Video]] = {}

    def record(self, call: Call) -> Call:
        """Add a call as it arrives."""
        self.recent.append(call)
        self.totals[call.call] += 1
        return call

    def assign(self, call: Call, request_id: str) -> None:
        """Record the job of a call."""
        call.request_id = request_id
        self.counts[call.call, request_id] += 1

    def calls(self, call: str | None = None, request_id: str | None = None) -> list[Call]:
        """Return the calls that are kept, oldest first.

        :param call: only `submit`, `status`, `result` or `content` calls
        :param request_id: only calls for this job
        """
        return [
            each for each in tuple(self.recent) if call in (None, each.call) and request_id in (None, each.request_id)
        ]

    def count(self, call: str, request_id: str | None = None) -> int:
        """Return the number of calls, including those that are no longer kept.

        :param call: `submit`, `status`, `result` or `content`
        :param request_id: only calls for this job
        """
        return self.totals[call] if request_id is None else self.counts[call, request_id]

    def bill(self, job: Job, now: float) -> Bill:
        """Add a bill. The service does not specify whether a second result call bills again: here it does."""
        self.counts["bill", job.request_id] += 1
        nth = self.counts["bill", job.request_id]
        bill = Bill(now, job.request_id, job.order.model, **job.order.usage, nth=nth)  # type: ignore[arg-type]  # usage is JSON
        self.bills.append(bill)
        return bill

    def record_video(self, job: Job, video: Video) -> None:
        """Record a video that a content call serves."""
        self.videos.setdefault(job.request_id, {})[video.url] = video

    def job_view(self, job: Job, now: float) -> dict[str, object]:
        """Return a job as JSON."""
        counted = {name: self.counts[name, job.request_id] for name in ("status", "result", "content")}
        return {
            "request_id": job.request_id,
            "content_id": job.content_id,
            "status": job.status(now),
            "error": job.error,
            **job.order.shown(),
            "submitted_at": job.submitted_at,
            "plan": [{"after_seconds": after, "status": status} for after, status in job.plan],
            "calls": counted,
            "bills": self.counts["bill", job.request_id],
            "videos": [asdict(video) for _, video in sorted(self.videos.get(job.request_id, {}).items())],
        }
