"""How many status calls a job needs, and how late its end is noticed: simulates `poll_schedule`, without a service."""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable
from dataclasses import dataclass

from airflow_provider_modelmax import poll_schedule
from tests.benchmarks.report import Figure, Report, Say

INTERVAL = 5.0
AGED = 1.5
"""Seconds from the submission until a trigger could poll first."""

Schedule = Callable[[float, poll_schedule.DurationStats], float]
"""Returns the pause after a call at this age of the job."""

DISTRIBUTIONS: dict[str, Callable[[random.Random], float]] = {
    "uniform 60-180 s": lambda chance: chance.uniform(60, 180),
    "lognormal, median 100 s": lambda chance: 100 * chance.lognormvariate(0, 0.3),
    "bimodal 75/150 s": lambda chance: chance.gauss(75, 7) if chance.random() < 0.7 else chance.gauss(150, 12),
}


@dataclass(frozen=True)
class Cost:
    """The cost of a schedule, per job.

    :param calls: status calls
    :param delay: seconds from the end of a job until it is noticed
    :param latest: the longest such delay
    """

    calls: float
    delay: float
    latest: float

    def against(self, other: Cost) -> float:
        """Return our calls for each of another's at the same delay: half the calls mean twice the delay."""
        return self.calls * self.delay / (other.calls * other.delay)


def every_interval(_age: float, _seen: poll_schedule.DurationStats) -> float:
    """Poll at each interval from the start."""
    return INTERVAL


def learned(age: float, seen: poll_schedule.DurationStats) -> float:
    """Poll like the trigger."""
    return poll_schedule.pause(INTERVAL, age, seen.sorted)


def in_proportion(factor: float) -> Schedule:
    """Back off: pause for a share of the job's age."""
    return lambda age, _seen: max(factor * age, 1.0)


def simulate(duration: Callable[[random.Random], float], schedule: Schedule, *, seed: int, jobs: range) -> Cost:
    """Wait for one job after the other, and return the cost of those in ``jobs``."""
    chance, seen = random.Random(seed), poll_schedule.DurationStats()
    calls, delays = [], []
    for number in range(jobs.stop):
        end, asked, before = duration(chance), 0, AGED
        age = AGED + schedule(AGED, seen) - chance.uniform(0, INTERVAL)  # the trigger spreads its start the same way
        while True:
            asked += 1
            if age >= end:
                break
            before, age = age, age + schedule(age, seen)
        seen.add(before)
        if number in jobs:
            calls.append(asked)
            delays.append(age - end)
    return Cost(statistics.mean(calls), statistics.mean(delays), max(delays))


def run(quick: bool, say: Say) -> Report:
    """Simulate each distribution with several seeds."""
    seeds, many = range(3 if quick else 7), 2_000 if quick else 6_000
    report = Report("schedule", "status calls per job at equal mean delay, against one every 5 s (simulated)")
    for name, duration in DISTRIBUTIONS.items():
        say(f"  {name}")
        later, first = range(200, many), range(50)
        plain = [simulate(duration, every_interval, seed=seed, jobs=later) for seed in seeds]
        ours = [simulate(duration, learned, seed=seed, jobs=later) for seed in seeds]
        begin = [simulate(duration, learned, seed=seed, jobs=first) for seed in range(40)]
        back_off = simulate(duration, in_proportion(0.04), seed=0, jobs=later)
        report.figures += _figures(name, plain, ours, begin)
        report.figures.append(Figure(f"{name}: pauses in proportion to the age", back_off.against(plain[0])))
        report.series[name] = {
            "every 5 s": _mean(plain),
            "learned, the first 50 jobs": _mean(begin),
            "learned, from the 200th on": _mean(ours),
            "in proportion to the age": {"calls": back_off.calls, "delay": back_off.delay},
        }
    report.figures.append(_surprise())
    return report


def _figures(name: str, plain: list[Cost], ours: list[Cost], begin: list[Cost]) -> list[Figure]:
    after = [our.against(each) for our, each in zip(ours, plain, strict=True)]
    learning = statistics.mean(each.against(plain[0]) for each in begin)
    detail = f"{_calls(ours)} against {_calls(plain)}"
    return [
        Figure.of(f"{name}: learned, from the 200th job on", after, "≤ 0.65", detail=detail),
        Figure(f"{name}: while it learns, the first 50 jobs", learning, detail=_calls(begin)),
        Figure(f"{name}: worst delay", max(each.latest for each in ours) / INTERVAL, "≤ 4", "intervals"),
    ]


def _surprise() -> Figure:
    """Let 200 jobs end after 100 s, and one at any time before."""
    seen = poll_schedule.DurationStats()
    for number in range(poll_schedule.MAX_REMEMBERED):
        seen.add(100 + number / 100)
    worst = 0.0
    for end in range(2, 100):
        age = AGED
        while age < end:
            age += learned(age, seen)
        worst = max(worst, age - end)
    return Figure("worst delay when a job ends sooner than any before", worst / INTERVAL, "≤ 4", "intervals")


def _mean(costs: list[Cost]) -> dict[str, float]:
    return {
        "calls": statistics.mean(each.calls for each in costs),
        "delay": statistics.mean(each.delay for each in costs),
    }


def _calls(costs: list[Cost]) -> str:
    mean = _mean(costs)
    return f"{mean['calls']:.1f} calls, {mean['delay']:.2f} s late"
