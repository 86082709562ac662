"""The ASGI application: reads a request, has the service carry it out, and applies faults."""

from __future__ import annotations

import asyncio
import json
from typing import TYPE_CHECKING, Any

from .control import control
from .corrupt import corrupt, replacement
from .delivery import Connection, deliver
from .ledger import Call
from .routes import Route, find_route
from .wire import Answer, Request, gateway_answer

if TYPE_CHECKING:
    from .faults import Fault, Subject
    from .jobs import Job
    from .service import Service

MAX_BODY_BYTES = 64 * 1024 * 1024
GOOD = 300


class App:
    """The application that uvicorn calls for each request."""

    def __init__(self, service: Service) -> None:
        self.service = service

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Answer one request."""
        connection = Connection(scope, receive, send)
        try:
            await self.exchange(connection)
        except asyncio.CancelledError:
            if not connection.transport.is_closing():  # if it is, the server is stopping, which is not an error
                raise

    async def exchange(self, connection: Connection) -> None:
        """Read one request and answer it."""
        request = await read_request(connection)
        if request is None:
            return
        path = request.path
        if path == "/" or path.startswith("/simulator/"):
            call = Call(0.0, request.method, path, "control", "", "missing", key_seen=False)
            await deliver(connection, await control(self.service, request, connection.scope.get("client")), call, None)
        else:
            await self.serve(connection, request)

    async def serve(self, connection: Connection, request: Request) -> None:
        """Answer a call to the service."""
        service, route = self.service, find_route(request.path)
        call = service.ledger.record(self.new_call(request, route))
        job = service.job_of(route) if route.id else None
        if job is not None:
            service.ledger.assign(call, job.request_id)
        answer, wire = await self.answer(request, route, call, job)
        if answer is None:
            await connection.reset()
        else:
            await deliver(connection, answer, call, wire)

    def new_call(self, request: Request, route: Route) -> Call:
        """Return the ledger entry of a request. The key is masked."""
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
        """Return the answer (None for a TCP reset) and the fault of its delivery."""
        faults = self.service.faults
        if not faults.active or len(request.body) > MAX_BODY_BYTES:
            return await self.carry_out(request, route, call), None
        subject = self.service.subject(route, job, prompt_of(request) if route.call == "submit" else None)
        pause, struck = faults.take("pause", subject), faults.take("instead", subject)
        if struck:
            answer, wire = await self.replace(struck, request, route, call), None
        else:
            answer, wire = await self.carry_out_with_faults(subject, request, route, call)
        if pause:
            call.mark(pause.kind)
            await asyncio.sleep(pause.params["seconds"])
        return answer, wire

    async def replace(self, fault: Fault, request: Request, route: Route, call: Call) -> Answer | None:
        """Return another answer. The call is carried out only if the fault has `carry_out`."""
        call.mark(fault.kind)
        if fault.params.get("carry_out"):
            await self.carry_out(request, route, call)
        return replacement(fault)

    async def carry_out_with_faults(
        self, subject: Subject, request: Request, route: Route, call: Call
    ) -> tuple[Answer, Fault | None]:
        """Carry the call out, and apply faults to a good answer and its delivery."""
        answer = await self.carry_out(request, route, call)
        if answer.status >= GOOD:
            return answer, None
        faults = self.service.faults
        change = faults.take("answer", subject, lambda fault: corrupt(fault, answer) is not None)
        wire = faults.take("wire", subject)
        for fault in filter(None, (change, wire)):
            call.mark(fault.kind)
        return (corrupt(change, answer) or answer) if change else answer, wire

    async def carry_out(self, request: Request, route: Route, call: Call) -> Answer:
        """Have the service carry out the call."""
        if len(request.body) > MAX_BODY_BYTES:
            return gateway_answer(413)
        return await self.service.carry_out(request, route, call)


def prompt_of(request: Request) -> str | None:
    """Return the prompt of a submit, or None if it has none; faults are matched against it."""
    try:
        prompt = json.loads(request.body)["prompt"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return prompt if isinstance(prompt, str) else None


async def read_request(connection: Connection) -> Request | None:
    """Read a request; None if the client disconnected."""
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
        if len(body) <= MAX_BODY_BYTES:  # the rest is read but not kept: it will be refused with 413
            body += message["body"]
        if not message["more_body"]:
            return bytes(body)
