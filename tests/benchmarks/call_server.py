"""A service that answers status calls at once, and records when each job was polled.

It uses TLS, with a CA created for the run, and answers the status calls of ModelMax, dbt Cloud and an HTTP sensor.
Another port returns its records and sets its behavior.
"""

from __future__ import annotations

import asyncio
import bisect
import json
import socket
import ssl
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.stack.processes import PROJECT, Service, child_environment, free_port
from tests.stack.server import Server
from tests.stack.tls import certificate

ANSWER_AFTER = 0.02
"""Seconds that an answer takes, as over a network: without them, calls would never run at the same time."""


class Answers(asyncio.Protocol):
    """A connection of a client that sends GET requests without a body."""

    def __init__(self, book: Book) -> None:
        self.book = book
        self._got = b""

    def connection_made(self, transport: Any) -> None:
        self.transport = transport
        self.book.opened += 1

    def data_received(self, data: bytes) -> None:
        self._got += data
        while b"\r\n\r\n" in self._got:
            head, _, self._got = self._got.partition(b"\r\n\r\n")
            asyncio.get_running_loop().call_later(ANSWER_AFTER, self.transport.write, self.book.answer(head))


class Book:
    """The recorded calls, and how to answer."""

    def __init__(self) -> None:
        self.times: list[float] = []
        self.calls: list[tuple[str, int]] = []
        self.opened = 0
        self.down, self.refused = False, ""

    def answer(self, head: bytes) -> bytes:
        """Record a call and return its answer."""
        path = head.split(b" ", 2)[1].decode()
        job = path.split("/")[-2]
        status, body = self._judged(head) or _answered(path, job)
        self.times.append(time.time())
        self.calls.append((job, status))
        text = json.dumps(body).encode()
        return b"HTTP/1.1 %d -\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n%s" % (
            status,
            len(text),
            text,
        )

    def _judged(self, head: bytes) -> tuple[int, Any] | None:
        if self.down:
            return 503, {"error": {"message": "down for a while", "type": "server_error"}}
        if self.refused and f"Bearer {self.refused}\r".encode() in head + b"\r":
            return 401, {"error": {"message": "no such key", "type": "authentication_error"}}
        return None

    def between(self, since: float, until: float) -> dict[str, Any]:
        """Count the calls of a period, by second and by job."""
        first, last = bisect.bisect_left(self.times, since), bisect.bisect_left(self.times, until)
        seconds = Counter(int(each - since) for each in self.times[first:last])
        jobs = Counter(job for job, _ in self.calls[first:last])
        statuses = Counter(status for _, status in self.calls[first:last])
        per_second = [seconds[each] for each in range(int(until - since))]
        return {"per_second": per_second, "jobs": jobs, "statuses": statuses, "opened": self.opened}

    def firsts(self, since: float, status: int | None = None) -> dict[str, float]:
        """Return when each job was first polled, or first got this status."""
        found: dict[str, float] = {}
        for at in range(bisect.bisect_left(self.times, since), len(self.times)):
            job, answered = self.calls[at]
            if status in (None, answered):
                found.setdefault(job, self.times[at])
        return found

    def behave(self, down: bool = False, refused: str = "") -> None:
        """Answer 503 to all calls, or 401 to a key; without arguments, answer normally."""
        self.down, self.refused = down, refused


def _answered(path: str, job: str) -> tuple[int, Any]:
    if path.endswith("/status"):
        return 200, {"request_id": job, "status": "IN_PROGRESS"}
    if path.startswith("/api/v2/accounts/"):
        return 200, {"data": {"id": int(job), "status": 3}, "status": {"code": 200, "is_success": True}}
    return 404, {"error": "not there yet"}


class CallServer(Server):
    """The server in its own process; a restart deletes its records."""

    def __init__(self, home: Path) -> None:
        """Choose the ports and create the certificates."""
        self.port, self._control = free_port(), free_port()
        self.url = f"https://127.0.0.1:{self.port}"
        made = certificate(home)
        self.ca = made.ca
        arguments = [str(each) for each in (self.port, self._control, made.chain, made.key)]
        command = [sys.executable, "-m", "tests.benchmarks.call_server", *arguments]
        environment = child_environment({"PYTHONPATH": str(PROJECT)})
        self.service = Service("call-server", command, environment, home / "call-server.log")

    def ask(self, what: str, **arguments: Any) -> Any:
        """Call a method of the server's :class:`Book`."""
        with socket.create_connection(("127.0.0.1", self._control), timeout=30) as connection:
            connection.sendall(json.dumps([what, arguments]).encode() + b"\n")
            with connection.makefile() as answer:
                return json.loads(answer.readline())

    def _is_ready(self) -> bool:
        try:
            self.ask("behave")
        except OSError:
            return False
        return True


async def serve(port: int, control: int, chain: str, key: str) -> None:
    """Serve until killed."""
    book = Book()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(chain, key)

    async def obey(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        what, arguments = json.loads(await reader.readline())
        does: Callable[..., Any] = getattr(book, what)
        writer.write(json.dumps(does(**arguments)).encode() + b"\n")
        await writer.drain()
        writer.close()

    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Answers(book), "127.0.0.1", port, ssl=context, backlog=4096)
    await (await asyncio.start_server(obey, "127.0.0.1", control)).serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(int(sys.argv[1]), int(sys.argv[2]), *sys.argv[3:]))
