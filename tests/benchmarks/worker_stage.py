"""A real Airflow for tasks that defer once, ours and an empty one, observed from outside. One DAG run at a time."""

from __future__ import annotations

import contextlib
import json
import os
import random
import shutil
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks.report import Say
from tests.benchmarks.usage_by_process import Segment, Workers
from tests.stack.airflow_stack import AirflowStack
from tests.stack.postgres import database
from tests.stack.processes import PROJECT, wait_until
from tests.stack.s3 import SeaweedFS
from tests.stack.simulator import SimulatorProcess

DAGS = Path(__file__).parent / "worker_dags"
JOB = ("--queue-seconds", "1", "--run-seconds", "7", "--plain-videos")
"""A job ends before the trigger may fire, so both kinds of tasks wait equally long."""
EVERY = 4.0
"""Seconds between two starts, so that two tasks hardly ever run at once."""
TASK = "work"


@dataclass(frozen=True)
class Kind:
    """A DAG with one task, and the conf of its runs."""

    dag_id: str
    conf: Mapping[str, str]


Round = dict[str, list[Segment]]
"""The segments of one task of each kind."""


@dataclass
class Stage:
    """Runs tasks."""

    stack: AirflowStack
    kinds: Mapping[str, Kind]

    def run(self, kinds: Sequence[str], rounds: int) -> list[Round]:
        """Run a task of each kind in turn, repeatedly, and return the segments of each."""
        workers = Workers.of(self.stack.services["scheduler"].family())
        with workers.watched():
            started = [[(kind, self._start(kind)) for kind in each] for each in _orders(kinds, rounds)]
            instances = [[(kind, self._finished(kind, run_id)) for kind, run_id in each] for each in started]
            wait_until(workers.idle, 20, "all workers idle")
            time.sleep(0.1)  # the watchers notice it a moment later
        seen = [{kind: workers.seen.get(instance, []) for kind, instance in each} for each in instances]
        # Airflow may have run one a second time, if its trigger fired too soon for a busy scheduler.
        return [each for each in seen if all(len(segments) == 2 for segments in each.values())]

    def _start(self, kind: str) -> str:
        begin = time.monotonic()
        run_id = self.stack.trigger(self.kinds[kind].dag_id, dict(self.kinds[kind].conf))
        time.sleep(max(begin + EVERY - time.monotonic(), 0))
        return run_id

    def _finished(self, kind: str, run_id: str) -> str:
        dag_id = self.kinds[kind].dag_id
        state = self.stack.wait_for_run(dag_id, run_id)
        if state != "success":
            raise RuntimeError(f"{dag_id} {state}\n{self.stack.task_log(dag_id, run_id, TASK)}")
        return str(self.stack.task_instance(dag_id, run_id, TASK)["id"])


@contextlib.contextmanager
def stage(say: Say, environment: Mapping[str, str] | None = None, prefix: str = "bench") -> Iterator[Stage]:
    """Start the simulator, an S3 server and Airflow, and run one task of each kind to warm them up."""
    home = Path(tempfile.mkdtemp(prefix="modelmax-bench-"))
    try:
        with SimulatorProcess(home / "processes", *JOB) as simulator, SeaweedFS() as s3, database(home) as metadata:
            # Several workers, because a lingering one is occupied; files are parsed once, not during a measurement.
            settings = {
                "PYTHONPATH": os.pathsep.join([str(PROJECT), str(DAGS)]),
                "AIRFLOW__CORE__PARALLELISM": "4",
                "AIRFLOW__DAG_PROCESSOR__MIN_FILE_PROCESS_INTERVAL": "3600",
                **(environment or {}),
            }
            with AirflowStack(home, DAGS, metadata, environment=settings) as stack:
                _connect(stack, {"modelmax_default": simulator.connection, "store": s3.connection})
                say(f"  Airflow ({metadata.kind}), simulator and S3 server are ready")
                folders = {"file": f"file://{home}/videos", "s3": f"s3://store@{s3.bucket}/videos"}
                kinds = {"empty": Kind(f"{prefix}_empty", {})}
                for name, folder in folders.items():
                    kinds[name] = Kind(f"{prefix}_video", {"destination": folder})
                for kind in kinds.values():
                    stack.wait_for_dag(kind.dag_id)
                prepared = Stage(stack, kinds)
                prepared.run(list(kinds), 2)
                yield prepared
    finally:
        shutil.rmtree(home, ignore_errors=True)


def _orders(kinds: Sequence[str], rounds: int) -> list[list[str]]:
    """Return a different order for each round: the same kind must not always resume while another starts."""
    chance = random.Random(1)
    return [chance.sample(list(kinds), len(kinds)) for _ in range(rounds)]


def _connect(stack: AirflowStack, connections: Mapping[str, Mapping[str, Any]]) -> None:
    """Write the connections into the metadata database, where most users have them: each lookup is a call."""
    for name, about in connections.items():
        extra = json.dumps(about.get("extra", {}))
        stack.call("POST", "connections", json={**about, "connection_id": name, "extra": extra})
