"""Who makes a billing call, so that another process can tell whether that one still lives."""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

from airflow_provider_modelmax.progress import Progress

_asking: set[str] = set()
"""Those of this process that are at it."""


@contextlib.contextmanager
def asker() -> Iterator[str]:
    """Yield a name for one who asks; it lives as long as the block does."""
    name = f"{_place()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    _asking.add(name)
    try:
        yield name
    finally:
        _asking.discard(name)


def is_asking(progress: Progress) -> bool:
    """Say whether the billing call of ``progress`` may still be under way. Of other machines we know the time only."""
    if not progress.asker or time.time() >= progress.busy_until:
        return False
    place, pid, _ = progress.asker.rsplit(":", 2)
    if place != _place():
        return True
    return progress.asker in _asking if int(pid) == os.getpid() else _lives(int(pid))


def _place() -> str:
    """Return machine and container: in another one the same number is another process.

    Two machines can have one name, and outside of containers all have the same number of the name space.
    """
    boot = container = ""
    with contextlib.suppress(OSError):  # not Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    return " ".join(filter(None, (socket.gethostname(), boot, container)))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
