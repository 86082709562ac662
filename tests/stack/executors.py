"""The two executors: processes of the scheduler, or Celery workers. Describes their differences; starts nothing."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

import redis

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from pathlib import Path

    from tests.stack.postgres import Database

BROKER = "redis://127.0.0.1:6379/0"


class Executor(Protocol):
    """An executor."""

    name: str

    def settings(self, database: Database) -> dict[str, str]:
        """Return the settings that it needs besides those of the stack."""

    def workers(self, home: Path) -> Mapping[str, list[str]]:
        """Return the `airflow` command of each worker, by the name of its service."""


@dataclass(frozen=True)
class LocalExecutor:
    """The scheduler runs tasks in its own child processes."""

    name: str = "LocalExecutor"

    def settings(self, database: Database) -> dict[str, str]:
        """Return no settings."""
        return {}

    def workers(self, home: Path) -> Mapping[str, list[str]]:
        """Return no commands."""
        return {}


@dataclass(frozen=True)
class CeleryExecutor:
    """Workers take tasks from this run's own queue, in a Redis that others may use, too."""

    broker: str
    count: int = 2
    name: str = "CeleryExecutor"
    queue: str = field(default_factory=lambda: f"modelmax-{uuid.uuid4().hex[:12]}")

    def settings(self, database: Database) -> dict[str, str]:
        """Return the broker, the queue and the result database."""
        return {
            "AIRFLOW__CORE__EXECUTOR": self.name,
            "AIRFLOW__CELERY__BROKER_URL": self.broker,
            "AIRFLOW__CELERY__RESULT_BACKEND": f"db+{database.url}",
            "AIRFLOW__CELERY__WORKER_CONCURRENCY": "3",
            # So that two workers on one machine may have the same name.
            "AIRFLOW__CELERY__WORKER_ENABLE_REMOTE_CONTROL": "False",
            # The default of one second is too short for a busy machine.
            "AIRFLOW__CELERY__OPERATION_TIMEOUT": "10",
            "AIRFLOW__OPERATORS__DEFAULT_QUEUE": self.queue,
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__GLOBAL_KEYPREFIX": f"{self.queue}:",
            "AIRFLOW__CELERY_BROKER_TRANSPORT_OPTIONS__VISIBILITY_TIMEOUT": "3600",
        }

    def workers(self, home: Path) -> Mapping[str, list[str]]:
        """Return the commands of the workers; the api-server reads their logs from the common folder."""
        return {name: self._command(home, name) for name in (f"worker-{n}" for n in range(1, self.count + 1))}

    def _command(self, home: Path, name: str) -> list[str]:
        # No --celery-hostname: with it a worker of Airflow 3.1 may receive tasks and run none (apache/airflow#59707).
        options = ["--queues", self.queue, "--pid", str(home / "processes" / f"{name}.pid")]
        return ["celery", "worker", *options, "--skip-serve-logs", "--without-gossip", "--without-mingle"]


@contextlib.contextmanager
def celery() -> Iterator[CeleryExecutor | None]:
    """Yield a queue for one run and remove it afterwards; None if there is no Redis.

    `MODELMAX_TEST_REDIS` is the server.
    """
    with redis.Redis.from_url(os.environ.get("MODELMAX_TEST_REDIS", BROKER), socket_connect_timeout=3) as server:
        if not _answers(server):
            yield None
            return
        executor = CeleryExecutor(os.environ.get("MODELMAX_TEST_REDIS", BROKER))
        try:
            yield executor
        finally:
            for key in server.scan_iter(f"{executor.queue}:*"):
                server.delete(key)


def _answers(server: redis.Redis) -> bool:
    try:
        return bool(server.ping())
    except redis.RedisError:
        return False
