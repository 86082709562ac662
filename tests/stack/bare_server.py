"""A minimal server whose answers a test defines, for answers that a real store never gives."""

from __future__ import annotations

import threading
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer


class Answers(BaseHTTPRequestHandler):
    """Reads each complete request, whatever its method, and calls :meth:`answer`."""

    protocol_version = "HTTP/1.1"

    def answer(self, body: bytes) -> None:
        """Answer a request that has this body, by calling :meth:`say`."""
        raise NotImplementedError

    def say(self, status: int, body: bytes, headers: Mapping[str, str] | None = None) -> None:
        """Send an answer with this many bytes."""
        self.send_response(status)
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def do_GET(self) -> None:
        self.answer(self.rfile.read(int(self.headers.get("Content-Length", 0))))

    do_HEAD = do_PUT = do_POST = do_DELETE = do_GET  # noqa: N815 - the names that the library looks for

    def log_message(self, *_: object) -> None:
        pass


@contextmanager
def answering(handler: type[Answers]) -> Iterator[str]:
    """Run it, and yield its URL."""
    with ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.shutdown()
