"""The four calls of the contract, carried out. Speaks in requests and answers; sends nothing itself."""

from __future__ import annotations

import asyncio
import hmac
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import jobs
from .faults import FaultBook, Subject
from .film import Film, pick_range
from .jobs import Job
from .ledger import KEEP_CALLS, Call, Ledger, Video
from .orders import Order, RefusedError, read_order
from .readers import span
from .studio import Studio, scenes
from .wire import Answer, Headers, Request, error_answer, gateway_answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .faults import Fault
    from .routes import Route
    from .settings import Settings
    from .studio import Reel

BIG_BODY = 64 * 1024  # from here on a body is read in a thread, so that status calls do not wait


class Service:
    """All that the service knows."""

    def __init__(self, settings: Settings, clock: Callable[[], float], seed: int | None = None) -> None:
        self.settings, self.clock, self.seed = settings, clock, seed
        self._first = replace(settings)
        self.faults, self.studio = FaultBook(), Studio()
        self.reset(KEEP_CALLS)

    def reset(self, keep_calls: int = KEEP_CALLS) -> None:
        """Forget jobs, calls, bills and faults; settings go back to the first ones."""
        self.settings.update(dict(self._first.__dict__))
        self.ledger = Ledger(keep_calls)
        self.contents: dict[str, Job] = {}
        self.faults.remove()
        self.studio.drop_waiting()
        self._dice = random.Random(self.seed)  # noqa: S311 -- timings, no secret

    # Who asks, and about what

    def authorization(self, request: Request) -> str:
        """Say whether the key is right, wrong or missing."""
        given = request.headers.get("authorization")
        if not given:
            return "missing"
        expected = f"Bearer {self.settings.key}"
        return "right" if hmac.compare_digest(given.encode(), expected.encode()) else "wrong"

    def job_of(self, route: Route) -> Job | None:
        """Find the job a path speaks of."""
        return (self.contents if route.call == "content" else self.ledger.jobs).get(route.id)

    def subject(self, route: Route, job: Job | None, prompt: str | None = None) -> Subject:
        """Say what a fault can be matched against."""
        if job is None:
            return Subject(route.call, route.model, prompt=prompt)
        status = job.status(self.clock())
        return Subject(route.call, route.model, job.request_id, job.order.prompt, status)

    # The calls

    async def carry_out(self, request: Request, route: Route, call: Call) -> Answer:
        """Do what was asked and answer it."""
        refusal = self._refusal(request, route, call)
        if refusal is not None:
            return refusal
        if route.call == "submit":
            return await self._submit(request, route, call)
        job = self.job_of(route)
        if job is None:
            return error_answer(400, f"no such request: {route.id[:200]}")
        if job.order.model != route.model:
            return error_answer(400, f"provider mismatch: this request does not belong to {route.model[:200]}")
        return await self._about(job, request, route)

    def _refusal(self, request: Request, route: Route, call: Call) -> Answer | None:
        """Turn away what is no call of ours, or comes without the key."""
        if route.call == "other":
            return gateway_answer(404)
        if request.method != route.allow:
            return gateway_answer(405, (("allow", route.allow),))
        if call.authorization != "right":
            return error_answer(401, "the API key is missing, wrong or revoked")
        return None

    async def _about(self, job: Job, request: Request, route: Route) -> Answer:
        if route.call == "content":
            return await self._content(request, route, job)
        return self._status(job) if route.call == "status" else self._result(job)

    async def _submit(self, request: Request, route: Route, call: Call) -> Answer:
        kind = request.headers.get("content-type", "")
        given = (route.model, kind, request.body, tuple(self.settings.extra_models))
        try:
            big = len(request.body) > BIG_BODY
            order = await asyncio.to_thread(read_order, *given) if big else read_order(*given)
        except RefusedError as refused:
            return error_answer(400, str(refused))
        if self.settings.balance <= 0:
            return error_answer(402, "the balance is used up: top up and submit again")
        fault = self.faults.take("job", Subject("submit", order.model, prompt=order.prompt))
        if fault is not None:
            call.mark(fault.kind)
        job = self.accept(order, fault)
        self.ledger.about(call, job.request_id)
        return json_answer(202, jobs.submitted(job))

    def _status(self, job: Job) -> Answer:
        return json_answer(200, jobs.status(job, self.clock()))

    def _result(self, job: Job) -> Answer:
        now = self.clock()
        if job.status(now) == "COMPLETED":
            bill = self.ledger.bill(job, now)
            self.settings.balance -= bill.video_seconds
        return json_answer(200, jobs.result(job, now))

    async def _content(self, request: Request, route: Route, job: Job) -> Answer:
        status = job.status(self.clock())
        if status != "COMPLETED":
            never = "the job has failed: there is no video"
            return error_answer(400, never if status == "FAILED" else "the video is not there yet")
        if route.index not in job.indexes:
            return error_answer(400, f"bad content index: {route.index[:50]}")
        index = int(route.index)
        reel = await self.reel(job, index)
        self.ledger.film(job, Video(job.content_paths[index], reel.film.total, reel.sha256))
        return film_answer(request, reel, index, ranges=self.settings.ranges)

    # What the calls are made of

    def accept(self, order: Order, fault: Fault | None = None) -> Job:
        """Make a job, decide what becomes of it, and start on its videos."""
        error = jobs.POLICY if "[fail]" in order.prompt else None
        job = Job(jobs.new_id(), jobs.new_id(), order, self.clock(), self._plan(error))
        job = self._bend(replace(job, error=error), fault)
        self.ledger.jobs[job.request_id] = self.contents[job.content_id] = job
        if job.plan[-1][1] == "COMPLETED":
            for scene in scenes(order, plain=self.settings.plain_videos):
                self.studio.ahead(scene, self.settings.filler_bytes)
        return job

    def _plan(self, error: str | None, queue: Any = None, run: Any = None) -> jobs.Plan:
        spans = (
            span(self.settings.queue_seconds if queue is None else queue),
            span(self.settings.run_seconds if run is None else run),
        )
        return jobs.plan(self._dice.uniform(*spans[0]), self._dice.uniform(*spans[1]), error)

    def _bend(self, job: Job, fault: Fault | None) -> Job:
        if fault is None:
            return job
        params = fault.params
        if fault.kind == "timing":
            return replace(job, plan=self._plan(job.error, params["queue_seconds"], params["run_seconds"]))
        if fault.kind == "fail_job":
            return replace(job, plan=jobs.fail(job.plan), error=params["error"])
        keep = {"stuck_queue": 1, "stuck_progress": 2}[fault.kind]
        return replace(job, plan=job.plan[:keep])

    async def reel(self, job: Job, index: int) -> Reel:
        """Wait for a video of a job."""
        scene = scenes(job.order, plain=self.settings.plain_videos)[index]
        return await asyncio.wrap_future(self.studio.reel(scene, self.settings.filler_bytes))


def film_answer(request: Request, reel: Reel, index: int, *, ranges: bool = True) -> Answer:
    """Answer with a video, or with the part that was asked for."""
    film, etag = reel.film, f'"{reel.sha256[:32]}"'
    headers: Headers = (
        ("content-type", "video/mp4"),
        ("content-disposition", f'inline; filename="video-{index}.mp4"'),
    )
    if not ranges:
        return Answer(200, headers, film)
    headers += (("etag", etag), ("accept-ranges", "bytes"))
    try:
        part = _asked_part(request, film, etag)
    except ValueError:
        return Answer(416, (("content-range", f"bytes */{film.total}"),), b"")
    if part is None:
        return Answer(200, headers, film)
    start, stop = part
    headers += (("content-range", f"bytes {start}-{stop - 1}/{film.total}"),)
    return Answer(206, headers, replace(film, start=start, stop=stop))


def _asked_part(request: Request, film: Film, etag: str) -> tuple[int, int] | None:
    asked = request.headers.get("range")
    if asked is None or request.headers.get("if-range", etag) != etag:
        return None
    return pick_range(asked, film.total)
