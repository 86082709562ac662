"""What processes use, and what triggers of one kind cost in total. Only reads; starts nothing."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psutil

EVERY = 5.0
"""Seconds between two polls of a trigger."""
BLOCKED = "async thread was blocked for "
"""The triggerer's warning when its event loop was blocked for too long, whatever the cause."""
ALLOWED = 0.2
"""Seconds that are not too long (Airflow's default)."""


@dataclass(frozen=True)
class Usage:
    """A snapshot of a process."""

    at: float
    cpu: float
    """CPU seconds since the process started."""
    memory: int
    """Bytes of resident memory; what a fork shares with its parent counts in both."""
    descriptors: int
    sockets: int
    """Connections to the given port."""


@dataclass(frozen=True)
class Window:
    """What processes used between two snapshots."""

    before: tuple[Usage, ...]
    after: tuple[Usage, ...]

    @property
    def seconds(self) -> float:
        """The time between them."""
        return self.after[0].at - self.before[0].at

    @property
    def cpus(self) -> list[float]:
        """CPU seconds of each process."""
        return [after.cpu - before.cpu for before, after in zip(self.before, self.after, strict=True)]


@dataclass(frozen=True)
class Blocked:
    """The event loop of all triggers was blocked."""

    at: float
    """When that ended."""
    seconds: float
    by_python: bool
    """Whether it was due to Python's garbage collection, which takes 0.2 s for Airflow's objects alone."""

    @classmethod
    def of(cls, line: str, collections: Sequence[tuple[float, float]]) -> Blocked:
        """Parse the triggerer's warning.

        :param line: a line of its log
        :param collections: when each garbage collection ended, and how many seconds it took
        """
        at = datetime.fromisoformat(line.split(maxsplit=1)[0]).timestamp()
        seconds = float(line.partition(BLOCKED)[2].split()[0])
        collecting = sum(took for end, took in collections if at - seconds <= end <= at + 0.05)
        return cls(at, seconds, seconds - collecting <= ALLOWED)


@dataclass(frozen=True)
class Found:
    """What triggers of one kind cost while all of them were polling."""

    kind: str
    count: int
    seconds: float
    polls: int
    started: float
    """Seconds that the triggerer needed to start them all."""
    polled_after: float
    """Seconds from the last start until all had polled."""
    supervisor: list[float]
    """Cores used, for each part."""
    runner: list[float]
    descriptors: list[int]
    memory: list[int]
    sockets: int
    look_ups: int
    lines: int
    blocked: int
    """How often the event loop of all triggers was blocked, not counting Python's garbage collection."""
    collected: int
    """How often garbage collection blocked it."""
    longest: float
    """Seconds."""
    blocked_before: int
    """How often it was blocked while the triggers were started, for any reason."""
    per_second: list[int]

    @property
    def cores(self) -> list[float]:
        """Cores used by both processes together."""
        return [sum(each) for each in zip(self.supervisor, self.runner, strict=True)]

    @property
    def core(self) -> float:
        """Their mean; the parts are equally long."""
        return sum(self.cores) / len(self.cores)

    @property
    def on_time(self) -> float:
        """Share of the due polls that were made."""
        return self.polls / (self.count * self.seconds / EVERY)

    @property
    def cpu_per_poll(self) -> float:
        """CPU seconds of both processes for each poll."""
        return self.core * self.seconds / max(self.polls, 1)

    @property
    def busiest(self) -> float:
        """Polls in the busiest second, relative to the mean."""
        return max(self.per_second) / (sum(self.per_second) / len(self.per_second) or 1)

    @property
    def shares(self) -> str:
        """Cores used by each process."""
        supervisor, runner = (sum(each) / len(each) for each in (self.supervisor, self.runner))
        return f"supervisor {supervisor:.3f}, runner {runner:.3f}"

    @property
    def open_files(self) -> str:
        """How many descriptors are open, and the limit."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"descriptors of {limit:,}: supervisor {self.descriptors[0]:,}, runner {self.descriptors[1]:,}"

    @property
    def stalls(self) -> str:
        """How often the event loop was blocked, and for how long."""
        return f"{self.collected} more when Python collected garbage; longest {self.longest:.2f} s"

    @property
    def troubles(self) -> str:
        """Everything else."""
        return (
            f"{self.look_ups:,} lookups, {self.lines / max(self.polls, 1):.2f} log lines a poll, "
            f"{self.sockets} sockets, {self.blocked} times blocked ({self.stalls}), "
            f"all polling {self.polled_after:.0f} s after the last start"
        )


def look(processes: Sequence[psutil.Process], port: int = 0) -> tuple[Usage, ...]:
    """Return a snapshot of each process."""
    return tuple(_look(each, port) for each in processes)


def watch(processes: Sequence[psutil.Process], seconds: float, port: int = 0) -> Window:
    """Take snapshots of each process now and after some seconds."""
    before = look(processes, port)
    time.sleep(seconds)
    return Window(before, look(processes, port))


def _look(process: psutil.Process, port: int) -> Usage:
    times = process.cpu_times()
    connections = process.net_connections("tcp") if port else []
    sockets = sum(bool(each.raddr) and each.raddr.port == port for each in connections)
    return Usage(time.monotonic(), times.user + times.system, process.memory_info().rss, process.num_fds(), sockets)
