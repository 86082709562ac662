"""What comes in and what goes out, as data. No I/O."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from .film import Film

Headers = tuple[tuple[str, str], ...]

# The contract's table of errors.
ERROR_TYPES = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_balance",
    500: "internal_error",
    502: "bad_gateway",
}


@dataclass(frozen=True)
class Request:
    """One request as it came: the path still quoted, header names in lower case."""

    method: str
    path: str
    query: str
    headers: Mapping[str, str]
    body: bytes = b""
    scheme: str = "http"


@dataclass(frozen=True)
class Answer:
    """One answer as it will go out; Content-Length is the deliverer's business."""

    status: int
    headers: Headers
    body: bytes | Film

    @property
    def size(self) -> int:
        """Say how many bytes the whole body has."""
        return len(self.body) if isinstance(self.body, bytes) else self.body.size


def json_answer(status: int, value: object, headers: Headers = ()) -> Answer:
    """Answer with JSON."""
    body = json.dumps(value).encode()
    return Answer(status, (("content-type", "application/json"), *headers), body)


def error_answer(status: int, message: str, kind: str | None = None, headers: Headers = ()) -> Answer:
    """Answer with the contract's error body."""
    error = {"message": message, "type": kind or ERROR_TYPES.get(status, phrase(status, "_").lower())}
    return json_answer(status, {"error": error}, headers)


def gateway_answer(status: int, headers: Headers = ()) -> Answer:
    """Answer like a gateway that knows nothing of the service: a page of HTML."""
    title = f"{status} {phrase(status)}"
    body = f"<body><center><h1>{title}</h1></center></body>"
    page = f"<html>\r\n<head><title>{title}</title></head>\r\n{body}\r\n</html>\r\n"
    return Answer(status, (("content-type", "text/html"), *headers), page.encode())


def with_json(answer: Answer, value: Any) -> Answer:
    """Put other JSON into an answer."""
    return replace(answer, body=json.dumps(value).encode())


def phrase(status: int, space: str = " ") -> str:
    """Name an HTTP status, also one that nobody registered."""
    try:
        return HTTPStatus(status).phrase.replace(" ", space)
    except ValueError:
        return "Unknown"
