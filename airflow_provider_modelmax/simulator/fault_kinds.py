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
from typing import Any

from .jobs import POLICY


@dataclass(frozen=True)
class Kind:
    """A kind of fault; a parameter whose default is `...` must be given."""

    stage: str
    about: str
    params: Mapping[str, Any] = field(default_factory=dict)


HALF = {"bytes": None}

KINDS: dict[str, Kind] = {
    "fail_job": Kind("job", "the job FAILS with this text when its time is up", {"error": POLICY}),
    "stuck_queue": Kind("job", "the job never leaves IN_QUEUE"),
    "stuck_progress": Kind("job", "the job never leaves IN_PROGRESS"),
    "timing": Kind("job", "this job takes so long", {"queue_seconds": None, "run_seconds": None}),
    "error": Kind(
        "instead",
        "an error answer: the contract's body, or a gateway's with html=true; retry_after is seconds, or date+SECONDS",
        {
            "status": 500,
            "type": None,
            "message": None,
            "html": False,
            "retry_after": None,
            "carry_out": False,
        },
    ),
    "redirect": Kind("instead", "redirect to a URL", {"to": ..., "status": 302, "carry_out": False}),
    "html_200": Kind("instead", "a page of HTML with status 200", {"carry_out": False}),
    "reset": Kind("instead", "TCP reset, the call not carried out", {"carry_out": False}),
    "lost_answer": Kind("instead", "the call is carried out (created, billed), then TCP reset", {"carry_out": True}),
    "cut_json": Kind("answer", "JSON cut after so many bytes (half), with a Content-Length that fits", HALF),
    "missing_field": Kind("answer", "a field is left out; data.0.url and usage.video_seconds work too", {"field": ...}),
    "set_field": Kind("answer", "a field has this value (any JSON: a wrong type, say)", {"field": ..., "value": ...}),
    "unknown_status": Kind("answer", "a status nobody documented", {"value": "PAUSED"}),
    "foreign_url": Kind(
        "answer", "the answer's URLs (or the one named) lead to another host", {"to": ..., "field": None}
    ),
    "not_a_video": Kind("answer", "HTML that says it is video/mp4"),
    "empty_body": Kind("answer", "no body at all, Content-Length: 0"),
    "corrupt_body": Kind("answer", "right length, MP4 boxes garbled", {"offset": None}),
    "cut_body": Kind("wire", "Content-Length promises more than comes (half), then close", HALF),
    "cut_chunked": Kind("wire", "chunked, closed before the last chunk", HALF),
    "close_delimited_cut": Kind("wire", "no length at all, cut: looks like a clean end", HALF),
    "reset_after": Kind("wire", "TCP reset after so many bytes of the body (half)", HALF),
    "slow_body": Kind(
        "wire",
        "the body trickles, or pauses once",
        {"bytes_per_second": None, "pause_after": 0, "pause_seconds": 0},
    ),
    "slow_answer": Kind("pause", "carried out at once, answered so many seconds later", {"seconds": 1.0}),
}


def fill_params(kind: str, given: Mapping[str, Any]) -> dict[str, Any]:
    """Add the defaults and refuse names that mean nothing."""
    if kind not in KINDS:
        raise ValueError(f"no such fault: {kind} (there are {', '.join(KINDS)})")
    known = KINDS[kind].params
    unknown = sorted(set(given) - set(known))
    if unknown:
        raise ValueError(f"{kind} has no {', '.join(unknown)} (it has {', '.join(known) or 'nothing to set'})")
    params = {**known, **given}
    missing = [name for name, value in params.items() if value is ...]
    if missing:
        raise ValueError(f"{kind} needs {', '.join(missing)}")
    return params


def describe() -> str:
    """List the kinds for --help."""
    lines = []
    for name, kind in KINDS.items():
        params = ", ".join(f"{key}={_shown(value)}" for key, value in kind.params.items() if key != "carry_out")
        lines.append(f"  {name:20} {kind.about}{f' [{params}]' if params else ''}")
    return "\n".join(lines)


def _shown(value: object) -> str:
    return "…" if value is ... else "" if value is None else str(value)
