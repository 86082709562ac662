"""The ASGI application: reads a request, lets the service carry it out, lets faults have their way."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from .control import control
from .delivery import Connection, deliver
from .ledger import Call
from .routes import Route, find_route
from .spoil import instead, spoil
from .wire import Answer, Request, gateway_answer

if TYPE_CHECKING:
    from .faults import Fault, Subject
    from .jobs import Job
    from .service import Service

MOST_BYTES = 64 * 1024 * 1024
GOOD = 300


class App:
    """What uvicorn calls for each request."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        connection = Connection(scope, receive, send)
        try:
            await self.exchange(connection)
        except asyncio.CancelledError:
            if not connection.transport.is_closing():  # else the service ends, and that is no error
                raise

    async def exchange(self, connection: Connection) -> None:
        """Read one request and answer it."""
        request = await read_request(connection)
        if request is None:
            return
        path = request.path
        if path == "/" or path.startswith("/simulator/"):
            note = Call(0.0, request.method, path, "control", "", "missing", key_seen=False)
            await deliver(connection, await control(self.service, request, connection.scope.get("client")), note, None)
        else:
            await self.serve(connection, request)

    async def serve(self, connection: Connection, request: Request) -> None:
        """Answer one of the four calls (or what is none of them)."""
        service, route = self.service, find_route(request.path)
        call = service.ledger.note(self.note(request, route))
        job = service.job_of(route) if route.id else None
        if job is not None:
            service.ledger.about(call, job.request_id)
        answer, wire = await self.answer(request, route, call, job)
        if answer is None:
            await connection.reset()
        else:
            await deliver(connection, answer, call, wire)

    def note(self, request: Request, route: Route) -> Call:
        """Write down who asks for what, without the key."""
        service, key = self.service, self.service.settings.key
        authorization = service.authorization(request)
        seen = authorization == "right" or key in request.path or any(key in v for v in request.headers.values())
        return Call(
            time=service.clock(),
            method=request.method,
            path=request.path.replace(key, "***"),
            call=route.call,
            model=route.model,
            authorization=authorization,
            key_seen=seen or key in request.query,
            header_names=tuple(request.headers),
        )

    async def answer(
        self, request: Request, route: Route, call: Call, job: Job | None
    ) -> tuple[Answer | None, Fault | None]:
        """Find the answer, None for a reset, and the fault of its delivery."""
        faults = self.service.faults
        if not faults.active or len(request.body) > MOST_BYTES:
            return await self.carry_out(request, route, call), None
        subject = self.service.subject(route, job, prompt_of(request) if route.call == "submit" else None)
        pause, struck = faults.take("pause", subject), faults.take("instead", subject)
        if struck:
            answer, wire = await self.strike(struck, request, route, call), None
        else:
            answer, wire = await self.bend(subject, request, route, call)
        if pause:
            call.mark(pause.kind)
            await asyncio.sleep(pause.params["seconds"])
        return answer, wire

    async def strike(self, fault: Fault, request: Request, route: Route, call: Call) -> Answer | None:
        """Carry the call out or not, and answer something else."""
        call.mark(fault.kind)
        if fault.params.get("carry_out"):
            await self.carry_out(request, route, call)
        return instead(fault)

    async def bend(self, subject: Subject, request: Request, route: Route, call: Call) -> tuple[Answer, Fault | None]:
        """Carry the call out; a good answer can still be changed, or badly delivered."""
        answer = await self.carry_out(request, route, call)
        if answer.status >= GOOD:
            return answer, None
        faults = self.service.faults
        change = faults.take("answer", subject, lambda fault: spoil(fault, answer) is not None)
        wire = faults.take("wire", subject)
        for fault in filter(None, (change, wire)):
            call.mark(fault.kind)
        return (spoil(change, answer) or answer) if change else answer, wire

    async def carry_out(self, request: Request, route: Route, call: Call) -> Answer:
        """Let the service do it."""
        if len(request.body) > MOST_BYTES:
            return gateway_answer(413)
        return await self.service.carry_out(request, route, call)


def prompt_of(request: Request) -> str | None:
    """Read the prompt of a submit, if there is one, for matching faults only."""
    try:
        prompt = json.loads(request.body)["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return prompt if isinstance(prompt, str) else None


async def read_request(connection: Connection) -> Request | None:
    """Read a request; None when the client went away."""
    scope = connection.scope
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
    path, query = scope["raw_path"].decode("latin-1"), scope["query_string"].decode("latin-1")
    body = b"" if scope["method"] in ("GET", "HEAD") else await _read_body(connection)
    return None if body is None else Request(scope["method"], path, query, headers, body, scope["scheme"])


async def _read_body(connection: Connection) -> bytes | None:
    body = bytearray()
    while True:
        message = await connection.receive()
        if message["type"] == "http.disconnect":
            return None
        if len(body) <= MOST_BYTES:  # more is read but not kept: it will be refused
            body += message["body"]
        if not message["more_body"]:
            return bytes(body)
