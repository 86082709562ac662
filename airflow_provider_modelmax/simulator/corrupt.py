"""Applies faults to answers: replaces an answer, or changes a good one."""

from __future__ import annotations

import json
import time
from dataclasses import replace
from email.utils import formatdate
from typing import TYPE_CHECKING, Any

from .video_file import VideoFile, garble
from .wire import Answer, Headers, error_answer, gateway_answer, with_json

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from .faults import Fault

PAGE = b"<html><body><h1>Please sign in to the network</h1></body></html>\n"
URLS = ("status_url", "response_url")


def replacement(fault: Fault) -> Answer | None:
    """Return the answer that is sent instead, or None for a TCP reset."""
    make = REPLACEMENTS.get(fault.kind)
    return make(fault.params) if make else None


def corrupt(fault: Fault, answer: Answer) -> Answer | None:
    """Change a good answer.

    :returns: The changed answer, also if the field had that value already; None if the fault does not apply to it
    """
    changed = CORRUPTIONS[fault.kind](answer, fault.params)
    return None if changed is answer else changed


def retry_after(value: object) -> Headers:
    """Return a Retry-After header: seconds, an HTTP date (`date+SECONDS`, from now), or any other text."""
    if value is None:
        return ()
    text = str(value)
    if text.startswith("date+"):
        text = formatdate(time.time() + float(text[5:]), usegmt=True)
    return (("retry-after", text),)


def _error(params: Mapping[str, Any]) -> Answer:
    headers, status = retry_after(params["retry_after"]), params["status"]
    if params["html"]:
        return gateway_answer(status, headers)
    return error_answer(status, params["message"] or "injected fault", params["type"], headers)


def _redirect(params: Mapping[str, Any]) -> Answer:
    return gateway_answer(params["status"], (("location", params["to"]),))


def _html(_: Mapping[str, Any]) -> Answer:
    return Answer(200, (("content-type", "text/html"),), PAGE)


REPLACEMENTS: dict[str, Callable[[Mapping[str, Any]], Answer]] = {
    "error": _error,
    "redirect": _redirect,
    "html_200": _html,
}


def _cut_json(answer: Answer, params: Mapping[str, Any]) -> Answer:
    if not isinstance(answer.body, bytes):
        return answer
    return replace(answer, body=answer.body[: len(answer.body) // 2 if params["bytes"] is None else params["bytes"]])


def _missing_field(answer: Answer, params: Mapping[str, Any]) -> Answer:
    def drop(holder: Any, key: Any) -> None:
        holder.pop(key)

    return _edit(answer, params["field"], drop)


def _set_field(answer: Answer, params: Mapping[str, Any]) -> Answer:
    def put(holder: Any, key: Any) -> None:
        holder[key] = params["value"]

    return _edit(answer, params["field"], put)


def _unknown_status(answer: Answer, params: Mapping[str, Any]) -> Answer:
    return _set_field(answer, {"field": "status", "value": params["value"]})


def _foreign_url(answer: Answer, params: Mapping[str, Any]) -> Answer:
    def move(holder: Any, key: Any) -> None:
        holder[key] = params["to"].rstrip("/") + holder[key]

    value = _json(answer)
    if value is None:
        return answer
    count = len(value["data"]) if isinstance(value.get("data"), list) else 0
    fields = [params["field"]] if params["field"] else [*URLS, *(f"data.{i}.url" for i in range(count))]
    moved = [_walk(value, field, move) for field in fields]
    return with_json(answer, value) if any(moved) else answer


def _edit(answer: Answer, field: str, change: Callable[[Any, Any], None]) -> Answer:
    value = _json(answer)
    if value is None or not _walk(value, field, change):
        return answer
    return with_json(answer, value)


def _json(answer: Answer) -> dict[str, Any] | None:
    """Return the JSON object of an answer; None if the body is a video or not an object."""
    if not isinstance(answer.body, bytes):
        return None
    value = json.loads(answer.body)
    return value if isinstance(value, dict) else None


def _walk(value: Any, field: str, change: Callable[[Any, Any], None]) -> bool:
    """Change the value at a path such as `data.0.url`. Return False, and change nothing, if the path does not exist."""
    try:
        *parents, last = (int(part) if part.isdecimal() else part for part in field.split("."))
        for part in parents:
            value = value[part]
        change(value, last)
    except (KeyError, IndexError, TypeError, ValueError):
        return False
    return True


def _corrupt_body(answer: Answer, params: Mapping[str, Any]) -> Answer:
    if isinstance(answer.body, VideoFile):
        return replace(answer, body=garble(answer.body, params["offset"]))
    return replace(answer, body=b"\x00\xff\xfe" + answer.body[3:])


CORRUPTIONS: dict[str, Callable[[Answer, Mapping[str, Any]], Answer]] = {
    "cut_json": _cut_json,
    "missing_field": _missing_field,
    "set_field": _set_field,
    "unknown_status": _unknown_status,
    "foreign_url": _foreign_url,
    "not_a_video": lambda answer, _: replace(answer, body=PAGE),
    "empty_body": lambda answer, _: replace(answer, body=b""),
    "corrupt_body": _corrupt_body,
}
