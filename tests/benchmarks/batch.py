"""Hundreds of mapped tasks on this machine: how long they take, their CPU and connections, and what limits them."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil

from tests.benchmarks.report import Figure, Report, Say, number
from tests.stack.airflow_stack import AirflowStack
from tests.stack.postgres import database
from tests.stack.processes import PROJECT
from tests.stack.simulator import SimulatorProcess

HERE = Path(__file__).parent
JOB = ("--queue-seconds", "1-20", "--run-seconds", "60-180", "--plain-videos")
QUICK_JOB = ("--queue-seconds", "1-3", "--run-seconds", "5-12", "--plain-videos")
WORKERS = 4
SETTINGS = {
    "PYTHONPATH": os.pathsep.join([str(PROJECT), str(HERE / "worker_dags")]),
    "AIRFLOW__CORE__PARALLELISM": str(WORKERS),
    "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
    "AIRFLOW__SCHEDULER__MAX_TIS_PER_QUERY": "64",
}
STATES = ("scheduled", "queued", "running", "deferred", "success", "failed")


@dataclass
class Watch:
    """Observes a DAG run from outside, once a second."""

    stack: AirflowStack
    port: int
    seconds: list[float] = field(default_factory=list)
    states: dict[str, list[int]] = field(default_factory=lambda: {state: [] for state in STATES})
    to_database: int = 0
    to_service: int = 0
    _over: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def on(self, dag_id: str) -> Iterator[Watch]:
        """Observe until the block ends."""
        thread = threading.Thread(target=self._watch, args=(dag_id,), daemon=True)
        thread.start()
        try:
            yield self
        finally:
            self._over.set()
            thread.join()

    def _watch(self, dag_id: str) -> None:
        begun = time.monotonic()
        while not self._over.wait(1):
            found = {row["state"]: row["count"] for row in self._rows(_STATES_QUERY, dag_id=dag_id)}
            self.seconds.append(time.monotonic() - begun)
            for state, counts in self.states.items():
                counts.append(found.get(state, 0))
            self.to_database = max(self.to_database, *(row["count"] for row in self._rows(_CONNECTIONS_QUERY)))
            self.to_service = max(self.to_service, _connections(self.port))

    def _rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        return self.stack.rows(query, **parameters)


_STATES_QUERY = "SELECT state, count(*) AS count FROM task_instance WHERE dag_id = :dag_id GROUP BY state"
_CONNECTIONS_QUERY = "SELECT count(*) - 1 AS count FROM pg_stat_activity WHERE datname = current_database()"


def run(quick: bool, say: Say) -> Report:
    """Run a batch of videos, and one of as many empty tasks."""
    tasks = 40 if quick else 500
    report = Report("batch", f"{tasks} mapped tasks at once, LocalExecutor with {WORKERS} workers, PostgreSQL")
    home = Path(tempfile.mkdtemp(prefix="modelmax-bench-"))
    try:
        with (
            SimulatorProcess(home / "processes", *(QUICK_JOB if quick else JOB)) as simulator,
            database(home) as metadata,
        ):
            if metadata.kind != "postgresql":
                say("  there is no PostgreSQL: not measured")
                return report
            connections = {"modelmax_default": simulator.connection}
            with AirflowStack(
                home, HERE / "batch_dags", metadata, connections=connections, environment=SETTINGS
            ) as stack:
                say("  Airflow and the simulator are ready")
                videos = _run(stack, simulator, "batch_of_videos", tasks, {"folder": f"file://{home}/videos"}, say)
                empty = _run(stack, simulator, "batch_of_nothing", tasks, {}, say)
            ledger = simulator.ledger()
    finally:
        shutil.rmtree(home, ignore_errors=True)
    report.figures = _figures(tasks, videos, empty, ledger)
    ran = {"videos": videos, "empty tasks": empty}
    report.series = {name: {"seconds": each.watch.seconds, **each.watch.states} for name, each in ran.items()}
    return report


@dataclass(frozen=True)
class Ran:
    """What a batch cost."""

    seconds: float
    cpu: dict[str, float]
    watch: Watch


def _run(
    stack: AirflowStack, simulator: SimulatorProcess, dag_id: str, tasks: int, more: dict[str, str], say: Say
) -> Ran:
    stack.wait_for_dag(dag_id)
    before, begun = _cpu(stack), time.monotonic()
    with Watch(stack, simulator.port).on(dag_id) as watch:
        run_id = stack.trigger(dag_id, {"tasks": tasks, **more})
        state = stack.wait_for_run(dag_id, run_id, 3600)
    seconds, after = time.monotonic() - begun, _cpu(stack)
    if state != "success":
        raise RuntimeError(f"{dag_id}: {state}\n{stack.tails()}")
    cpu = {name: after[name] - before[name] for name in after}
    say(f"  {dag_id}: {seconds:.0f} s, CPU " + ", ".join(f"{name} {each:.0f} s" for name, each in cpu.items()))
    return Ran(seconds, cpu, watch)


def _figures(tasks: int, videos: Ran, empty: Ran, ledger: dict[str, Any]) -> list[Figure]:
    mine, theirs = sum(videos.cpu.values()), sum(empty.cpu.values())
    asked = sum(call["call"] == "status" for call in ledger["calls"])
    busiest = max(videos.cpu, key=lambda name: videos.cpu[name])
    return [
        Figure(
            "wall time, against as many empty tasks that defer for 9 s",
            videos.seconds / empty.seconds,
            detail=f"{videos.seconds:.0f} against {empty.seconds:.0f} s",
        ),
        Figure(
            "CPU of all of Airflow, against the empty tasks", mine / theirs, detail=f"{mine:.0f} against {theirs:.0f} s"
        ),
        *(
            Figure(f"CPU of the {name}", each / tasks * 1000, unit="ms a task", detail=f"{each:.0f} s in all")
            for name, each in videos.cpu.items()
        ),
        Figure("cores used on average", mine / videos.seconds, unit="", detail=f"most by the {busiest}"),
        Figure("deferred tasks at once, at most", max(videos.watch.states["deferred"]), unit=""),
        Figure("connections to the database, at most", videos.watch.to_database, unit=""),
        Figure("connections to the service, at most", videos.watch.to_service, "≤ 100", unit=""),
        Figure("status calls a job", asked / tasks, unit="", detail=f"{number(asked)} in all"),
        Figure("results fetched, and billed, for each video", len(ledger["bills"]) / tasks, "≤ 1", unit=""),
    ]


def _cpu(stack: AirflowStack) -> dict[str, float]:
    """Return the CPU seconds of each component, including its children that have ended."""
    return {name: sum(map(_of, service.family())) for name, service in stack.services.items()}


def _of(process: psutil.Process) -> float:
    with contextlib.suppress(psutil.Error):
        return sum(process.cpu_times()[:4])
    return 0.0


def _connections(port: int) -> int:
    open_ = psutil.net_connections("tcp4")
    return sum(each.laddr.port == port and each.status == psutil.CONN_ESTABLISHED for each in open_)
