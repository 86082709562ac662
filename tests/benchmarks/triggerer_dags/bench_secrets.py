"""Counts the lookups that reach the triggerer's supervisor, and records long garbage collections of Python.

It has no connections itself. The runner passes its lookups on to the supervisor, as it does without this file; there
each one is recorded, and the connection then comes from the metadata database.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from airflow.secrets import BaseSecretsBackend

LONG = 0.05
"""Seconds. The triggerer warns when its event loop was blocked for 0.2 s, whatever the cause."""
_began = 0.0


class CountingBackend(BaseSecretsBackend):
    """The first secrets backend of every process."""

    def get_connection(self, conn_id: str, team_name: str | None = None) -> None:
        if _is_supervisor():
            _note("BENCH_LOOK_UPS", conn_id)

    async def aget_connection(self, conn_id: str) -> None:
        """Return nothing: in the runner the next backend asks the supervisor."""

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        """Return nothing."""

    def get_config(self, key: str) -> None:
        """Return nothing."""


def _collection(phase: str, _: dict[str, Any]) -> None:
    global _began  # noqa: PLW0603 - one collection at a time
    if phase == "start":
        _began = time.time()
    elif (seconds := time.time() - _began) > LONG and not _is_supervisor():
        _note("BENCH_COLLECTIONS", f"{_began + seconds} {seconds}")


def _is_supervisor() -> bool:
    return os.environ.get("_AIRFLOW_PROCESS_CONTEXT") == "server"


def _note(variable: str, line: str) -> None:
    if variable in os.environ:
        with open(os.environ[variable], "a") as file:  # noqa: PTH123 - appended to by one write
            file.write(f"{line}\n")


gc.callbacks.append(_collection)
