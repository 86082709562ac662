"""Printed samples of the contract: one exchange a file. Taken from the contract page, not from our code.

`load("status_failed")` reads one; `names()` lists them. The ids hold `/`, `+` and `=` on purpose.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).parent
KEY = "sk-sample"
REQUEST_ID = "Zm9v/YmFy+cXV4L3Jlc3Q9MQ=="
CONTENT_ID = "Y29u+dGVudC9/OTk4ODc3NjY="


@dataclass(frozen=True)
class Exchange:
    """One request and its answer; header names are in lower case."""

    method: str
    path: str
    request_headers: dict[str, str]
    request_json: Any
    status: int
    headers: dict[str, str]
    body: bytes
    json: Any


def names() -> list[str]:
    """List the samples."""
    return sorted(path.stem for path in FOLDER.glob("*.http"))


def load(name: str) -> Exchange:
    """Read one sample."""
    request, _, answer = (FOLDER / f"{name}.http").read_text().partition("\nHTTP/1.1 ")
    (method, path, _), request_headers, sent = _message(request)
    (status, *_), headers, got = _message(answer)
    is_json = headers.get("content-type") == "application/json"
    return Exchange(
        method,
        path,
        request_headers,
        json.loads(sent) if sent else None,
        int(status),
        headers,
        got.encode(),
        json.loads(got) if is_json else None,
    )


def _message(text: str) -> tuple[list[str], dict[str, str], str]:
    head, _, body = text.strip("\n").partition("\n\n")
    first, *lines = head.split("\n")
    pairs = (line.split(": ", 1) for line in lines)
    return first.split(" "), {name.lower(): value for name, value in pairs}, body.strip()
