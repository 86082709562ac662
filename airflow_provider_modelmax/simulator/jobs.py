"""The life of a job as data: its status is a pure function of the time. No I/O."""

from __future__ import annotations

import base64
import secrets
from dataclasses import dataclass
from typing import TYPE_CHECKING

from .routes import request_path

if TYPE_CHECKING:
    from .orders import Order

POLICY = "content policy violation"
STATUSES = ("IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED")

# (seconds after the submit, status from then on)
Plan = tuple[tuple[float, str], ...]


@dataclass(frozen=True)
class Job:
    """A submitted job, and the plan of its life."""

    request_id: str
    content_id: str
    order: Order
    submitted_at: float
    plan: Plan
    error: str | None = None

    def status(self, now: float) -> str:
        """Return the status at a time."""
        elapsed = now - self.submitted_at
        status = self.plan[0][1]
        for start, name in self.plan:
            if start > elapsed:
                break
            status = name
        return status

    @property
    def path(self) -> str:
        """The quoted path of the result call."""
        return request_path(self.order.model, self.request_id)

    @property
    def indexes(self) -> set[str]:
        """The indexes of the samples, as in a path."""
        return {str(index) for index in range(self.order.sample_count)}

    @property
    def content_paths(self) -> list[str]:
        """The quoted path of each sample."""
        base = request_path(self.order.model, self.content_id)
        return [f"{base}/content/{index}" for index in range(self.order.sample_count)]


def plan(queue_seconds: float, run_seconds: float, error: str | None = None) -> Plan:
    """Return the plan of a job that completes, or fails with `error`."""
    end = "COMPLETED" if error is None else "FAILED"
    return ((0.0, "IN_QUEUE"), (queue_seconds, "IN_PROGRESS"), (queue_seconds + run_seconds, end))


def fail(steps: Plan) -> Plan:
    """Return the plan with FAILED as its end."""
    return (*steps[:-1], (steps[-1][0], "FAILED"))


def new_id() -> str:
    """Return an id that must be quoted in a path: Base64 with `=`, and with `/` or `+`."""
    while True:
        name = base64.b64encode(secrets.token_bytes(25)).decode()
        if "/" in name or "+" in name:
            return name


# The good answers, as in the service's documentation.


def submitted(job: Job) -> dict[str, object]:
    """Return the answer to a submit."""
    return {
        "request_id": job.request_id,
        "status": "IN_QUEUE",
        "status_url": f"{job.path}/status",
        "response_url": job.path,
    }


def status(job: Job, now: float) -> dict[str, object]:
    """Return the answer to a status call."""
    state = job.status(now)
    answer: dict[str, object] = {"request_id": job.request_id, "status": state}
    return {**answer, "error": job.error} if state == "FAILED" else answer


def result(job: Job, now: float) -> dict[str, object]:
    """Return the answer to a result call."""
    answer = {**status(job, now), "model": job.order.model}
    if answer["status"] != "COMPLETED":
        return answer
    data = [{"url": path} for path in job.content_paths]
    return {**answer, "data": data, "usage": job.order.usage}
