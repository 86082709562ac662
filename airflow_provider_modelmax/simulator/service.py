"""Carries out the four calls of the service. Takes requests and returns answers; sends nothing itself."""

from __future__ import annotations

import asyncio
import hmac
import random
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from . import jobs
from .encoder_cache import EncoderCache
from .faults import FaultBook, Subject
from .jobs import Job
from .ledger import KEEP_CALLS, Call, Ledger, Video
from .orders import Order, RefusedError, read_order
from .readers import span
from .scene import scenes_of
from .video_file import VideoFile, parse_range
from .wire import Answer, Headers, Request, error_answer, gateway_answer, json_answer

if TYPE_CHECKING:
    from collections.abc import Callable

    from .encoder_cache import EncodedVideo
    from .faults import Fault
    from .routes import Route
    from .settings import Settings

MAX_INLINE_BODY = 64 * 1024  # bytes; larger bodies are read in a thread, so that status calls do not wait


class Service:
    """The state of the service.

    :param settings: Settings in force; `reset` restores them.
    :param clock: Returns the time in seconds.
    :param seed: Seed of the random queue and run times.
    """

    def __init__(self, settings: Settings, clock: Callable[[], float], seed: int | None = None) -> None:
        self.settings, self.clock, self.seed = settings, clock, seed
        self._first = replace(settings)
        self.faults, self.encoder_cache = FaultBook(), EncoderCache()
        self.reset(KEEP_CALLS)

    def reset(self, keep_calls: int = KEEP_CALLS) -> None:
        """Remove all jobs, calls, bills and faults, and restore the initial settings."""
        self.settings.update(dict(self._first.__dict__))
        self.ledger = Ledger(keep_calls)
        self.contents: dict[str, Job] = {}
        self.faults.remove()
        self.encoder_cache.cancel_waiting()
        self._rng = random.Random(self.seed)  # noqa: S311 -- for timing, not for secrets

    # Authorization and routing

    def authorization(self, request: Request) -> str:
        """Return `right`, `wrong` or `missing`."""
        given = request.headers.get("authorization")
        if not given:
            return "missing"
        expected = f"Bearer {self.settings.key}"
        return "right" if hmac.compare_digest(given.encode(), expected.encode()) else "wrong"

    def job_of(self, route: Route) -> Job | None:
        """Return the job that a path names."""
        return (self.contents if route.call == "content" else self.ledger.jobs).get(route.id)

    def subject(self, route: Route, job: Job | None, prompt: str | None = None) -> Subject:
        """Return what faults are matched against."""
        if job is None:
            return Subject(route.call, route.model, prompt=prompt)
        status = job.status(self.clock())
        return Subject(route.call, route.model, job.request_id, job.order.prompt, status)

    # The calls

    async def carry_out(self, request: Request, route: Route, call: Call) -> Answer:
        """Carry out a call."""
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
        return await self._carry_out_for(job, request, route)

    def _refusal(self, request: Request, route: Route, call: Call) -> Answer | None:
        """Return an error for an unknown path, a wrong method or a wrong key."""
        if route.call == "other":
            return gateway_answer(404)
        if request.method != route.allow:
            return gateway_answer(405, (("allow", route.allow),))
        if call.authorization != "right":
            return error_answer(401, "the API key is missing, wrong or revoked")
        return None

    async def _carry_out_for(self, job: Job, request: Request, route: Route) -> Answer:
        if route.call == "content":
            return await self._content(request, route, job)
        return self._status(job) if route.call == "status" else self._result(job)

    async def _submit(self, request: Request, route: Route, call: Call) -> Answer:
        kind = request.headers.get("content-type", "")
        given = (route.model, kind, request.body, tuple(self.settings.extra_models))
        try:
            big = len(request.body) > MAX_INLINE_BODY
            order = await asyncio.to_thread(read_order, *given) if big else read_order(*given)
        except RefusedError as refused:
            return error_answer(400, str(refused))
        if self.settings.balance <= 0:
            return error_answer(402, "the balance is used up: top up and submit again")
        fault = self.faults.take("job", Subject("submit", order.model, prompt=order.prompt))
        if fault is not None:
            call.mark(fault.kind)
        job = self.accept(order, fault)
        self.ledger.assign(call, job.request_id)
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
        video = await self.video(job, index)
        self.ledger.record_video(job, Video(job.content_paths[index], video.file.total, video.sha256))
        return video_answer(request, video, index, ranges=self.settings.ranges)

    # Jobs and videos

    def accept(self, order: Order, fault: Fault | None = None) -> Job:
        """Create a job, and start to encode its videos."""
        error = jobs.POLICY if "[fail]" in order.prompt else None
        job = Job(jobs.new_id(), jobs.new_id(), order, self.clock(), self._plan(error))
        job = self._apply(replace(job, error=error), fault)
        self.ledger.jobs[job.request_id] = self.contents[job.content_id] = job
        if job.plan[-1][1] == "COMPLETED":
            for scene in scenes_of(order, plain=self.settings.plain_videos):
                self.encoder_cache.prefetch(scene, self.settings.filler_bytes)
        return job

    def _plan(self, error: str | None, queue: Any = None, run: Any = None) -> jobs.Plan:
        spans = (
            span(self.settings.queue_seconds if queue is None else queue),
            span(self.settings.run_seconds if run is None else run),
        )
        return jobs.plan(self._rng.uniform(*spans[0]), self._rng.uniform(*spans[1]), error)

    def _apply(self, job: Job, fault: Fault | None) -> Job:
        if fault is None:
            return job
        params = fault.params
        if fault.kind == "timing":
            return replace(job, plan=self._plan(job.error, params["queue_seconds"], params["run_seconds"]))
        if fault.kind == "fail_job":
            return replace(job, plan=jobs.fail(job.plan), error=params["error"])
        keep = {"stuck_queue": 1, "stuck_progress": 2}[fault.kind]
        return replace(job, plan=job.plan[:keep])

    async def video(self, job: Job, index: int) -> EncodedVideo:
        """Return a video of a job once it is encoded."""
        scene = scenes_of(job.order, plain=self.settings.plain_videos)[index]
        return await asyncio.wrap_future(self.encoder_cache.get(scene, self.settings.filler_bytes))


def video_answer(request: Request, video: EncodedVideo, index: int, *, ranges: bool = True) -> Answer:
    """Return a video, or the requested range of it."""
    file, etag = video.file, f'"{video.sha256[:32]}"'
    headers: Headers = (
        ("content-type", "video/mp4"),
        ("content-disposition", f'inline; filename="video-{index}.mp4"'),
    )
    if not ranges:
        return Answer(200, headers, file)
    headers += (("etag", etag), ("accept-ranges", "bytes"))
    try:
        part = _requested_range(request, file, etag)
    except ValueError:
        return Answer(416, (("content-range", f"bytes */{file.total}"),), b"")
    if part is None:
        return Answer(200, headers, file)
    start, stop = part
    headers += (("content-range", f"bytes {start}-{stop - 1}/{file.total}"),)
    return Answer(206, headers, replace(file, start=start, stop=stop))


def _requested_range(request: Request, file: VideoFile, etag: str) -> tuple[int, int] | None:
    header = request.headers.get("range")
    if header is None or request.headers.get("if-range", etag) != etag:
        return None
    return parse_range(header, file.total)
