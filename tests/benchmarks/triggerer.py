"""What thousands of triggers cost the real triggerer, compared with idle triggers and those of peers."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict

from tests.benchmarks.report import Figure, Report, Say
from tests.benchmarks.usage import EVERY, Found, watch
from tests.benchmarks.waits import Stage, stage

ABOUT = "triggers in the real `airflow triggerer`, each polling every 5 s over TLS"
ROUND = (("idle", 1000), ("modelmax", 1000), ("dbt", 1000))
FULL = (*ROUND, *ROUND, ("http", 1000), ("idle", 5000), ("modelmax", 5000), ("modelmax", 10_000))
CURVE = (("idle", 300), ("modelmax", 300), ("dbt", 300))
"""More points for the plots, from shorter measurements."""
QUICK = CURVE[1:]
PARTS = 3
"""The parts of each measurement, which show its spread."""


def run(quick: bool, say: Say) -> Report:
    """Measure one group of triggers after the other."""
    plan = [(*each, 20) for each in (QUICK if quick else CURVE)] + [(*each, 60) for each in (() if quick else FULL)]
    with stage(say) as prepared:
        found = [measure(prepared, *each) for each in plan]
    return report(found, QUICK[0][1] if quick else ROUND[0][1])


def measure(prepared: Stage, kind: str, count: int, seconds: float) -> Found:
    """Start a triggerer with a group of triggers, wait until all are polling, and observe it."""
    with prepared.waiting(kind, count) as crowd:
        last_start, first_polls = crowd.last_start(), crowd.first_polls()
        lines, before, since = crowd.lines(), len(crowd.blocked()), time.time()
        parts = [watch(crowd.processes, seconds / PARTS, prepared.server.port) for _ in range(PARTS)]
        calls = crowd.calls(since, since + seconds)
        last, blocked = parts[-1].after, crowd.blocked(since)
        return Found(
            kind=kind,
            count=count,
            seconds=seconds,
            polls=sum(calls["jobs"].values()),
            started=last_start - crowd.since,
            polled_after=max(first_polls.values(), default=last_start) - last_start,
            supervisor=[each.cpus[0] / each.seconds for each in parts],
            runner=[each.cpus[1] / each.seconds for each in parts],
            descriptors=[each.descriptors for each in last],
            memory=[each.memory for each in last],
            sockets=max(part.after[1].sockets for part in parts),
            look_ups=crowd.look_ups(),
            lines=crowd.lines() - lines,
            blocked=sum(not each.by_python for each in blocked),
            collected=sum(each.by_python for each in blocked),
            longest=max((each.seconds for each in blocked), default=0.0),
            blocked_before=before,
            per_second=calls["per_second"],
        )


def report(found: Sequence[Found], count: int) -> Report:
    """Compare the measurements."""

    def of(kind: str, many: int = count) -> list[Found]:
        return [each for each in found if (each.kind, each.count) == (kind, many)]

    ours, idle = of("modelmax"), of("idle")
    figures = [*_ours(ours, f"{count:,} triggers"), *_over_idle(ours, idle), *_peers(ours, of("dbt"), of("http"))]
    for many in (5000, 10_000):
        figures += _many(of("modelmax", many), of("idle", many), "≥ 0.98" if many == 5000 else "")
    figures += _each_more(ours, idle, of("modelmax", 5000), of("idle", 5000))
    return Report("triggerer", ABOUT, figures, {"found": [asdict(each) | {"core": each.core} for each in found]})


def _ours(ours: list[Found], name: str) -> list[Figure]:
    one = ours[-1]
    lines = sum(each.lines for each in ours) / sum(each.polls for each in ours)
    return [
        Figure.of(
            f"{name}: until all have polled, after the last start",
            [each.polled_after for each in ours],
            "≤ 5",
            unit="s",
            detail=f"the triggerer needs {one.started:.0f} s to start them",
        ),
        _on_time(ours, name, "≥ 0.98"),
        Figure.of(
            "cores used by both triggerer processes",
            [each for one in ours for each in one.cores],
            "≤ 0.12",
            unit="core",
            detail=f"{one.shares}; {one.cpu_per_poll * 1e3:.2f} CPU-ms a poll",
        ),
        Figure.of("sockets to the service", [each.sockets for each in ours], "≤ 100", unit="", detail=one.open_files),
        Figure("log lines a poll", lines, "≤ 0.01", "", detail=f"{one.lines} lines, {one.polls:,} polls"),
        Figure.of("connection lookups", [each.look_ups for each in ours], "≤ 2", unit=""),
        Figure.of(
            "'thread was blocked' while all are running",
            [each.blocked for each in ours],
            "≤ 0",
            unit="lines",
            detail=one.stalls,
        ),
        Figure.of(
            "polls of the busiest second",
            [each.busiest for each in ours],
            detail="against the mean: triggers that poll in step",
        ),
    ]


def _over_idle(ours: list[Found], idle: list[Found]) -> list[Figure]:
    if not idle:
        return []
    pairs = list(zip(ours, idle, strict=True))
    memory = [(one.memory[1] - none.memory[1]) / one.count / 1000 for one, none in pairs]
    supervisor = (ours[-1].memory[0] - idle[-1].memory[0]) / 1e6
    return [
        Figure.of(
            "cores used, beyond those of as many sleeping triggers",
            [one.core - none.core for one, none in pairs],
            unit="core",
            detail=f"sleeping: {idle[-1].shares}",
        ),
        Figure.of(
            "runner's memory, beyond that of as many sleeping triggers",
            memory,
            unit="kB a trigger",
            detail=f"includes imports; and {supervisor:.0f} MB in the supervisor, once, for any lookup",
        ),
        Figure.of(
            "'thread was blocked' while they start",
            [one.blocked_before for one in ours],
            unit="lines",
            detail=f"as many sleeping triggers: {', '.join(str(each.blocked_before) for each in idle)}",
        ),
    ]


def _peers(ours: list[Found], dbt: list[Found], http: list[Found]) -> list[Figure]:
    figures = []
    for name, peers, target in (("dbt Cloud's trigger", dbt, "≤ 0.2"), ("the HTTP sensor's trigger", http, "")):
        if not peers:
            continue
        one = peers[-1]
        ratios = [each.cpu_per_poll / peer.cpu_per_poll for each, peer in zip(ours, peers, strict=False)]
        detail = f"{one.cpu_per_poll * 1e3:.2f} CPU-ms a poll, {one.shares}, {one.troubles}"
        figures += [
            Figure.of(f"CPU of a poll, against {name}", ratios, target, detail=detail),
            _on_time(peers, name, ""),
        ]
    return figures


def _many(ours: list[Found], idle: list[Found], target: str) -> list[Figure]:
    if not ours:
        return []
    one, name = ours[-1], f"{ours[-1].count:,} triggers"
    asleep = f"; as many sleeping triggers: {idle[-1].blocked} lines and {idle[-1].core:.2f} core" if idle else ""
    return [
        _on_time(ours, name, target),
        Figure(
            f"{name}: 'thread was blocked'",
            one.blocked,
            "≤ 0" if target else "",
            "lines",
            detail=one.troubles + asleep,
        ),
        Figure(
            f"{name}: core",
            one.core,
            "",
            "core",
            min(one.cores),
            max(one.cores),
            f"{one.shares}; {one.open_files}",
        ),
    ]


def _each_more(few: list[Found], few_idle: list[Found], many: list[Found], many_idle: list[Found]) -> list[Figure]:
    if not (few_idle and many_idle):
        return []
    (less, none), (more, still_none) = (few[-1], few_idle[-1]), (many[-1], many_idle[-1])
    grown = more.memory[1] - still_none.memory[1] - (less.memory[1] - none.memory[1])
    each = grown / (more.count - less.count) / 1000
    return [Figure("runner's memory for each additional trigger, beyond a sleeping one", each, "≤ 12", "kB")]


def _on_time(found: list[Found], name: str, target: str) -> Figure:
    one = found[-1]
    due = one.count / EVERY
    detail = f"{one.polls / one.seconds:.0f} a second of {due:.0f}"
    return Figure.of(f"{name}: share of due polls made", [each.on_time for each in found], target, detail=detail)
