"""Wait for a job in the triggerer: status calls only, so waiting can never bill."""

from __future__ import annotations

import asyncio
import random
import time
from collections import defaultdict
from collections.abc import AsyncIterator
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

from airflow_provider_modelmax import api, poll_schedule, polling
from airflow_provider_modelmax.api.text import log_lines
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.triggers import timers
from airflow_provider_modelmax.triggers.event import JobEvent

FIRST_EVENT = timedelta(seconds=8)
"""A trigger that fires sooner makes the scheduler take the first segment's end for the second's and retry the task.

Measured on Airflow 3.3.2: firing at 0 s, 3 of 8 tasks got an extra try; at 8 s, none.
"""

SLOTS = 50
"""Slots into which an interval is divided: the triggers of one slot wake the event loop together."""

_stats: dict[str, poll_schedule.ModelStats] = defaultdict(poll_schedule.ModelStats)
"""What this triggerer has seen, by model."""


class ModelMaxJobTrigger(BaseTrigger):
    """Poll until a job is over or the deadline has passed, then yield one :class:`JobEvent`.

    :param modelmax_conn_id: the connection
    :param model: the job's model
    :param request_id: the job
    :param status_url: the job's, as the service gave it
    :param deadline: when to stop waiting (aware datetime)
    :param poll_interval: seconds between two status calls; up to four times that as long as the job is unlikely to be
        over, judged by the last jobs of this model that this triggerer saw
    :param submitted: when the job was submitted (aware datetime), None if that is not known
    :param ask_from: when the next status call is due (aware datetime), None if none was made yet
    :param seen: the status that the worker saw, and since when: what ``polling.Wait.kept()`` returned there
    """

    def __init__(  # noqa: PLR0917 - the triggerer passes all by name
        self,
        modelmax_conn_id: str,
        model: str,
        request_id: str,
        status_url: str,
        deadline: datetime,
        poll_interval: float = polling.DEFAULT_POLL_INTERVAL,
        submitted: datetime | None = None,
        ask_from: datetime | None = None,
        seen: dict[str, str | None] | None = None,
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.modelmax_conn_id = modelmax_conn_id
        self.model = model
        self.request_id = request_id
        self.status_url = status_url
        self.deadline = deadline
        self.poll_interval = poll_interval
        self.submitted = submitted
        self.ask_from = ask_from
        self.seen = seen

    @classmethod
    def waiting_for(
        cls,
        job: api.Job,
        *,
        conn_id: str,
        deadline: datetime,
        poll_interval: float,
        submitted: datetime | None = None,
        ask_from: datetime | None = None,
        seen: polling.Wait | None = None,
    ) -> ModelMaxJobTrigger:
        """Return the trigger that waits for ``job``.

        :param seen: the wait that the worker began
        """
        # The time limits of a wait in doubt must not run on while no triggerer is there.
        kept = seen.kept() if seen and not seen.in_doubt else None
        return cls(
            conn_id, job.model, job.request_id, job.status_url, deadline, poll_interval, submitted, ask_from, kept
        )

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments, from which the triggerer creates this trigger."""
        return f"{type(self).__module__}.{type(self).__qualname__}", {
            "modelmax_conn_id": self.modelmax_conn_id,
            "model": self.model,
            "request_id": self.request_id,
            "status_url": self.status_url,
            # In UTC: Airflow writes a fixed offset such as +05:30 in a way that it cannot read back (seen on 3.3.2).
            "deadline": self.deadline.astimezone(timezone.utc),
            "poll_interval": self.poll_interval,
            "submitted": self.submitted and self.submitted.astimezone(timezone.utc),
            "ask_from": self.ask_from and self.ask_from.astimezone(timezone.utc),
            "seen": self.seen,
        }

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Wait for the job, and yield how the wait ended."""
        begun = time.monotonic()
        hook = ModelMaxHook(self.modelmax_conn_id)
        try:
            event = await self._end(hook)
        finally:
            await hook.aclose()
        await asyncio.sleep(begun + FIRST_EVENT.total_seconds() - time.monotonic())
        yield TriggerEvent(event.as_dict())  # type: ignore[no-untyped-call]

    @property
    def _job(self) -> api.Job:
        return api.Job.of({"model": self.model, "request_id": self.request_id, "status_url": self.status_url})

    async def _end(self, hook: ModelMaxHook) -> JobEvent:
        """Poll until the wait is over. Locals live as long as the wait, in thousands of triggers: keep them small."""
        wait = polling.Wait.begin(
            self.request_id,
            deadline=self.deadline,
            poll_interval=self.poll_interval,
            now=_now(),
            submitted=self.submitted,
        )
        try:
            if self.seen:
                wait = wait.taken_over(self.seen)
            job = self._job
            due = self._first_call(wait)
            while True:
                await timers.sleep(due - time.time())
                seen = await self._look(hook, wait, job)
                step, wait = self._judge(wait, seen, due), seen
                if isinstance(step, polling.Over):
                    return JobEvent.of(wait, step.error)
                due = step
        except Exception as error:  # an exception would reach the worker without its name
            self.log.exception("Waiting for job %s failed", self.request_id)
            return JobEvent.of(wait, error)

    def _first_call(self, wait: polling.Wait) -> float:
        """Return when to poll first. It is spread, or a thousand mapped tasks would poll at the same moment."""
        now = _now()
        spared = wait.pause(now, _stats[self.model]) - self.poll_interval
        due = now.timestamp() + spared + random.uniform(0, min(self.poll_interval, 5))  # noqa: S311
        if self.ask_from:
            due = max(due, self.ask_from.timestamp())
        return min(due - due % (self.poll_interval / SLOTS), self.deadline.timestamp())

    def _judge(self, before: polling.Wait, wait: polling.Wait, due: float) -> float | polling.Over:
        """Log what changed, and return when to poll next, or how the wait is over."""
        now, stats = _now(), _stats[self.model]
        if message := wait.news(before, now):
            log_lines(self.log.info, message)
        step = wait.next_step(now, stats)
        if isinstance(step, polling.AskAgain):
            return self._next_call(due, now, step.at, is_told=bool(wait.trouble and wait.trouble.retry_after))
        if wait.is_over:
            before.teach(stats)
        return step

    def _next_call(self, due: float, now: datetime, at: datetime, *, is_told: bool) -> float:
        """Return when to poll next. A ``Retry-After`` (``is_told``) counts from the answer."""
        end = self.deadline.timestamp()
        if at >= self.deadline:
            return end
        usual = poll_schedule.next_due(due, now.timestamp(), (at - now).total_seconds(), self.poll_interval)
        return min(max(usual, at.timestamp()) if is_told else usual, end)

    @staticmethod
    async def _look(hook: ModelMaxHook, wait: polling.Wait, job: api.Job) -> polling.Wait:
        try:
            return wait.answered(await hook.aget_status(job), _now())
        except api.BusyError:
            return wait  # no call was made
        except api.ModelMaxError as error:
            # Thousands of triggers keep an error until the service answers: its frames would take 0.2 MB each.
            error.__traceback__ = error.__context__ = error.__cause__ = None
            return wait.failed(error, _now())

    async def on_kill(self) -> None:
        """Log what becomes of the job when its waiting task is cleared or marked (Airflow 3.3 and later)."""
        log_lines(self.log.warning, polling.on_kill_message(self._job))


def _now() -> datetime:
    return datetime.now(timezone.utc)
