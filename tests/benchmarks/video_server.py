"""A server for one big MP4, as fast as the system can send, in its own process; optionally over TLS."""

from __future__ import annotations

import argparse
import http.server
import shutil
import ssl
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.mp4s import encode
from tests.stack.processes import PROJECT, Service, child_environment, free_port, is_free, running, wait_until
from tests.stack.tls import Certificate

BLOCK = 1024 * 1024
"""Bytes. TLS cuts them into records of 16 KiB, like web servers; Python's sendfile makes records of 8 KiB."""


@contextmanager
def video_server(folder: Path, video: Path, certificate: Certificate | None = None) -> Iterator[str]:
    """Serve a file at any path, and yield the base URL."""
    port, secure = free_port(), []
    if certificate:
        secure = ["--chain", str(certificate.chain), "--key", str(certificate.key)]
    command = [sys.executable, "-m", "tests.benchmarks.video_server", str(port), str(video), *secure]
    environment = child_environment({"PYTHONPATH": str(PROJECT)})
    service = Service("video server", command, environment, folder / f"videos-{port}.log")
    with running(service):
        wait_until(lambda: not is_free(port), 20, "the video server listens", service.tail)
        yield f"http{'s' if secure else ''}://127.0.0.1:{port}"


def write_video(file: Path, size: int) -> Path:
    """Write a complete MP4 of exactly `size` bytes. Most of it is padding."""
    video = encode("faststart")
    with file.open("wb") as out:
        out.write(video + (size - len(video)).to_bytes(4, "big") + b"free")
        block, left = bytes(range(256)) * 4096, size - len(video) - 8
        while left:
            left -= out.write(block[: min(left, len(block))])
    return file


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    video: Path

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Type", "video/mp4")
        self.send_header("Content-Length", str(self.video.stat().st_size))
        self.end_headers()
        self.wfile.flush()
        with self.video.open("rb") as file:
            if isinstance(self.connection, ssl.SSLSocket):
                shutil.copyfileobj(file, self.wfile, BLOCK)
            else:
                self.connection.sendfile(file)

    def log_message(self, *_: object) -> None:
        """Discard it."""


def main() -> None:
    """Serve until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("video", type=Path)
    parser.add_argument("--chain", type=Path)
    parser.add_argument("--key", type=Path)
    chosen = parser.parse_args()
    _Handler.video = chosen.video
    server = http.server.ThreadingHTTPServer(("127.0.0.1", chosen.port), _Handler)
    if chosen.chain:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(chosen.chain, chosen.key)
        server.socket = context.wrap_socket(server.socket, server_side=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
