"""A server that gives one fixed answer, byte for byte and pause by pause, which no library would send."""

from __future__ import annotations

import contextlib
import re
import socket
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass, field

PIECE = 64 * 1024

IN_QUEUE = b'{"request_id": "none", "status": "IN_QUEUE"}'


def answer(body: bytes = IN_QUEUE, status: str = "200 OK", kind: str = "application/json", headers: str = "") -> bytes:
    """Return an HTTP answer as bytes."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


@dataclass
class Listener:
    """Gives one answer to any request, and records the requests.

    ``tail`` has pauses after the answer, and the bytes that follow each; in the end it ``closes`` the connection.
    It reads requests in pieces of 64 KiB, with a ``pause`` in seconds after each.
    """

    answer: bytes = answer()
    tail: Iterable[tuple[float, bytes]] = ()
    closes: bool = False
    pause: float = 0
    requests: list[str] = field(default_factory=list)
    connections: int = 0

    def __enter__(self) -> Listener:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, PIECE)
        self.port = self._socket.getsockname()[1]
        self.url = f"http://127.0.0.1:{self.port}"
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._socket.close()

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self.connections += 1
            threading.Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with connection:
            got = b""
            while chunk := connection.recv(PIECE):
                got += chunk
                time.sleep(self.pause)
                if _is_whole(got):
                    self.requests.append(got.decode("latin-1"))
                    self._answer(connection)
                    got = b""
                    if self.closes:
                        return

    def _answer(self, connection: socket.socket) -> None:
        connection.sendall(self.answer)
        with contextlib.suppress(OSError):  # the client closed the connection
            for pause, data in self.tail:
                time.sleep(pause)
                connection.sendall(data)


def _is_whole(request: bytes) -> bool:
    head, found, body = request.partition(b"\r\n\r\n")
    length = re.search(rb"content-length: (\d+)", head.lower())
    return bool(found) and len(body) >= int(length.group(1) if length else 0)
