"""Puts answers on the wire: whole through uvicorn, or broken straight onto the connection."""

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

FULL = 1 << 20
CHUNK = 64 * 1024
LINGER_NOT = struct.pack("ii", 1, 0)


class Connection:
    """One exchange's end of the connection."""

    def __init__(
        self, scope: Any, receive: Callable[[], Awaitable[Any]], send: Callable[[Any], Awaitable[None]]
    ) -> None:
        self.scope, self.receive, self.send = scope, receive, send
        self.transport: asyncio.Transport = scope["state"]["transport"]

    async def write(self, data: bytes) -> None:
        """Write past uvicorn, no faster than the client reads."""
        self.transport.write(data)
        await self.drained(FULL)

    async def drained(self, left: int = 0) -> None:
        """Wait until no more than so many bytes are waiting."""
        # The event that tells it belongs to uvicorn's protocol, so we look.
        while self.transport.get_write_buffer_size() > left and not self.transport.is_closing():  # noqa: ASYNC110
            await asyncio.sleep(0.002)

    async def close(self) -> None:
        """Send what is waiting, then end as if all were well."""
        self.transport.close()
        await self.gone()

    async def reset(self) -> None:
        """End with a TCP reset, after what was written has left."""
        await self.drained()
        await asyncio.sleep(0.01)  # a reset overtakes bytes that the client has not read yet
        connection = self.transport.get_extra_info("socket")
        if connection is not None and not self.transport.is_closing():
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, LINGER_NOT)
        self.transport.abort()
        await self.gone()

    async def gone(self) -> None:
        """Wait until uvicorn knows as well, or it would call this an error."""
        while (await self.receive())["type"] != "http.disconnect":
            pass


async def deliver(connection: Connection, answer: Answer, call: Call, fault: Fault | None) -> None:
    """Send an answer, as well as the fault lets it be sent."""
    call.status = answer.status
    if fault is None:
        await send_whole(connection, answer, call)
    elif fault.kind == "slow_body":
        await send_whole(connection, answer, call, pace=fault.params)
    else:
        await send_cut(connection, answer, call, fault)


async def send_whole(connection: Connection, answer: Answer, call: Call, pace: Any = None) -> None:
    """Send all of it, with a Content-Length."""
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
    """Send piece by piece; the last one is counted before it leaves, so that the ledger is never behind."""
    left, rest = answer.size, Pace(pace)
    for chunk in pieces(answer, CHUNK if pace is None else rest.step):
        await rest.wait(call.bytes_sent)
        if connection.transport.is_closing():
            return
        left -= len(chunk)
        call.bytes_sent += len(chunk)
        await connection.send({"type": "http.response.body", "body": chunk, "more_body": left > 0})
    if answer.size == 0:
        await connection.send({"type": "http.response.body", "body": b""})


class Pace:
    """How slowly: so many bytes a second, and one pause."""

    def __init__(self, params: Any) -> None:
        params = params or {}
        self.rate = params.get("bytes_per_second")
        self.after, self.pause = params.get("pause_after", 0), params.get("pause_seconds", 0)
        self.step = max(1, int(self.rate / 20)) if self.rate else 4096

    async def wait(self, sent: int) -> None:
        """Wait as long as the next piece has to."""
        if self.rate and sent:
            await asyncio.sleep(self.step / self.rate)
        if self.pause and sent >= self.after:
            pause, self.pause = self.pause, 0
            await asyncio.sleep(pause)


def pieces(answer: Answer, step: int) -> Iterator[bytes]:
    """Cut a body into pieces of at most so many bytes."""
    for chunk in (answer.body,) if isinstance(answer.body, bytes) else answer.body.chunks():
        for start in range(0, len(chunk), step):
            yield chunk[start : start + step]


def head(status: int, headers: Any) -> bytes:
    """Write a status line and headers."""
    lines = [f"HTTP/1.1 {status} {phrase(status)}", *(f"{name}: {value}" for name, value in headers)]
    return "\r\n".join([*lines, "", ""]).encode()


FRAMES: dict[str, Callable[[int], tuple[tuple[str, str], ...]]] = {
    "cut_body": lambda size: (("content-length", str(size)),),
    "reset_after": lambda size: (("content-length", str(size)),),
    "cut_chunked": lambda size: (("transfer-encoding", "chunked"),),
    "close_delimited_cut": lambda size: (("connection", "close"),),
}


async def send_cut(connection: Connection, answer: Answer, call: Call, fault: Fault) -> None:
    """Send only the beginning, and end the connection as the fault says."""
    stop = answer.size // 2 if fault.params["bytes"] is None else min(fault.params["bytes"], answer.size)
    await connection.write(head(answer.status, (*answer.headers, *FRAMES[fault.kind](answer.size))))
    for chunk in pieces(answer, CHUNK):
        part = chunk[: stop - call.bytes_sent]
        if not part or connection.transport.is_closing():
            break
        call.bytes_sent += len(part)
        await connection.write(b"%x\r\n%b\r\n" % (len(part), part) if fault.kind == "cut_chunked" else part)
    await (connection.reset() if fault.kind == "reset_after" else connection.close())
