"""Which processes execute a task right now. Reads process titles, so it needs Linux."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterable


def of(scheduler: Iterable[psutil.Process], instance: str) -> list[psutil.Process]:
    """Return those that execute one task instance: the supervisor, the task runner and what the task started.

    The LocalExecutor's process takes the id of the task instance as its title before it does anything
    for it, and is called idle again when all is done; the task runner inherits that title and later sets
    its own with the same id.
    """
    return _with_children(process for process in scheduler if instance in _title(process))


def busy(scheduler: Iterable[psutil.Process]) -> list[psutil.Process]:
    """Return those that execute any task."""
    titles = ((process, _title(process)) for process in scheduler)
    return _with_children(p for p, title in titles if "airflow worker" in title and "<idle>" not in title)


def _title(process: psutil.Process) -> str:
    with contextlib.suppress(psutil.Error):
        return " ".join(process.cmdline())
    return ""


def _with_children(processes: Iterable[psutil.Process]) -> list[psutil.Process]:
    found = {process.pid: process for process in processes}
    for process in list(found.values()):
        with contextlib.suppress(psutil.Error):
            found.update((child.pid, child) for child in process.children(recursive=True))
    return [found[pid] for pid in sorted(found)]
