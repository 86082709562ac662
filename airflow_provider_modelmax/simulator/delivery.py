"""Sends answers: whole through uvicorn, or broken, directly on the connection."""

from __future__ import annotations

import asyncio
import socket
import struct
from typing import TYPE_CHECKING, Any

from .wire import Answer, phrase

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator

    from .faults import Fault
    from .ledger import Call

MAX_BUFFERED = 1 << 20
CHUNK = 64 * 1024
NO_LINGER = struct.pack("ii", 1, 0)


class Connection:
    """The connection of one request."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.transport: asyncio.Transport = scope["state"]["transport"]

    async def write(self, data: bytes) -> None:
        """Write directly to the transport, no faster than the client reads."""
        self.transport.write(data)
        await self.drained(MAX_BUFFERED)

    async def drained(self, left: int = 0) -> None:
        """Wait until at most `left` bytes are buffered."""
        # uvicorn's protocol owns the event for this, so poll.
        while self.transport.get_write_buffer_size() > left and not self.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Send what is buffered, then close the connection normally."""
        self.transport.close()
        await self.gone()

    async def reset(self) -> None:
        """Send what is buffered, then reset the connection."""
        await self.drained()
        await asyncio.sleep(0.01)  # a reset overtakes bytes that the client has not read yet
        connection = self.transport.get_extra_info("socket")
        if connection is not None and not self.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NO_LINGER)
        self.transport.abort()
        await self.gone()

    async def gone(self) -> None:
        """Wait until uvicorn has noticed the end of the connection, or it would log an error."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def deliver(connection: Connection, answer: Answer, call: Call, fault: Fault | None) -> None:
    """Send an answer. A fault can slow it down or cut it."""
    call.status = answer.status
    if fault is None:
        await send_whole(connection, answer, call)
    elif fault.kind == "slow_body":
        await send_whole(connection, answer, call, pace=fault.params)
    else:
        await send_cut(connection, answer, call, fault)


async def send_whole(connection: Connection, answer: Answer, call: Call, pace: Any = None) -> None:
    """Send the whole answer, with a Content-Length."""
    headers = [(name.encode(), value.encode()) for name, value in answer.headers]
    headers.append((b"content-length", str(answer.size).encode()))
    if isinstance(answer.body, bytes) and pace is None:
        call.bytes_sent = len(answer.body)
    await connection.send({"type": "http.response.start", "status": answer.status, "headers": headers})
    if not isinstance(answer.body, bytes) or pace is not None:
        await _send_chunks(connection, answer, call, pace)
        return
    await connection.send({"type": "http.response.body", "body": answer.body})


async def _send_chunks(connection: Connection, answer: Answer, call: Call, pace: Any) -> None:
    """Send the body in chunks. Each is counted before it is sent, so that the ledger is never behind."""
    left, rest = answer.size, Pace(pace)
    for chunk in chunks_of(answer, CHUNK if pace is None else rest.step):
        await rest.wait(call.bytes_sent)
        if connection.transport.is_closing():
            return
        left -= len(chunk)
        call.bytes_sent += len(chunk)
        await connection.send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
    if answer.size == 0:
        await connection.send({"type": "http.response.body", "body": b""})


class Pace:
    """Slows a body down: a number of bytes per second, and one pause."""

    def __init__(self, params: Any) -> None:
        params = params or {}
        self.rate = params.get("bytes_per_second")
        self.after, self.pause = params.get("pause_after", 0), params.get("pause_seconds", 0)
        self.step = max(1, int(self.rate / 20)) if self.rate else 4096

    async def wait(self, sent: int) -> None:
        """Wait before the next chunk."""
        if self.rate and sent:
            await asyncio.sleep(self.step / self.rate)
        if self.pause and sent >= self.after:
            pause, self.pause = self.pause, 0
            await asyncio.sleep(pause)


def chunks_of(answer: Answer, step: int) -> Iterator[bytes]:
    """Split a body into chunks of at most `step` bytes."""
    for chunk in (answer.body,) if isinstance(answer.body, bytes) else answer.body.chunks():
        for start in range(0, len(chunk), step):
            yield chunk[start : start + step]


def response_head(status: int, headers: Any) -> bytes:
    """Return a status line and headers."""
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


FRAMES: dict[str, Callable[[int], tuple[tuple[str, str], ...]]] = {
    "cut_body": lambda size: (("content-length", str(size)),),
    "reset_after": lambda size: (("content-length", str(size)),),
    "cut_chunked": lambda size: (("transfer-encoding", "chunked"),),
    "close_delimited_cut": lambda size: (("connection", "close"),),
}


async def send_cut(connection: Connection, answer: Answer, call: Call, fault: Fault) -> None:
    """Send the beginning of the body, and end the connection as the fault specifies."""
    stop = answer.size // 2 if fault.params["bytes"] is None else min(fault.params["bytes"], answer.size)
    await connection.write(response_head(answer.status, (*answer.headers, *FRAMES[fault.kind](answer.size))))
    for chunk in chunks_of(answer, CHUNK):
        part = chunk[: stop - call.bytes_sent]
        if not part or connection.transport.is_closing():
            break
        call.bytes_sent += len(part)
        await connection.write(b"%x\r\n%b\r\n" % (len(part), part) if fault.kind == "cut_chunked" else part)
    await (connection.reset() if fault.kind == "reset_after" else connection.close())
