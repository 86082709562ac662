"""Answers status calls as fast as Python can, in the format of each service, and counts them. A separate process."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import ssl
import sys
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from tests.stack.processes import PROJECT, Service, child_environment, free_port
from tests.stack.server import Server
from tests.stack.tls import Certificate

OURS, DBT, HTTP, COUNTED = "/v1/queue/", "/api/v2/accounts/", "/not/there", "/counted"


class StatusServer(Server):
    """A running server, with plain HTTP on one port and TLS on another.

    :param home: the folder of its log
    :param certificate: its certificate
    :param core: the CPU core to run on, None for any
    :param answers_after: seconds that each answer takes
    """

    def __init__(self, home: Path, certificate: Certificate, core: int | None, answers_after: float = 0) -> None:
        ports = free_port(), free_port()
        self.plain, self.tls = f"http://127.0.0.1:{ports[0]}", f"https://127.0.0.1:{ports[1]}"
        command = [sys.executable, "-m", "tests.benchmarks.status_server", *map(str, ports)]
        command += [str(certificate.chain), str(certificate.key), str(answers_after)]
        command += [] if core is None else [str(core)]
        environment = child_environment({"PYTHONPATH": str(PROJECT)})
        self.service = Service("status server", command, environment, home / "status-server.log")

    def _is_ready(self) -> bool:
        try:
            return bool(counted(self.plain))
        except OSError:
            return False


def counted(plain: str) -> dict[str, int]:
    """Return a server's counters: polls, connections, and the most open connections since the last call."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    with opener.open(plain + COUNTED, timeout=10) as answer:
        return dict(json.load(answer))


@dataclass
class _Counts:
    polls: int = 0
    connections: int = 0
    open: int = 0
    most_open: int = 0


@dataclass
class _Conversation(asyncio.Protocol):
    """A connection: answers requests without a body."""

    counts: _Counts
    answers_after: float
    got: bytes = b""
    polls: int = 0
    transport: asyncio.Transport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self.transport = transport

    def connection_lost(self, exc: Exception | None) -> None:
        self.counts.open -= self.polls > 0

    def data_received(self, data: bytes) -> None:
        self.got += data
        while b"\r\n\r\n" in self.got:
            head, _, self.got = self.got.partition(b"\r\n\r\n")
            self._asked(head.split(b" ", 2)[1].decode())

    def _asked(self, path: str) -> None:
        if path == COUNTED:
            self.transport.write(_http("200 OK", vars(self.counts)))
            self.counts.most_open = self.counts.open
            return
        self.polls += 1
        if self.polls == 1:
            self.counts.connections += 1
            self.counts.open += 1
            self.counts.most_open = max(self.counts.most_open, self.counts.open)
        if self.answers_after:
            asyncio.get_running_loop().call_later(self.answers_after, self._answer, path)
        else:
            self._answer(path)

    def _answer(self, path: str) -> None:
        self.counts.polls += 1
        self.transport.write(_answer(path))


def _answer(path: str) -> bytes:
    if path.startswith(OURS):
        job = path.rsplit("/", 2)[1]
        return _http("200 OK", {"request_id": job, "status": "IN_QUEUE", "queued_at": "2026-05-01T12:00:00.000Z"})
    if path.startswith(DBT):
        run = int(path.rsplit("/", 2)[1])
        return _http("200 OK", {"status": {"code": 200, "is_success": True}, "data": {"id": run, "status": 1}})
    # The HTTP provider's sensor reads this as "not yet".
    return _http("404 Not Found", {"error": {"type": "not_found", "message": "There is no such thing here, not yet."}})


def _http(status: str, answer: object) -> bytes:
    body = json.dumps(answer)
    head = f"HTTP/1.1 {status}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
    return (head + body).encode()


async def _serve(plain: int, tls: int, certificate: tuple[str, str], answers_after: float) -> None:
    loop, counts = asyncio.get_running_loop(), _Counts()
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    for port, secured in ((tls, context), (plain, None)):
        await loop.create_server(
            lambda: _Conversation(counts, answers_after), "127.0.0.1", port, ssl=secured, backlog=4096
        )
    await asyncio.Event().wait()


def _main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("plain", type=int)
    parser.add_argument("tls", type=int)
    parser.add_argument("certificate", nargs=2)
    parser.add_argument("answers_after", type=float)
    parser.add_argument("core", type=int, nargs="?")
    chosen = parser.parse_args()
    if chosen.core is not None:
        os.sched_setaffinity(0, {chosen.core})
    asyncio.run(_serve(chosen.plain, chosen.tls, tuple(chosen.certificate), chosen.answers_after))


if __name__ == "__main__":
    _main()
