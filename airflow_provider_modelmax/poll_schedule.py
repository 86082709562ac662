"""When to poll a job again, judged by how long other jobs of its model took. No I/O; the time is an argument.

Backing off with a job's age would be wrong: most calls would fall when no job is ever over, and the last one would come
late. The statistics here save calls while an end is unlikely, and poll at each interval when it is not.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import deque
from collections.abc import Sequence

MAX_INTERVALS = 4
"""Intervals between two calls at most: a job that ends sooner than any before it is noticed that late."""

RISK = 0.07
"""Chance that a job is over during a pause, times the root of the pause in intervals (`make bench BENCH=schedule`)."""

_CHOICES = [(quarters / 4, (quarters / 4) ** 0.5) for quarters in range(4 * MAX_INTERVALS, 4, -1)]

MAX_REMEMBERED = 200
"""Jobs of a model that are remembered: with more, it takes longer to notice that the service has become faster."""


def pause(interval: float, age: float, ends: Sequence[float]) -> float:
    """Return how many seconds to wait until the next poll: one interval, or up to ``MAX_INTERVALS``.

    :param interval: seconds; never less than this
    :param age: of the job, in seconds
    :param ends: at which age other jobs were last seen running, sorted; where they are few, or all were over sooner,
        the answer is one interval
    """
    if not ends:
        return interval
    begin = bisect_left(ends, age)
    running = len(ends) - begin + 1  # and one that nobody has seen yet, which is over just then
    for intervals, root in _CHOICES:
        over = bisect_left(ends, age + intervals * interval) - begin + 1
        if over * root <= RISK * running:
            return intervals * interval
    return interval


def next_due(due: float, asked: float, pause: float, interval: float) -> float:
    """Return when the next call is due: ``pause`` after the last one was, whatever the answer to that one took.

    After a long silence it is a whole number of intervals later: otherwise all jobs that waited for one slow answer
    would be polled at the same moments from then on.

    :param due: when the last call was due
    :param asked: when its answer was there
    :param pause: seconds until the next, counted from there
    :param interval: seconds
    """
    return due + pause + round((asked - due) / interval) * interval


class DurationStats:
    """The last durations of something, in seconds."""

    def __init__(self) -> None:
        self.sorted: list[float] = []
        self._order: deque[float] = deque()

    def add(self, seconds: float) -> None:
        """Remember one more; the oldest is forgotten."""
        self._order.append(seconds)
        insort(self.sorted, seconds)
        if len(self._order) > MAX_REMEMBERED:
            del self.sorted[bisect_left(self.sorted, self._order.popleft())]

    @property
    def spread(self) -> float:
        """Seconds between the shortest and the longest."""
        return self.sorted[-1] - self.sorted[0] if self.sorted else float("inf")


class ModelStats:
    """How long the jobs of one model took, in all and after they left the queue, as this process has seen it."""

    def __init__(self) -> None:
        self.whole = DurationStats()
        self.running = DurationStats()

    def pause(self, interval: float, *, age: float | None, running: float | None, in_queue: bool) -> float:
        """Return how many seconds to wait until the next poll.

        :param interval: seconds; never less than this
        :param age: seconds since the job was submitted, None where that is not known
        :param running: seconds since it left the queue, None where nobody saw it leave
        :param in_queue: whether it still waits there
        """
        clock, at = self.whole, age
        if running is not None and (at is None or self.running.spread < clock.spread):
            clock, at = self.running, running
        known = interval if at is None else pause(interval, at, clock.sorted)
        return max(known, pause(interval, 0.0, self.running.sorted)) if in_queue else known

    def add(self, *, age: float | None, running: float | None) -> None:
        """Remember a job that is over.

        :param age: seconds from its submission until it was last seen not over, None where that is not known
        :param running: the same, from when it left the queue
        """
        for durations, seconds in ((self.whole, age), (self.running, running)):
            if seconds is not None:
                durations.add(seconds)
