"""Maps a quoted path to one of the four calls. No I/O.

The path is split before it is unquoted: `%2F` is part of an id, not a separator.
"""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import quote, unquote

CALLS = ("submit", "status", "result", "content")


@dataclass(frozen=True, slots=True)
class Route:
    """A call and the parts of its path."""

    call: str
    model: str = ""
    id: str = ""
    index: str = ""
    allow: str = "GET"


def find_route(path: str) -> Route:
    """Return the route of a quoted path."""
    match path.split("/"):
        case ["", "v1", "queue", model] if model:
            return Route("submit", unquote(model), allow="POST")
        case ["", "v1", "queue", model, "requests", job]:
            return Route("result", unquote(model), unquote(job))
        case ["", "v1", "queue", model, "requests", job, "status"]:
            return Route("status", unquote(model), unquote(job))
        case ["", "v1", "queue", model, "requests", content, "content", index]:
            return Route("content", unquote(model), unquote(content), unquote(index))
        case _:
            return Route("other")


def request_path(model: str, job: str) -> str:
    """Return the quoted path of a job."""
    return f"/v1/queue/{quote(model, safe='')}/requests/{quote(job, safe='')}"
