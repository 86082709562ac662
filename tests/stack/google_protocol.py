"""Resumable uploads as Google documents them, in a server of a few lines: fake-gcs-server takes some liberties.

It keeps steps of 256 KiB only, ignores bytes that it has already, and compares the checksum before it publishes.
"""

from __future__ import annotations

import base64
import json
import re
import zlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

from tests.stack.bare_server import Answers, answering

STEP = 256 * 1024
SESSIONS, OBJECTS = "/session/", "/b/videos/o/"


class Google:
    """What the server has, and what it was asked.

    :param fault: answers a request in its own way; returns whether it did
    """

    def __init__(self, fault: Callable[[Request, bytes], bool] = lambda _request, _body: False) -> None:
        self.fault = fault
        self.objects: dict[str, bytes] = {}
        self.sessions: dict[str, tuple[str, bytearray]] = {}
        self.asked: list[str] = []
        self.queries: list[dict[str, list[str]]] = []
        self.tokens: list[str | None] = []
        self.url = ""

    @contextmanager
    def running(self) -> Iterator[Google]:
        """Run it on a port of its own."""

        class Chosen(Request):
            google = self

        with answering(Chosen) as self.url:
            yield self

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection."""
        return {"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True, "gcs.endpoint": self.url}}


class Request(Answers):
    """One request; ``self.command``, ``self.path`` and ``self.headers`` are what came."""

    google: Google

    def answer(self, body: bytes) -> None:
        path, query = urlsplit(self.path).path, parse_qs(urlsplit(self.path).query)
        if path.endswith("/b/videos"):  # the client asks on its own, in another thread, for spans that it may make
            self.say_json(200, name="videos")
            return
        self.google.asked.append(f"{self.command} {self.headers.get('Content-Range', '')}".strip())
        self.google.queries.append(query)
        self.google.tokens.append(self.headers.get("Authorization"))
        if self.google.fault(self, body):
            return
        if self.command == "POST" and query["uploadType"] == ["resumable"]:
            session = f"{SESSIONS}{len(self.google.sessions)}"
            self.google.sessions[session] = (json.loads(body)["name"], bytearray())
            self.say(200, b"", {"Location": f"{self.google.url}{session}"})
        elif path.startswith(SESSIONS):
            self.resume(path, body)
        elif self.command == "GET" and (name := unquote(path.partition(OBJECTS)[2])) in self.google.objects:
            self.show(name, query)
        else:
            self.say_json(404, error={"code": 404, "message": "Not Found"})

    def show(self, name: str, query: dict[str, list[str]]) -> None:
        """Answer with an object or with what is known of it."""
        data = self.google.objects[name]
        generation = str(zlib.crc32(data))
        if query.get("generation", [generation]) != [generation]:
            self.say_json(404)
        elif query.get("alt") == ["media"]:
            first, last = (int(each) for each in self.headers["Range"].removeprefix("bytes=").split("-"))
            self.say(206, data[first : last + 1], {"Content-Range": f"bytes {first}-{last}/{len(data)}"})
        else:
            self.say_json(200, size=str(len(data)), name=name, generation=generation)

    def resume(self, session: str, body: bytes) -> None:
        """Take the bytes of a request to a session."""
        if self.command == "DELETE" or session not in self.google.sessions:
            self.google.sessions.pop(session, None)
            self.say_json(499 if self.command == "DELETE" else 404)
            return
        name, kept = self.google.sessions[session]
        form = re.fullmatch(r"bytes (\d+)-(\d+)/(\d+|\*)", self.headers["Content-Range"])
        assert form, self.headers["Content-Range"]
        begin, last, total = int(form[1]), int(form[2]), form[3]
        if name in self.google.objects and total.isdigit() and len(kept) == int(total):
            self.say_json(200)
            return
        if begin > len(kept) or last - begin + 1 != len(body) or (total == "*" and len(body) % STEP):
            self.say_json(400)
            return
        kept += body[len(kept) - begin :]
        if total == "*":
            self.say(308, b"", {"Range": f"bytes=0-{len(kept) - 1}"})
        elif self._is_damaged(kept):
            self.say_json(400, error={"code": 400, "message": "Provided CRC32C does not match"})
        else:
            self.google.objects[name] = bytes(kept)
            self.say_json(200)

    def keep(self, body: bytes, size: int) -> None:
        """Keep only so many bytes of this request, and say so."""
        kept = self.google.sessions[self.path][1]
        kept += body[:size]
        self.say(308, b"", {"Range": f"bytes=0-{len(kept) - 1}"} if kept else {})

    def hang_up(self) -> None:
        """Close the connection without an answer."""
        self.close_connection = True

    def say_json(self, status: int, **fields: Any) -> None:
        """Send a JSON object."""
        self.say(status, json.dumps(fields).encode(), {"Content-Type": "application/json"})

    def _is_damaged(self, data: bytes) -> bool:
        import google_crc32c

        told = self.headers.get("X-Goog-Hash", "").removeprefix("crc32c=")
        return bool(told) and base64.b64decode(told) != google_crc32c.Checksum(bytes(data)).digest()
