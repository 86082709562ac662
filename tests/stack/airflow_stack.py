"""A whole Airflow on this machine: migrated database, api-server, scheduler, dag-processor, triggerers, workers.

Each component is an `airflow` command in its own process, as in production; settings come only from the
environment, so that no file of the user is read or written outside `home`.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

from tests.stack import workers
from tests.stack.airflow_settings import settings
from tests.stack.client import AirflowClient
from tests.stack.executors import LocalExecutor
from tests.stack.processes import Service, child_environment, free_port, stop, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path
    from types import TracebackType

    import psutil
    from typing_extensions import Self

    from tests.stack.executors import Executor
    from tests.stack.postgres import Database

COMPONENTS = ("api-server", "scheduler", "dag-processor", "triggerer")
JOB_TYPES = {"dag-processor": "DagProcessorJob", "scheduler": "SchedulerJob", "triggerer": "TriggererJob"}
ENOUGH_CORES = 4


class AirflowStack(AirflowClient):
    """A running Airflow, as a context manager, with the REST methods of `AirflowClient`."""

    def __init__(
        self,
        home: Path,
        dags: Path | Mapping[str, Path],
        database: Database,
        *,
        connections: Mapping[str, str | dict[str, Any]] | None = None,
        environment: Mapping[str, str] | None = None,
        executor: Executor | None = None,
        triggerers: int = 1,
        port: int | None = None,
        python: str = sys.executable,
        progress: Callable[[str], None] = lambda line: None,
    ) -> None:
        """Prepare it; entering the context starts it.

        `dags` is a folder, or several by name, each a DAG bundle. `connections` reach every component through
        AIRFLOW_CONN_<ID>. `environment` adds or overrides settings. If there are several
        `triggerers`, the second one is called `triggerer-2`. `python` is the interpreter of every component. `progress`
        reports what happens.
        """
        port = port or free_port()
        executor = executor or LocalExecutor()
        super().__init__(f"http://127.0.0.1:{port}")
        self.python = python
        self.home = home.resolve()
        self.database = database
        self.progress = progress
        folders = {"dags": dags} if not hasattr(dags, "items") else dict(dags.items())
        self.environment = child_environment(
            {
                **settings(self.home, folders, database, port),
                **executor.settings(database),
                **{f"AIRFLOW_CONN_{name.upper()}": _text(value) for name, value in (connections or {}).items()},
                **(environment or {}),
            }
        )
        self.services = {name: self._service(name, [name]) for name in COMPONENTS}
        self.triggerers = ["triggerer", *(f"triggerer-{number}" for number in range(2, triggerers + 1))]
        self.services |= {name: self._another_triggerer(name) for name in self.triggerers[1:]}
        workers_ = executor.workers(self.home)
        self.workers = list(workers_)
        self.jobs: dict[str, int] = {}
        """The row of each running component in Airflow's table `job`."""
        self.services |= {name: self._service(name, command) for name, command in workers_.items()}

    def __enter__(self) -> Self:
        """Migrate the database, start all components and wait until they are healthy."""
        self.home.mkdir(parents=True, exist_ok=True)
        try:
            self._migrate()
            self._start()
            self.wait_healthy()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop everything that this stack started."""
        self.stop()

    def stop(self) -> None:
        """Stop all components and their child processes."""
        self._session.close()  # otherwise the api-server waits for this connection
        stop(self.services.values())

    def _service(self, name: str, command: list[str]) -> Service:
        arguments = [self.python, "-m", "airflow", *command]
        return Service(name, arguments, self.environment, self.home / "processes" / f"{name}.log")

    def _another_triggerer(self, name: str) -> Service:
        service = self._service(name, ["triggerer"])
        service.environment["AIRFLOW__LOGGING__TRIGGER_LOG_SERVER_PORT"] = str(free_port())
        return service

    def _migrate(self) -> None:
        started = time.monotonic()
        migration = self._service("migrate", ["db", "migrate"])
        if migration.run():
            raise RuntimeError(f"airflow db migrate failed\n{migration.tail()}")
        self.progress(f"database migrated ({time.monotonic() - started:.0f} s, {self.database.kind})")

    def _start(self) -> None:
        """Start the api-server and the other components, one after the other on a small machine.

        The api-server needs as much CPU time as the other three together (measured: 19 s of 37),
        including its first call; alone on one core it is ready at the same time as they are.
        """
        started = time.monotonic()
        self.services["api-server"].start()
        before = {name: self._latest_job(name) for name in JOB_TYPES}
        one_by_one = (os.cpu_count() or 1) < ENOUGH_CORES
        for name in () if one_by_one else JOB_TYPES:
            self.services[name].start()
        for name in JOB_TYPES:
            if one_by_one:
                self.services[name].start()
            self._wait_for_job(name, before[name], started)
        self._wait_for_api(started)
        for name in (*self.triggerers[1:], *self.workers):
            self._start_one(name)

    def _wait_for_job(self, name: str, before: int, started: float) -> None:
        def has_job() -> bool:
            self.services[name].check()
            self.jobs[name] = self._latest_job(name)
            return self.jobs[name] > before

        wait_until(has_job, 90, f"{name} at work", self.services[name].tail)
        self.progress(f"{name} up ({time.monotonic() - started:.0f} s)")

    def _start_one(self, name: str) -> None:
        """Start a component (again) and wait until the new process is at work."""
        started = time.monotonic()
        service = self.services[name]
        if name == "api-server":
            service.start()
            self._wait_for_api(started)
        elif name in self.workers:
            written = service.log.stat().st_size if service.log.exists() else 0
            service.start()
            self._wait_for_worker(name, written, started)
        else:
            before = self._latest_job(name)
            service.start()
            self._wait_for_job(name, before, started)

    def _wait_for_worker(self, name: str, written: int, started: float) -> None:
        def is_ready() -> bool:
            self.services[name].check()
            return b" ready." in self.services[name].log.read_bytes()[written:]

        wait_until(is_ready, 90, f"{name} ready", self.services[name].tail)
        self.progress(f"{name} up ({time.monotonic() - started:.0f} s)")

    def _wait_for_api(self, started: float) -> None:
        def answers() -> bool:
            self.services["api-server"].check()
            return bool(self.health())

        wait_until(answers, 90, "api-server answers", self.services["api-server"].tail)
        # The first call to the execution API takes 7 s, longer than a worker waits before it asks again:
        # let no task make it.
        self._session.get(f"{self.url}/execution/health", timeout=60).raise_for_status()
        self.progress(f"api-server up ({time.monotonic() - started:.0f} s)")

    def _latest_job(self, name: str) -> int:
        query = "SELECT COALESCE(MAX(id), 0) AS latest FROM job WHERE job_type = :job_type"
        return int(self.rows(query, job_type=_job_type(name))[0]["latest"])

    def wait_healthy(self, timeout: float = 120) -> None:
        """Wait until the api-server reports every component healthy. If one has ended, show its log."""

        def all_healthy() -> bool:
            for service in self.services.values():
                service.check()
            states = self.health()
            return len(states) == len(COMPONENTS) and set(states.values()) == {"healthy"}

        wait_until(all_healthy, timeout, "all components healthy", self.tails)

    def tails(self) -> str:
        """Return the ends of all component logs."""
        return "\n".join(service.tail() for service in self.services.values())

    def command(self, name: str, *arguments: str, **environment: str) -> str:
        """Run an `airflow` command with additional environment variables and return its output; raise if it fails."""
        service = self._service(name, list(arguments))
        service.environment = {**service.environment, **environment}
        if service.run():
            raise RuntimeError(f"airflow {' '.join(arguments)} failed\n{service.tail()}")
        return service.log.read_text(errors="replace")

    # Chaos

    def kill(self, component: str, number: signal.Signals = signal.SIGKILL) -> None:
        """Signal a component. SIGKILL kills its children too; otherwise they would live on as orphans."""
        if number == signal.SIGKILL:
            self.services[component].kill()
        else:
            self.services[component].signal(number)

    def restart(self, component: str) -> None:
        """Start a component (again) and wait until the new process is at work."""
        stop([self.services[component]])
        self._start_one(component)

    def restart_with(self, python: str) -> None:
        """Stop every component and start it with another interpreter, like an upgrade of a package."""
        self.stop()
        self.python = python
        for service in self.services.values():
            service.command[0] = python
        self._migrate()
        self._start()
        self.wait_healthy()

    # Evidence

    def worker_processes(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[psutil.Process]:
        """Return the processes that execute a task instance right now."""
        instance = self.task_instance(dag_id, run_id, task_id, map_index)
        return workers.of(self._hosts(), instance["id"])

    def busy_workers(self) -> list[psutil.Process]:
        """Return the processes that execute any task."""
        return workers.busy(self._hosts())

    def worker_of(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str | None:
        """Name the Celery worker that executes a task instance right now."""
        instance = self.task_instance(dag_id, run_id, task_id, map_index)
        found = {name: workers.of(self.services[name].family(), instance["id"]) for name in self.workers}
        begun = {name: max(each.create_time() for each in busy) for name, busy in found.items() if busy}
        return max(begun, key=lambda name: begun[name], default=None)  # the others may have an old title

    def _hosts(self) -> list[psutil.Process]:
        return [process for name in self.workers or ["scheduler"] for process in self.services[name].family()]

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run a SQL query on the metadata database."""
        return self.database.rows(query, **parameters)

    def all_log_text(self) -> str:
        """Return all logs of tasks, DAG parsing and components, to check that something is not in them."""
        files = sorted(path for path in self.home.rglob("*") if path.is_file() and ".log" in path.suffixes)
        return "\n".join(f"### {path}\n{path.read_text(errors='replace')}" for path in files)


def _text(connection: str | dict[str, Any]) -> str:
    return connection if isinstance(connection, str) else json.dumps(connection)


def _job_type(name: str) -> str:
    return next(kind for component, kind in JOB_TYPES.items() if name.startswith(component))
