"""Make many videos while tasks and servers are killed, and count the bills: `make chaos`, `make chaos-quick`."""

from __future__ import annotations

import argparse
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.chaos.faults import BILLED, deal
from tests.chaos.monkey import Monkey
from tests.chaos.outcome import Outcome
from tests.chaos.watcher import Watcher
from tests.stack.airflow_stack import AirflowStack
from tests.stack.demo import narrator, write
from tests.stack.postgres import database
from tests.stack.processes import PROJECT
from tests.stack.s3 import SeaweedFS
from tests.stack.simulator import SimulatorProcess

DAGS = Path(__file__).parent / "dags"
ROUNDS = 6
QUICK = {"videos": 20, "triggerer": 1, "scheduler": 1, "store": 1, "disturbances": 1, "timeout": 600.0}


def main() -> int:
    """Run once and return the exit code: 0 if every promise was kept."""
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    home = Path(tempfile.mkdtemp(prefix="modelmax-chaos-"))
    say = narrator()
    say(f"{chosen.videos} videos, seed {chosen.seed}, {'no task state, ' if chosen.no_task_state else ''}home {home}")
    outcome = _run(chosen, home, say)
    write(outcome.table())
    if outcome.is_good():
        shutil.rmtree(home)
    return 0 if outcome.is_good() else 1


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="20 videos, and each server is killed once")
    parser.add_argument("--videos", type=int, default=300)
    parser.add_argument("--seed", type=int, default=int(time.time()), help="repeats the faults and kills of a run")
    parser.add_argument("--no-task-state", action="store_true", help="like Airflow 3.1 and 3.2")
    parser.add_argument("--triggerer", type=int, default=10, help="how often it is killed (default %(default)s)")
    parser.add_argument("--scheduler", type=int, default=5, help="how often it is killed, with all workers")
    parser.add_argument("--store", type=int, default=5, help="how often it is killed")
    parser.add_argument("--disturbances", type=int, default=8, help="clears and marks of each kind")
    parser.add_argument("--timeout", type=float, default=5400, help="seconds")
    parser.set_defaults(**QUICK if "--quick" in sys.argv else {})
    return parser.parse_args()


def _run(chosen: argparse.Namespace, home: Path, say: Callable[[str], None]) -> Outcome:
    dag_id = "chaos_without_task_state" if chosen.no_task_state else "chaos"
    crashes = home / "crashes"
    environment = {
        "MODELMAX_CHAOS_CRASHES": str(crashes),
        "PYTHONPATH": str(PROJECT),
        # Airflow notices tasks that died with a scheduler after seconds, not minutes.
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
        "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
        "AIRFLOW__CORE__MAX_ACTIVE_TASKS_PER_DAG": "64",
        "AIRFLOW__CORE__PARALLELISM": "6",
    }
    options = ("--queue-seconds", "0-2", "--run-seconds", "2-9", "--seed", str(chosen.seed), "--plain-videos")
    options += ("--filler-bytes", str(9_000_000))  # two parts, so that a kill can leave an unfinished upload
    with (
        SimulatorProcess(home / "processes", *options) as simulator,
        SeaweedFS() as s3,
        database(home) as metadata,
        AirflowStack(
            home,
            DAGS,
            metadata,
            connections={"modelmax_default": simulator.connection, "store": s3.connection},
            environment=environment,
            progress=say,
        ) as stack,
        Watcher(s3) as watcher,
    ):
        started = time.monotonic()
        dealt = deal(dag_id, chosen.videos, chosen.seed)
        for fault in dealt.values():
            simulator.fault(**fault)
        stack.wait_for_dag(dag_id)
        run_id = stack.trigger(dag_id, {"videos": chosen.videos}, run_id="run")
        kills = {"triggerer": chosen.triggerer, "scheduler": chosen.scheduler, "store": chosen.store}
        monkey = Monkey(
            stack, simulator, s3, dag_id, run_id, chosen.videos, kills, chosen.disturbances, chosen.seed, say
        )
        monkey.run(chosen.timeout)
        say("all tasks have ended once; removing the faults and clearing the failed tasks")
        simulator.lift_faults()
        for _ in range(ROUNDS):
            failed = [each["map_index"] for each in monkey.tasks() if each["state"] != "success"]
            if not failed:
                break
            say(f"clearing {len(failed)} failed tasks")
            stack.clear(dag_id, run_id, only_failed=True)
            stack.wait_for_run(dag_id, run_id, chosen.timeout)
        return Outcome.of(monkey, watcher, crashes / dag_id, _billed(dealt), time.monotonic() - started)


def _billed(dealt: dict[int, dict[str, Any]]) -> set[int]:
    return {number for number, fault in dealt.items() if fault["call"] == "result" and fault["kind"] in BILLED}


if __name__ == "__main__":
    os.environ.setdefault("PYTHONUNBUFFERED", "1")
    sys.exit(main())
