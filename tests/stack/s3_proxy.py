"""A proxy in front of a real S3 server. It forwards requests, and answers some as another server would."""

from __future__ import annotations

import http.client
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from tests.stack.bare_server import Answers, answering

if TYPE_CHECKING:
    from collections.abc import Callable


class Proxy(Answers):
    """A request: ``self.command``, ``self.path`` and ``self.headers``."""

    store: str

    def hand_on(self, body: bytes) -> None:
        """Forward the request to the real server and return its answer."""
        place = urlsplit(self.store)
        connection = http.client.HTTPConnection(place.hostname or "", place.port, timeout=30)
        connection.request(self.command, self.path, body, dict(self.headers))
        answer = connection.getresponse()
        data = answer.read()
        ours = {"content-length", "transfer-encoding", "connection"}
        headers = {name: value for name, value in answer.getheaders() if name.lower() not in ours}
        if self.command == "HEAD":
            self.send_response(answer.status)
            for name, value in answer.getheaders():
                if name.lower() not in {"transfer-encoding", "connection"}:
                    self.send_header(name, value)
            self.end_headers()
        else:
            self.say(answer.status, data, headers)
        connection.close()

    def refuse(self, status: int, code: str, message: str = "No.", **fields: str) -> None:
        """Answer with an error in S3's format."""
        parts = {"Code": code, "Message": message, **fields}
        inner = "".join(f"<{name}>{value}</{name}>" for name, value in parts.items())
        text = f'<?xml version="1.0" encoding="UTF-8"?><Error>{inner}</Error>' if self.command != "HEAD" else ""
        self.say(status, text.encode(), {"Content-Type": "application/xml"})


def in_front_of(store: str, answer: Callable[[Proxy, bytes], Any]) -> AbstractContextManager[str]:
    """Run it in front of the server at the URL `store`, and yield the proxy's URL.

    :param answer: answers a request, or forwards it with ``hand_on``
    """

    class Chosen(Proxy):
        def answer(self, body: bytes) -> None:
            answer(self, body)

    Chosen.store = store
    return answering(Chosen)
