"""This machine, and whether a process of it still runs: who has left what, and whether it is still at work."""

from __future__ import annotations

import contextlib
import os
import socket
from functools import lru_cache
from pathlib import Path


@lru_cache
def machine() -> str:
    """Return machine and container: a process id is unique in these only.

    The host name is not enough, as two machines can share it; neither is the namespace, which is the same outside of
    containers.
    """
    boot = container = ""
    with contextlib.suppress(OSError):  # not Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    return " ".join(filter(None, (socket.gethostname(), boot, container)))


def is_running(pid: int) -> bool:
    """Return whether a process of this machine runs; True if that cannot be found out."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except (PermissionError, OverflowError):
        return True
    return True
