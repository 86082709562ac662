"""Matches faults to calls, and counts them. No I/O."""

from __future__ import annotations

import itertools
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from .fault_kinds import KINDS, fill_params, takes_text
from .jobs import STATUSES
from .readers import text
from .routes import CALLS

TEXTS = ("request_id", "model", "prompt")


@dataclass(frozen=True)
class Subject:
    """A call and its job, which faults are matched against."""

    call: str
    model: str = ""
    request_id: str | None = None
    prompt: str | None = None
    status: str | None = None


@dataclass(frozen=True)
class Fault:
    """A fault to inject.

    :param kind: The kind; `--help` of the command line lists the kinds and their parameters.
    :param call: `submit`, `status`, `result`, `content`, or `any`.
    :param times: Number of calls it applies to; None means all.
    :param after: Number of matching calls to skip first.
    :param request_id: Only calls for this job.
    :param model: Only calls for this model.
    :param prompt: Only jobs whose prompt contains this.
    :param when: Only while the job has this status.
    :param params: The parameters of the kind.
    """

    kind: str
    call: str = "any"
    times: int | None = None
    after: int = 0
    request_id: str | None = None
    model: str | None = None
    prompt: str | None = None
    when: str | None = None
    params: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Check the fields and add the defaults of the parameters."""
        object.__setattr__(self, "params", fill_params(self.kind, self.params))
        if self.call not in (*CALLS, "any"):
            raise ValueError(f"no such call: {self.call} (there are {', '.join(CALLS)}, any)")
        if self.stage == "job" and self.call not in ("submit", "any"):
            raise ValueError(f"{self.kind} is decided at the submit: call must be submit")
        for name, number in (("times", self.times), ("after", self.after)):
            if number is not None and (type(number) is not int or number < 0):
                raise ValueError(f"{name} must be a count")
        self._check_conditions()

    def _check_conditions(self) -> None:
        for name in TEXTS:
            if getattr(self, name) is not None:
                text(name, getattr(self, name))
        if self.when not in (None, *STATUSES):
            raise ValueError(f"when must be one of {', '.join(STATUSES)}")
        early = [name for name in ("request_id", "when") if getattr(self, name) is not None]
        if early and (self.stage == "job" or self.call == "submit"):
            raise ValueError(f"{early[0]} is not known at a submit: this fault would never strike")

    @property
    def stage(self) -> str:
        """The stage at which it applies."""
        return KINDS[self.kind].stage

    def matches(self, subject: Subject) -> bool:
        """Return whether it matches a call."""
        return (
            self.call in ("any", subject.call)
            and self.request_id in (None, subject.request_id)
            and self.model in (None, subject.model)
            and self.when in (None, subject.status)
            and (self.prompt is None or self.prompt in (subject.prompt or ""))
        )


@dataclass
class Active:
    """A fault in force.

    :param id: Its id in `DELETE /simulator/faults/ID`.
    :param fault: The fault.
    :param met: Number of calls that it matched.
    :param struck: Number of calls that it was applied to.
    """

    id: int
    fault: Fault
    met: int = 0
    struck: int = 0

    @property
    def spent(self) -> bool:
        """Whether it has been applied `times` times."""
        return self.fault.times is not None and self.struck >= self.fault.times

    def shown(self) -> dict[str, object]:
        """Return it as JSON."""
        return {"id": self.id, **self.fault.__dict__, "struck": self.struck, "spent": self.spent}


class FaultBook:
    """The faults in force, oldest first."""

    def __init__(self) -> None:
        self.active: tuple[Active, ...] = ()
        self._ids = itertools.count(1)

    def add(self, fault: Fault) -> Active:
        """Add a fault."""
        active = Active(next(self._ids), fault)
        self.active += (active,)
        return active

    def remove(self, number: str | None = None) -> bool:
        """Remove a fault by its id, or all. Return whether there was one."""
        left = tuple(each for each in self.active if number not in (None, str(each.id)))
        there, self.active = len(left) < len(self.active), left
        return there

    def take(self, stage: str, subject: Subject, applies: Callable[[Fault], bool] = lambda _: True) -> Fault | None:
        """Return the fault that applies to a call at a stage, and count it.

        :param stage: The stage.
        :param subject: The call and its job.
        :param applies: Returns whether a matching fault would change anything; one that would not is not counted.
        """
        for active in self.active:
            fault = active.fault
            if fault.stage != stage or active.spent or not (fault.matches(subject) and applies(fault)):
                continue
            active.met += 1
            if active.met > active.fault.after:
                active.struck += 1
                return fault
        return None


OWN = ("kind", "call", "times", "after", "request_id", "model", "prompt", "when")


def read_fault(value: Mapping[str, Any]) -> Fault:
    """Read a fault from JSON. Names that are not fields of `Fault` are parameters of the kind."""
    if not isinstance(value, Mapping) or "kind" not in value:
        raise ValueError("a fault is an object with a kind")
    inner = value.get("params", {})
    if not isinstance(inner, Mapping):
        raise TypeError("params must be an object")
    outer = {name: each for name, each in value.items() if name not in (*OWN, "params")}
    return Fault(**{name: value[name] for name in OWN if name in value}, params={**inner, **outer})


def parse_fault(written: str) -> Fault:
    """Read a fault from a command line: JSON, or `content:cut_body:times=1`."""
    if written.lstrip().startswith("{"):
        return read_fault(_json(written))
    # A colon inside a value (a URL) is no separator: only one before NAME= is.
    call, _, rest = written.partition(":")
    kind, *settings = re.split(r":(?=[a-z_]+=)", rest)
    if not kind or "=" in kind:
        raise ValueError(f"not a fault: {written!r} (write CALL:KIND or CALL:KIND:name=value)")
    pairs = (each.partition("=") for each in settings)
    return read_fault({"call": call, "kind": kind, **{name: _value(kind, name, raw) for name, _, raw in pairs}})


def _json(written: str) -> Any:
    try:
        return json.loads(written)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not a fault: {written!r} is no JSON ({error})") from None


def _value(kind: str, name: str, raw: str) -> Any:
    if name in (*TEXTS, "when") or takes_text(kind, name):
        return raw
    try:
        return json.loads(raw)
    except ValueError:
        return raw
