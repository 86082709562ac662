"""What processes use, and what waits of one kind cost in all. Reads, and starts nothing."""

from __future__ import annotations

import resource
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

import psutil

EVERY = 5.0
"""Seconds between two polls of a wait."""
BLOCKED = "async thread was blocked for "
"""What the triggerer says when its loop stood still for too long, whoever it was that stopped it."""
ALLOWED = 0.2
"""Seconds for which it may (Airflow's default)."""


@dataclass(frozen=True)
class Usage:
    """One look at a process."""

    at: float
    cpu: float
    """Seconds, since the process began."""
    memory: int
    """Bytes of real memory; what a fork shares with its parent counts in both."""
    descriptors: int
    sockets: int
    """Connections to the port that was asked about."""


@dataclass(frozen=True)
class Window:
    """What processes used between two looks at each."""

    before: tuple[Usage, ...]
    after: tuple[Usage, ...]

    @property
    def seconds(self) -> float:
        """How long it was."""
        return self.after[0].at - self.before[0].at

    @property
    def cpus(self) -> list[float]:
        """CPU seconds of each process."""
        return [after.cpu - before.cpu for before, after in zip(self.before, self.after, strict=True)]


@dataclass(frozen=True)
class Blocked:
    """The loop of all triggers stood still."""

    at: float
    """Its end."""
    seconds: float
    by_python: bool
    """Whether it had not, if Python had not collected garbage: that takes 0.2 s for the objects of Airflow alone."""

    @classmethod
    def of(cls, line: str, collections: Sequence[tuple[float, float]]) -> Blocked:
        """Read what the triggerer says.

        :param line: of its log
        :param collections: when each ended, and for how many seconds it took
        """
        at = datetime.fromisoformat(line.split(maxsplit=1)[0]).timestamp()
        seconds = float(line.partition(BLOCKED)[2].split()[0])
        collecting = sum(took for end, took in collections if at - seconds <= end <= at + 0.05)
        return cls(at, seconds, seconds - collecting <= ALLOWED)


@dataclass(frozen=True)
class Found:
    """What waits of one kind cost while all of them were at work."""

    kind: str
    count: int
    seconds: float
    polls: int
    started: float
    """Seconds in which the triggerer started them all."""
    polled_after: float
    """Seconds from the last one's start until all had polled."""
    supervisor: list[float]
    """Core shares, one of each part."""
    runner: list[float]
    descriptors: list[int]
    memory: list[int]
    sockets: int
    look_ups: int
    lines: int
    blocked: int
    """How often the loop of all triggers stood still; in which Python's garbage collection is not counted."""
    collected: int
    """How often it stood still because of that."""
    longest: float
    """Seconds."""
    blocked_before: int
    """How often while the triggers were started, for whatever reason."""
    per_second: list[int]

    @property
    def cores(self) -> list[float]:
        """Core shares of both processes together."""
        return [sum(each) for each in zip(self.supervisor, self.runner, strict=True)]

    @property
    def core(self) -> float:
        """Their mean: the parts are of equal length."""
        return sum(self.cores) / len(self.cores)

    @property
    def on_time(self) -> float:
        """Polls made of those due."""
        return self.polls / (self.count * self.seconds / EVERY)

    @property
    def cpu_per_poll(self) -> float:
        """CPU seconds of both processes for each poll."""
        return self.core * self.seconds / max(self.polls, 1)

    @property
    def busiest(self) -> float:
        """Polls of the busiest second over the mean of all."""
        return max(self.per_second) / (sum(self.per_second) / len(self.per_second) or 1)

    @property
    def shares(self) -> str:
        """Who took how much of a core."""
        supervisor, runner = (sum(each) / len(each) for each in (self.supervisor, self.runner))
        return f"supervisor {supervisor:.3f}, runner {runner:.3f}"

    @property
    def open_files(self) -> str:
        """How many descriptors are open, and how many may be."""
        limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
        return f"descriptors of {limit:,}: supervisor {self.descriptors[0]:,}, runner {self.descriptors[1]:,}"

    @property
    def stalls(self) -> str:
        """How often the loop stood still, and for how long."""
        return f"{self.collected} more when Python collected garbage; longest {self.longest:.2f} s"

    @property
    def troubles(self) -> str:
        """What there was besides."""
        return (
            f"{self.look_ups:,} lookups, {self.lines / max(self.polls, 1):.2f} log lines a poll, "
            f"{self.sockets} sockets, {self.blocked} times blocked ({self.stalls}), "
            f"all polling {self.polled_after:.0f} s after the last start"
        )


def look(processes: Sequence[psutil.Process], port: int = 0) -> tuple[Usage, ...]:
    """Look at each process once."""
    return tuple(_look(each, port) for each in processes)


def watch(processes: Sequence[psutil.Process], seconds: float, port: int = 0) -> Window:
    """Look at each process now and after some seconds."""
    before = look(processes, port)
    time.sleep(seconds)
    return Window(before, look(processes, port))


def _look(process: psutil.Process, port: int) -> Usage:
    times = process.cpu_times()
    connections = process.net_connections("tcp") if port else []
    sockets = sum(bool(each.raddr) and each.raddr.port == port for each in connections)
    return Usage(time.monotonic(), times.user + times.system, process.memory_info().rss, process.num_fds(), sockets)
