"""Requests and answers as data. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .video_file import VideoFile

Headers = tuple[tuple[str, str], ...]

# The table of errors in the service's documentation.
ERROR_TYPES = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_balance",
    500: "internal_error",
    502: "bad_gateway",
}


@dataclass(frozen=True)
class Request:
    """One request: the path is still quoted, header names are in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    scheme: str = "http"


@dataclass(frozen=True)
class Answer:
    """One answer; `delivery` adds Content-Length."""

    status: int
    headers: Headers
    body: bytes | VideoFile

    @property
    def size(self) -> int:
        """The size of the whole body in bytes."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size


def json_answer(status: int, value: object, headers: Headers = ()) -> Answer:
    """Return an answer with a JSON body."""
    body = json.dumps(value).encode()
    return Answer(status, (("content-type", "application/json"), *headers), body)


def error_answer(status: int, message: str, kind: str | None = None, headers: Headers = ()) -> Answer:
    """Return an answer with the service's error body."""
    error = {"message": message, "type": kind or ERROR_TYPES.get(status, phrase(status, "_").lower())}
    return json_answer(status, {"error": error}, headers)


def gateway_answer(status: int, headers: Headers = ()) -> Answer:
    """Return an HTML page, as a gateway in front of the service does."""
    title = f"{status} {phrase(status)}"
    body = f"<body><center><h1>{title}</h1></center></body>"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n{body}\r\n</html>\r\n"
    return Answer(status, (("content-type", "text/html"), *headers), page.encode())


def with_json(answer: Answer, value: Any) -> Answer:
    """Replace the body of an answer with JSON."""
    return replace(answer, body=json.dumps(value).encode())


def phrase(status: int, space: str = " ") -> str:
    """Return the phrase of an HTTP status; `Unknown` if it is not registered."""
    try:
        return HTTPStatus(status).phrase.replace(" ", space)
    except ValueError:
        return "Unknown"
