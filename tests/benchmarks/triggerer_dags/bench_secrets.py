"""Counts the lookups that reach the triggerer's supervisor, and notes when Python collects garbage for long.

It knows no connection itself. The runner's lookups are passed on to the supervisor, as without this file; there each
leaves a line, and the connection then comes from the metadata database.
"""

from __future__ import annotations

import gc
import os
import time
from typing import Any

from airflow.secrets import BaseSecretsBackend

LONG = 0.05
"""Seconds. The triggerer complains when its loop stood still for 0.2 s, whoever it was that stopped it."""
_began = 0.0


class CountingBackend(BaseSecretsBackend):
    """The first of the secrets backends, in every process."""

    def get_connection(self, conn_id: str, team_name: str | None = None) -> None:
        if _is_supervisor():
            _note("BENCH_LOOK_UPS", conn_id)

    async def aget_connection(self, conn_id: str) -> None:
        """Say nothing: in the runner the next backend asks the supervisor."""

    def get_variable(self, key: str, team_name: str | None = None) -> None:
        """Know none."""

    def get_config(self, key: str) -> None:
        """Know none."""


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
