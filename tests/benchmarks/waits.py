"""Thousands of deferred tasks in the real `airflow triggerer`, which polls a real server. Measures nothing.

Only the triggerer runs: the deferred tasks are inserted into the metadata database before it starts.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sys
import tempfile
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.call_server import CallServer
from tests.benchmarks.report import Say
from tests.benchmarks.usage import BLOCKED, Blocked
from tests.stack.airflow_settings import settings
from tests.stack.airflow_stack import AIRFLOW
from tests.stack.postgres import Database, database
from tests.stack.processes import PROJECT, Service, child_environment, free_port, running, wait_until

DAGS = Path(__file__).parent / "triggerer_dags"
MANY = 1000
"""The default capacity of a triggerer."""
KEY = "sk-bench-key-one"


@contextlib.contextmanager
def stage(say: Say) -> Iterator[Stage]:
    """Prepare the server and a database with the DAG and the connections, and remove them in the end."""
    home = Path(tempfile.mkdtemp(prefix="modelmax-bench-"))
    try:
        with database(home) as metadata, CallServer(home) as server:
            prepared = Stage(home, metadata, server, say)
            prepared.command("migrate", "db", "migrate")
            prepared.command("reserialize", "dags", "reserialize")
            prepared.connect(KEY)
            say(f"  database ({metadata.kind}) and server are ready")
            yield prepared
    finally:
        shutil.rmtree(home, ignore_errors=True)


@dataclass
class Stage:
    """Starts triggerers, one after the other."""

    home: Path
    database: Database
    server: CallServer
    say: Say

    def __post_init__(self) -> None:
        """Set the environment for all of Airflow."""
        self.looked_up, self.collected = self.home / "lookups", self.home / "collections"
        own = {
            "PYTHONPATH": os.pathsep.join([str(PROJECT), str(DAGS)]),
            "SSL_CERT_FILE": str(self.server.ca),  # the peers support nothing else
            "BENCH_LOOK_UPS": str(self.looked_up),
            "BENCH_COLLECTIONS": str(self.collected),
            "AIRFLOW__SECRETS__BACKEND": "bench_secrets.CountingBackend",
        }
        airflow = settings(self.home, {"dags": DAGS}, self.database, free_port())
        self.environment = child_environment({**airflow, **own})

    def command(self, name: str, *arguments: str) -> None:
        """Run an `airflow` command."""
        self._run(self._service(name, [*AIRFLOW, *arguments]))

    def connect(self, key: str) -> None:
        """Write the connections, like an administrator who changes a key."""
        address = {"host": "127.0.0.1", "port": self.server.port}
        extra = json.dumps({"verify": str(self.server.ca)})
        connections: dict[str, dict[str, Any]] = {
            "bench_modelmax": {"conn_type": "modelmax", "host": self.server.url, "password": key, "extra": extra},
            "bench_dbt": {"conn_type": "dbt_cloud", "host": f"127.0.0.1:{self.server.port}", "password": key},
            "bench_http": {"conn_type": "http", "schema": "https", **address},
        }
        file = self.home / "connections.json"
        file.write_text(json.dumps(connections))
        self.command("connections", "connections", "import", "--overwrite", str(file))

    @contextlib.contextmanager
    def waiting(self, kind: str, count: int) -> Iterator[Crowd]:
        """Start a triggerer with this many triggers, and yield when all of them are polling."""
        run_id = f"{kind}-{count}-{uuid.uuid4().hex[:6]}"
        for file in (self.looked_up, self.collected):
            file.write_text("")
        put = [sys.executable, str(DAGS / "put_waits.py"), kind, str(count), run_id]
        self._run(self._service("put", put))
        service = self._service(f"triggerer-{run_id}", [*AIRFLOW, "triggerer", "--skip-serve-logs"])
        service.environment["AIRFLOW__TRIGGERER__CAPACITY"] = str(2 * count)  # a full triggerer logs that every second
        if (
            count > MANY
        ):  # the default leaves some to other triggerers; here there are none, and 10,000 would take minutes
            service.environment["AIRFLOW__TRIGGERER__MAX_TRIGGER_TO_SELECT_PER_LOOP"] = "200"
        try:
            with running(service):
                crowd = Crowd(self, service, kind, count)
                crowd.until_at_work()
                yield crowd
        finally:
            shutil.rmtree(self.home / "logs", ignore_errors=True)

    def states(self) -> dict[str, int]:
        """Count the task instances by state."""
        query = "SELECT state, COUNT(*) AS number FROM task_instance WHERE task_id = 'wait' GROUP BY state"
        return {row["state"]: row["number"] for row in self.database.rows(query)}

    def _service(self, name: str, command: list[str]) -> Service:
        return Service(name, command, self.environment, self.home / "processes" / f"{name}.log")

    @staticmethod
    def _run(service: Service) -> None:
        if service.run():
            raise RuntimeError(f"{service.name} failed\n{service.tail()}")


@dataclass
class Crowd:
    """Triggers of one kind in a running triggerer."""

    stage: Stage
    service: Service
    kind: str
    count: int
    since: float = field(default_factory=time.time)

    def until_at_work(self) -> None:
        """Wait until each has polled (idle ones: has started). Peers may never get that far."""

        def at_work() -> bool:
            self.service.check()
            return len(self.logs()) >= self.count and (self.kind == "idle" or len(self.first_polls()) >= self.count)

        try:
            wait_until(
                at_work, 90 + self.count / 20, f"{self.count} triggers of {self.kind} polling", self.service.tail
            )
            self.stage.say(f"  {self.count:,} triggers of {self.kind} are polling ({time.time() - self.since:.0f} s)")
        except TimeoutError:
            if self.kind == "modelmax":
                raise
            self.stage.say(f"  {len(self.first_polls()):,} of {self.count:,} triggers of {self.kind} have polled")

    @property
    def processes(self) -> list[psutil.Process]:
        """The supervisor, and the runner that it started, which has the event loop of all triggers."""
        supervisor = psutil.Process(self.service.popen.pid if self.service.popen else -1)
        return [supervisor, *supervisor.children()]

    def calls(self, since: float, until: float) -> Any:
        """The calls that the server got in that time."""
        return self.stage.server.ask("between", since=since, until=until)

    def first_polls(self) -> dict[str, float]:
        """When each trigger polled first, whatever the answer."""
        return dict(self.stage.server.ask("firsts", since=self.since))

    def logs(self) -> list[Path]:
        """The log files of the triggers."""
        return list((self.stage.home / "logs").rglob("*.trigger.*.log"))

    def last_start(self) -> float:
        """When the last trigger was started."""
        first_lines = (_first_line(file) for file in self.logs())
        return max(datetime.fromisoformat(json.loads(line)["timestamp"]).timestamp() for line in first_lines if line)

    def lines(self) -> int:
        """The number of lines in the logs of the triggers and of the triggerer."""
        return sum(file.read_bytes().count(b"\n") for file in [*self.logs(), self.service.log])

    def blocked(self, since: float = 0) -> list[Blocked]:
        """When the event loop of all triggers was blocked, according to the triggerer's log."""
        lines = self.stage.collected.read_text().splitlines()
        collections = [(float(end), float(seconds)) for end, seconds in map(str.split, lines)]
        text = self.service.log.read_text(errors="replace")
        found = (Blocked.of(line, collections) for line in text.splitlines() if BLOCKED in line)
        return [each for each in found if each.at >= since]

    def look_ups(self) -> int:
        """How often a connection was looked up since the triggerer started."""
        return len(self.stage.looked_up.read_text().split())


def _first_line(file: Path) -> str:
    with file.open() as opened:
        return opened.readline()
