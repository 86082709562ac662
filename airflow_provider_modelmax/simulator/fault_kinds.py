"""Every kind of fault as data: at which stage it strikes, what can be set. No I/O.

Stages, in their order within one call; at most one fault of each stage strikes a call, the oldest first:
`job`      what will become of the job that a submit creates
`instead`  this goes out instead of the call's own answer (the call is not carried out unless `carry_out`)
`answer`   the call's own good answer, changed
`wire`     the call's own good answer, badly delivered
`pause`    whatever goes out, late
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
    """What reads a value, and what it is when none is given: `...` when one must be, None when it can do without."""

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
    "fail_job": Kind("job", "the job FAILS with this text when its time is up", {"error": Param(text, POLICY)}),
    "stuck_queue": Kind("job", "the job never leaves IN_QUEUE"),
    "stuck_progress": Kind("job", "the job never leaves IN_PROGRESS"),
    "timing": Kind(
        "job",
        "this job takes so long",
        {"queue_seconds": Param(span_of_seconds), "run_seconds": Param(span_of_seconds)},
    ),
    "error": Kind(
        "instead",
        "an error answer: the contract's body, or a gateway's with html=true; retry_after is seconds, or date+SECONDS",
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
    "cut_json": Kind("answer", "JSON cut after so many bytes (half), with a Content-Length that fits", HALF),
    "missing_field": Kind(
        "answer", "a field is left out; data.0.url and usage.video_seconds work too", {"field": Param(text, ...)}
    ),
    "set_field": Kind(
        "answer",
        "a field has this value (any JSON: a wrong type, say)",
        {"field": Param(text, ...), "value": Param(json_value, ...)},
    ),
    "unknown_status": Kind("answer", "a status nobody documented", {"value": Param(json_value, "PAUSED")}),
    "foreign_url": Kind(
        "answer",
        "the answer's URLs (or the one named) lead to another host",
        {"to": Param(text, ...), "field": Param(text)},
    ),
    "not_a_video": Kind("answer", "HTML that says it is video/mp4"),
    "empty_body": Kind("answer", "no body at all, Content-Length: 0"),
    "corrupt_body": Kind("answer", "right length, MP4 boxes garbled", {"offset": Param(count)}),
    "cut_body": Kind("wire", "Content-Length promises more than comes (half), then close", HALF),
    "cut_chunked": Kind("wire", "chunked, closed before the last chunk", HALF),
    "close_delimited_cut": Kind("wire", "no length at all, cut: looks like a clean end", HALF),
    "reset_after": Kind("wire", "TCP reset after so many bytes of the body (half)", HALF),
    "slow_body": Kind(
        "wire",
        "the body trickles, or pauses once",
        {"bytes_per_second": Param(rate), "pause_after": Param(count, 0), "pause_seconds": Param(seconds, 0)},
    ),
    "slow_answer": Kind(
        "pause", "carried out at once, answered so many seconds later", {"seconds": Param(seconds, 1.0)}
    ),
}


def fill_params(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults; refuse names that mean nothing and values that cannot work."""
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
    """Say whether what looks like a number is text all the same."""
    params = KINDS[kind].params if kind in KINDS else {}
    return name in params and params[name].read in (text, line)


def describe() -> str:
    """List the kinds for --help."""
    lines = []
    for name, kind in KINDS.items():
        params = ", ".join(f"{key}={_shown(param.default)}" for key, param in kind.params.items() if key != "carry_out")
        lines.append(f"  {name:20} {kind.about}{f' [{params}]' if params else ''}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return "…" if value is ... else "" if value is None else str(value)
