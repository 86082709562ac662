"""What a SIGKILL of the task's process costs, place by place: the table in docs/promises.md."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import pytest

from tests.airflow_versions import KEEPS_TASK_STATE
from tests.chaos.crash_plan import CLAIMED, POINTS, STATE_ONLY, WINDOW, point_of
from tests.chaos.outcome import warnings

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.s3 import SeaweedFS
    from tests.stack.simulator import SimulatorProcess
    from tests.system.cases import Run

WITH, WITHOUT = "chaos", "chaos_without_task_state"
VIDEOS = 18  # so many that each place has one


@dataclass(frozen=True)
class Cost:
    """What became of one video."""

    jobs: int = 1
    bills: int = 1
    warnings: int = 0
    tries: int = 2


COSTS: dict[str, dict[str, Cost]] = {
    WITH: {
        **dict.fromkeys(POINTS, Cost()),
        "submitted, not kept": Cost(jobs=2),
        CLAIMED: Cost(warnings=1),
        WINDOW: Cost(bills=2, warnings=1),
    },
    WITHOUT: {
        **dict.fromkeys(POINTS, Cost()),
        "submitted, not kept": Cost(jobs=2),
        "submission kept": Cost(jobs=2),
        "resumed": Cost(jobs=2),
        CLAIMED: Cost(warnings=1),
        WINDOW: Cost(bills=2, warnings=1),
        STATE_ONLY: Cost(bills=2, warnings=1),
    },
}


pytestmark = pytest.mark.timeout(900)  # the first test starts all runs, and a busy machine takes its time


@pytest.fixture(scope="module")
def runs(stack: AirflowStack, cases: Mapping[str, Run]) -> dict[str, str]:
    """Start both DAGs when all others are over, and wait for their end."""
    for each in cases.values():
        each.state()
    for dag_id in COSTS:
        stack.wait_for_dag(dag_id)
        stack.trigger(dag_id, {"videos": VIDEOS}, run_id="run")
    return {dag_id: stack.wait_for_run(dag_id, "run", 600) for dag_id in COSTS}


@pytest.mark.parametrize("dag_id", COSTS)
@pytest.mark.parametrize("point", POINTS)
def test_a_kill_costs_what_the_table_says(
    stack: AirflowStack, simulator: SimulatorProcess, runs: Mapping[str, str], dag_id: str, point: str
) -> None:
    assert runs[dag_id] == "success"
    (number,) = (number for number in range(VIDEOS) if point_of(number) == point)
    jobs = [job for job in simulator.ledger()["jobs"] if job["prompt"] == f"({dag_id}) {number:04}."]
    task = stack.task_instance(dag_id, "run", "generate", number)
    logs = stack.home / "logs" / f"dag_id={dag_id}"
    cost = Cost(len(jobs), sum(job["bills"] for job in jobs), warnings(logs, number), task["try_number"])
    assert cost == COSTS[dag_id if KEEPS_TASK_STATE else WITHOUT][point]


@pytest.mark.parametrize("dag_id", COSTS)
def test_every_video_lands_whole_and_once(
    simulator: SimulatorProcess, seaweedfs: SeaweedFS, runs: Mapping[str, str], dag_id: str
) -> None:
    assert runs[dag_id] == "success"
    served = {
        video["bytes"]
        for job in simulator.ledger()["jobs"]
        if job["prompt"].startswith(f"({dag_id}) ")
        for video in job["videos"]
    }
    sizes = [size for key, size in seaweedfs.list_objects(f"{dag_id}/run/").items() if key.endswith(".mp4")]
    assert len(sizes) == VIDEOS
    assert set(sizes) <= served
    assert seaweedfs.list_multipart_uploads(f"{dag_id}/") == []
