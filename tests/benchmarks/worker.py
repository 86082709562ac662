"""Worker seconds of one video, compared with an empty task that defers once, in a real Airflow."""

from __future__ import annotations

import statistics
from collections.abc import Callable, Iterable
from dataclasses import asdict

from tests.benchmarks.report import Figure, Report, Say
from tests.benchmarks.usage_by_process import Segment, overlap
from tests.benchmarks.worker_stage import Round, stage

ROUNDS, QUICK_ROUNDS = 10, 4
DESTINATIONS = {"file": "a local file", "s3": "S3 (SeaweedFS)"}
TARGETS = {"file": "≤ 2.7", "s3": "≤ 6.0"}
LONG = 0.5
"""Seconds; a worker that lingers longer is waiting for a timeout."""

Measure = Callable[[Iterable[Segment]], float]


def run(quick: bool, say: Say) -> Report:
    """Run tasks of all kinds in turn."""
    report = Report("worker", "worker seconds of a video, in two segments, against an empty task that defers once")
    with stage(say) as prepared:
        rounds = prepared.run(["empty", *DESTINATIONS], QUICK_ROUNDS if quick else ROUNDS)
    segments = [each for one in rounds for it in one.values() for each in it]
    say(f"  {len(rounds)} rounds; {overlap(segments)} of {len(segments)} segments shared the cores with another")
    for kind, where in DESTINATIONS.items():
        report.figures += _figures(kind, where, rounds)
    report.figures += [_lingering(kind, rounds) for kind in ("empty", *DESTINATIONS)]
    report.series["rounds"] = [{kind: [asdict(each) for each in it] for kind, it in one.items()} for one in rounds]
    return report


def _figures(kind: str, where: str, rounds: list[Round]) -> list[Figure]:
    return [
        _ratio(f"{where}: worker seconds until the task's process ends", kind, rounds, _work, TARGETS[kind]),
        *(
            _ratio(f"{where}: … segment {number} alone", kind, [_only(number, one) for one in rounds], _work)
            for number in (1, 2)
        ),
        _of_means(f"{where}: CPU of the task's process", kind, rounds, _task_cpu),
        _of_means(f"{where}: CPU of the worker", kind, rounds, _worker_cpu),
        _of_means(f"{where}: worker seconds until the worker is free again", kind, rounds, _slot),
    ]


def _ratio(what: str, kind: str, rounds: list[Round], measure: Measure, target: str = "") -> Figure:
    """Compare round by round."""
    ours, empty = ([measure(one[name]) for one in rounds] for name in (kind, "empty"))
    detail = f"{statistics.median(ours) * 1e3:.0f} against {statistics.median(empty) * 1e3:.0f} ms"
    return Figure.of(what, [a / b for a, b in zip(ours, empty, strict=True)], target, detail=detail)


def _of_means(what: str, kind: str, rounds: list[Round], measure: Measure) -> Figure:
    """Compare the means: CPU is measured in steps of 10 ms, and a worker lingers 5 s or not at all."""
    ours, empty = (statistics.fmean(measure(one[name]) for one in rounds) for name in (kind, "empty"))
    return Figure(what, ours / empty, detail=f"{ours * 1e3:.0f} against {empty * 1e3:.0f} ms (means)")


def _lingering(kind: str, rounds: list[Round]) -> Figure:
    late = [segment.linger > LONG for one in rounds for segment in one[kind]]
    what = f"{DESTINATIONS.get(kind, 'empty')}: segments after which Airflow keeps the worker for another 5 s"
    return Figure(what, statistics.fmean(late), unit="of all", detail=f"{sum(late)} of {len(late)}")


def _only(number: int, one: Round) -> Round:
    return {kind: [segments[number - 1]] for kind, segments in one.items()}


def _work(segments: Iterable[Segment]) -> float:
    return sum(each.work for each in segments)


def _slot(segments: Iterable[Segment]) -> float:
    return sum(each.slot for each in segments)


def _task_cpu(segments: Iterable[Segment]) -> float:
    return sum(each.task_cpu for each in segments)


def _worker_cpu(segments: Iterable[Segment]) -> float:
    return sum(each.worker_cpu for each in segments)
