"""What each segment of a task costs a worker, observed from outside: time and CPU. Needs Linux.

A process of the LocalExecutor has the id of a task instance in its title while it works for it. It starts one
child, which executes the task, and often notices only 5 s later that the child has ended (Airflow 3.3.2: it waits for
the sockets of the child, and checks for its exit a moment too early).
"""

from __future__ import annotations

import contextlib
import os
import re
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psutil

PAUSE = 0.004
"""Seconds between two checks of a worker."""
TICK = os.sysconf("SC_CLK_TCK")
_INSTANCE = re.compile(rb"[0-9a-f]{8}-[0-9a-f-]{27}")


@dataclass(frozen=True)
class Segment:
    """One segment of a task: until it defers, or after it resumes. All in seconds."""

    begin: float
    """When the worker takes it (monotonic clock)."""
    work: float
    """From then until the process that executes it ends."""
    linger: float
    """From then until the worker is free."""
    task_cpu: float
    """CPU of the process that executes it."""
    worker_cpu: float
    """CPU of the worker, which passes its calls on to the API server."""

    @property
    def slot(self) -> float:
        """How long the worker was occupied."""
        return self.work + self.linger


@dataclass
class Workers:
    """The processes of a LocalExecutor, each watched by a thread."""

    pids: Sequence[int]
    seen: dict[str, list[Segment]] = field(default_factory=dict)
    """The segments of each task instance."""
    _over: threading.Event = field(default_factory=threading.Event)

    @classmethod
    def of(cls, scheduler: Sequence[psutil.Process]) -> Workers:
        """Find them among the child processes of a scheduler."""
        return cls([each.pid for each in scheduler if "LocalExecutor" in " ".join(each.cmdline())])

    @contextlib.contextmanager
    def watched(self) -> Iterator[Workers]:
        """Watch until the block ends."""
        threads = [threading.Thread(target=self._watch, args=(pid,), daemon=True) for pid in self.pids]
        for each in threads:
            each.start()
        try:
            yield self
        finally:
            self._over.set()
            for each in threads:
                each.join()

    def idle(self) -> bool:
        """Return whether no worker is busy."""
        return not any(map(_instance, self.pids))

    def _watch(self, pid: int) -> None:
        while not self._over.is_set():
            before = _cpu(pid)
            if not (instance := _instance(pid)):
                time.sleep(PAUSE)
                continue
            begin = time.monotonic()
            ended = self._until_ended(pid, instance)
            while _instance(pid) == instance and not self._over.is_set():
                time.sleep(PAUSE)
            own, task = (after - first for after, first in zip(_cpu(pid), before, strict=True))
            segment = Segment(begin, ended - begin, time.monotonic() - ended, task, own)
            self.seen.setdefault(instance, []).append(segment)

    def _until_ended(self, pid: int, instance: str) -> float:
        """Return when the child of a worker has started and ended."""
        child = 0
        while _instance(pid) == instance and not self._over.is_set():
            child = child or _child(pid)
            if child and not _lives(child):
                break
            time.sleep(PAUSE)
        return time.monotonic()


def overlap(segments: Sequence[Segment]) -> int:
    """Count those that started or ended while another was running: they shared the cores with it."""
    spans = sorted((each.begin, each.begin + each.work) for each in segments)
    shared = set()
    for at, (_, end) in enumerate(spans):
        for other in range(at + 1, len(spans)):
            if spans[other][0] >= end:
                break
            shared |= {at, other}
    return len(shared)


def _instance(pid: int) -> str:
    found = _INSTANCE.search(Path(f"/proc/{pid}/cmdline").read_bytes())
    return found[0].decode() if found else ""


def _child(pid: int) -> int:
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return int(children[0]) if children else 0


def _lives(pid: int) -> bool:
    """Return whether a process is alive; a zombie is not."""
    try:
        return _stat(pid)[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _cpu(pid: int) -> tuple[float, float]:
    """Return the CPU seconds of a process, and of its children that have ended."""
    user, system, child_user, child_system = map(int, _stat(pid)[11:15])
    return (user + system) / TICK, (child_user + child_system) / TICK


def _stat(pid: int) -> list[str]:
    """Return the fields of `stat` after the name, which can contain anything: state, parent …"""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
