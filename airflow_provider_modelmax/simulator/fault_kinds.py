"""The kinds of faults as data: the stage at which each applies, and its parameters. No I/O.

Stages, in the order in which they apply to a call; at most one fault of each stage applies, the oldest first:
`job`      decides the life of the job that a submit creates
`instead`  replaces the answer (the call is not carried out unless `carry_out`)
`answer`   changes a good answer
`wire`     breaks the delivery of a good answer
`pause`    delays the answer
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from .jobs import POLICY
from .readers import (
    Reader,
    count,
    flag,
    http_status,
    json_value,
    line,
    rate,
    retry_after,
    seconds,
    span_of_seconds,
    text,
)


class Param(NamedTuple):
    """A parameter: the function that reads it, and its default. `...` means required, None optional."""

    read: Reader
    default: Any = None


@dataclass(frozen=True)
class Kind:
    """A kind of fault."""

    stage: str
    about: str
    params: Mapping[str, Param] = field(default_factory=dict)


HALF = {"bytes": Param(count)}
NOT_CARRIED_OUT = {"carry_out": Param(flag, default=False)}

KINDS: dict[str, Kind] = {
    "fail_job": Kind("job", "the job ends in FAILED with this error", {"error": Param(text, POLICY)}),
    "stuck_queue": Kind("job", "the job never leaves IN_QUEUE"),
    "stuck_progress": Kind("job", "the job never leaves IN_PROGRESS"),
    "timing": Kind(
        "job",
        "how long this job takes",
        {"queue_seconds": Param(span_of_seconds), "run_seconds": Param(span_of_seconds)},
    ),
    "error": Kind(
        "instead",
        "an error: the service's JSON, or a gateway's page with html=true; retry_after is seconds, or date+SECONDS",
        {
            "status": Param(http_status, 500),
            "type": Param(text),
            "message": Param(text),
            "html": Param(flag, default=False),
            "retry_after": Param(retry_after),
            **NOT_CARRIED_OUT,
        },
    ),
    "redirect": Kind(
        "instead",
        "redirect to a URL",
        {"to": Param(line, ...), "status": Param(http_status, 302), **NOT_CARRIED_OUT},
    ),
    "html_200": Kind("instead", "a page of HTML with status 200", NOT_CARRIED_OUT),
    "reset": Kind("instead", "TCP reset, the call not carried out", NOT_CARRIED_OUT),
    "lost_answer": Kind(
        "instead", "the call is carried out (created, billed), then TCP reset", {"carry_out": Param(flag, default=True)}
    ),
    "cut_json": Kind("answer", "JSON cut after so many bytes (default: half), with a matching Content-Length", HALF),
    "missing_field": Kind(
        "answer", "a field is left out; data.0.url and usage.video_seconds work too", {"field": Param(text, ...)}
    ),
    "set_field": Kind(
        "answer",
        "a field has this value (any JSON: a wrong type, say)",
        {"field": Param(text, ...), "value": Param(json_value, ...)},
    ),
    "unknown_status": Kind("answer", "an undocumented status", {"value": Param(json_value, "PAUSED")}),
    "foreign_url": Kind(
        "answer",
        "the URLs of the answer (or one field) point to another host",
        {"to": Param(text, ...), "field": Param(text)},
    ),
    "not_a_video": Kind("answer", "HTML with the content type video/mp4"),
    "empty_body": Kind("answer", "an empty body, Content-Length: 0"),
    "corrupt_body": Kind("answer", "the right length, but garbled MP4 boxes", {"offset": Param(count)}),
    "cut_body": Kind("wire", "only so many bytes of Content-Length (default: half), then close", HALF),
    "cut_chunked": Kind("wire", "chunked, cut, and closed without the last chunk", HALF),
    "close_delimited_cut": Kind("wire", "without a length, cut: looks like a clean end", HALF),
    "reset_after": Kind("wire", "TCP reset after so many bytes of the body (default: half)", HALF),
    "slow_body": Kind(
        "wire",
        "the body is sent slowly, or with one pause",
        {"bytes_per_second": Param(rate), "pause_after": Param(count, 0), "pause_seconds": Param(seconds, 0)},
    ),
    "slow_answer": Kind(
        "pause", "carried out at once, answered after so many seconds", {"seconds": Param(seconds, 1.0)}
    ),
}


def fill_params(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Return the parameters with defaults.

    :raises ValueError: for an unknown kind or name, a missing or an invalid value
    """
    if not isinstance(kind, str) or kind not in KINDS:
        raise ValueError(f"no such fault: {kind} (there are {', '.join(KINDS)})")
    known = KINDS[kind].params
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{kind} has no {', '.join(unknown)} (it has {', '.join(known) or 'nothing to set'})")
    missing = [name for name, param in known.items() if given.get(name, param.default) is ...]
    if missing:
        raise ValueError(f"{kind} needs {', '.join(missing)}")
    return {name: _filled(param, name, given) for name, param in known.items()}


def _filled(param: Param, name: str, given: Mapping[str, Any]) -> Any:
    value = given.get(name, param.default)
    return None if value is None and param.default is None else param.read(name, value)


def takes_text(kind: str, name: str) -> bool:
    """Return whether the parameter is text, even if its value looks like a number."""
    params = KINDS[kind].params if kind in KINDS else {}
    return name in params and params[name].read in (text, line)


def describe() -> str:
    """Return the list of kinds for --help."""
    lines = []
    for name, kind in KINDS.items():
        params = ", ".join(f"{key}={_shown(param.default)}" for key, param in kind.params.items() if key != "carry_out")
        lines.append(f"  {name:20} {kind.about}{f' [{params}]' if params else ''}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return "…" if value is ... else "" if value is None else str(value)
