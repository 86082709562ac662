"""What a kill costs where others go on: a triggerer of two, a Celery worker of two. No wait, no bill, no video."""

from __future__ import annotations

import signal
from typing import TYPE_CHECKING

import pytest

from tests.stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.executors.story import Examples
    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.simulator import SimulatorProcess

MANY = "modelmax_many_prompts"
WAITS = 8
HALF_A_VIDEO = 20_000
celery_only = pytest.mark.parametrize("executor", ["CeleryExecutor"], indirect=True)


@pytest.fixture
def _whole(stack: AirflowStack) -> Iterator[None]:
    """Start again what a test has killed."""
    yield
    for name in (*stack.triggerers, *stack.workers):
        if not stack.services[name].running():
            stack.restart(name)


@pytest.fixture
def _stuck_halfway(service: SimulatorProcess, examples: Examples) -> None:
    """Have the service stop in the midst of the first video that is fetched."""
    service.fault("content", "slow_body", pause_after=HALF_A_VIDEO, pause_seconds=60, times=1)


def owners(stack: AirflowStack) -> list[int]:
    """Return which triggerer looks after each wait."""
    return [row["triggerer_id"] for row in stack.rows("SELECT triggerer_id FROM trigger") if row["triggerer_id"]]


def begin_to_wait(examples: Examples, home: Path) -> str:
    """Start many waits, and return their run when triggerers look after all of them."""
    examples.service.fault("submit", "timing", queue_seconds=1, run_seconds=40)
    examples.land_in(str(home / "waited"))
    run = examples.start(MANY, prompts=[f"Wave {number}" for number in range(WAITS)])
    examples.deferred(MANY, run, "generate", WAITS)
    wait_until(lambda: len(owners(examples.stack)) == WAITS, 30, "all waits are looked after")
    return run


def kill_a_triggerer_with_waits(stack: AirflowStack) -> str:
    """Kill the one that looks after most of them, and return its name."""
    busiest = max(stack.triggerers, key=lambda name: owners(stack).count(stack.jobs[name]))
    assert stack.jobs[busiest] in owners(stack)
    stack.kill(busiest)
    return busiest


def assert_nothing_was_lost(examples: Examples, run: str) -> None:
    """Each video came once, at the first try."""
    assert {task["try_number"] for task in examples.succeeded(MANY, run)} == {1}
    assert examples.submits() == WAITS
    assert examples.spent() == [(1, 1, 1)] * WAITS


@pytest.mark.usefixtures("_whole")
def test_a_killed_triggerer_leaves_its_waits_to_the_other(examples: Examples, home: Path) -> None:
    stack = examples.stack
    run = begin_to_wait(examples, home)

    killed = kill_a_triggerer_with_waits(stack)

    (other,) = set(stack.triggerers) - {killed}
    wait_until(lambda: set(owners(stack)) == {stack.jobs[other]}, 60, "the other has taken all", stack.tails)
    assert_nothing_was_lost(examples, run)


@celery_only
@pytest.mark.usefixtures("_whole")
def test_a_triggerer_and_a_worker_that_die_during_waits_cost_nothing(examples: Examples, home: Path) -> None:
    run = begin_to_wait(examples, home)
    kill_a_triggerer_with_waits(examples.stack)
    examples.stack.kill(examples.stack.workers[0])
    assert_nothing_was_lost(examples, run)


@celery_only
@pytest.mark.usefixtures("_stuck_halfway", "_whole")
def test_a_worker_that_dies_in_a_download_costs_no_second_submit_or_bill(examples: Examples, home: Path) -> None:
    examples.land_in(str(home / "one_task"))
    run = examples.start("modelmax_text_to_video")
    kill_the_worker(examples, "modelmax_text_to_video", run, "generate")

    (task,) = examples.succeeded("modelmax_text_to_video", run)
    assert task["try_number"] == 2
    assert examples.submits() == 1
    assert examples.spent() == [(1, 2, 1)]


@celery_only
@pytest.mark.usefixtures("_stuck_halfway", "_whole")
def test_a_worker_that_dies_in_the_download_of_a_submitted_job_costs_no_second_bill(
    examples: Examples, home: Path
) -> None:
    examples.land_in(str(home / "three_tasks"))
    examples.remember("modelmax_wait_and_download")
    examples.succeeded("modelmax_submit", examples.start("modelmax_submit"))
    run = examples.next_run("modelmax_wait_and_download")
    kill_the_worker(examples, "modelmax_wait_and_download", run, "video.download", 0)

    tasks = {task["task_id"]: task for task in examples.succeeded("modelmax_wait_and_download", run)}
    assert tasks["video.download"]["try_number"] == 2
    assert examples.submits() == 1
    ((results, contents, bills),) = examples.spent()
    assert (results, bills) == (1, 1)
    assert contents in {3, 4}  # two samples: the first twice, the second perhaps


def kill_the_worker(examples: Examples, dag_id: str, run: str, task_id: str, map_index: int = -1) -> None:
    """Wait until a video is being fetched and kill the worker that does it, with all its children."""
    stack = examples.stack
    wait_until(lambda: any(calls for _, calls, _ in examples.spent()), 120, "the download has begun", stack.tails)
    worker = stack.worker_of(dag_id, run, task_id, map_index)
    assert worker
    stack.kill(worker, signal.SIGKILL)
