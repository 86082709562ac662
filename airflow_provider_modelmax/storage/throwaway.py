"""Throw-away names of the write check, by which the next check recognizes what a killed one has left."""

from __future__ import annotations

import hashlib
import os
import re
import uuid
from functools import lru_cache

from airflow_provider_modelmax.processes import is_running, machine

PREFIX = ".modelmax-check-"

ABANDONED_AFTER = 3600.0
"""Seconds. Whether a process on another machine still runs is not known; a check takes a few seconds."""

_NAME = re.compile(rf"{re.escape(PREFIX)}([0-9a-f]{{8}})-([0-9]+)-[0-9a-f]{{8}}")


def new_name(length: int = 0) -> str:
    """Return a unique name.

    :param length: how long it is at least, in bytes: a file system may refuse long names
    """
    return f"{PREFIX}{_machine()}-{os.getpid()}-{uuid.uuid4().hex[:8]}".ljust(length, "x")


def stem(name: str) -> str:
    """Return the common prefix of all names of one check, or an empty text if ``name`` is not one of a check."""
    found = _NAME.match(name)
    return found[0] if found else ""


def is_abandoned(name: str, age: float) -> bool:
    """Return whether the check that made this name has ended without removing it.

    :param age: seconds since the name was made, by the clock of the store
    """
    found = _NAME.match(name)
    if not found:
        return False
    return age > ABANDONED_AFTER or (found[1] == _machine() and not is_running(int(found[2])))


@lru_cache
def _machine() -> str:
    """Return a short name for this machine and container."""
    return hashlib.sha256(machine().encode()).hexdigest()[:8]
