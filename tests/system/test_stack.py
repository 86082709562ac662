"""The harness itself, shown with a DAG that needs nothing but Airflow."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING

import psutil
import pytest

from tests.stack.processes import wait_until

if TYPE_CHECKING:
    from tests.stack.airflow_stack import AirflowStack

pytestmark = pytest.mark.system

DAG = "stack_probe"


def test_all_components_are_healthy_and_every_dag_file_is_parsed(stack: AirflowStack) -> None:
    stack.wait_for_dag(DAG)
    assert set(stack.health().values()) == {"healthy"}
    assert stack.import_errors() == []


def test_a_deferred_task_has_no_worker_process(stack: AirflowStack) -> None:
    stack.wait_for_dag(DAG)
    run = stack.trigger(DAG, {"sleep": 3, "wait": 12})

    stack.wait_for_task_state(DAG, run, "command", "running")
    assert wait_until(lambda: "sleep" in _names(stack, run, "command"), 10, "the command has its process")

    stack.wait_for_task_state(DAG, run, "wait", "deferred")
    # The worker's process stays a few seconds after the task is deferred.
    wait_until(lambda: not stack.worker_processes(DAG, run, "wait"), 10, "the deferred task has no process")
    assert stack.task_instance(DAG, run, "wait")["state"] == "deferred"
    wait_until(lambda: not stack.busy_workers(), 10, "no worker does anything")
    assert stack.task_instance(DAG, run, "wait")["state"] == "deferred"

    assert stack.wait_for_run(DAG, run) == "success"
    assert stack.xcom(DAG, run, "wait") == "resumed"
    assert "said by a task" in stack.task_log(DAG, run, "command")
    assert "said by a task" in stack.all_log_text()
    assert stack.rendered_fields(DAG, run, "wait") == {"seconds": "12"}


def test_a_wait_survives_the_kill_of_the_triggerer(stack: AirflowStack) -> None:
    stack.wait_for_dag(DAG)
    run = stack.trigger(DAG, {"sleep": 0, "wait": 8})
    stack.wait_for_task_state(DAG, run, "wait", "deferred")
    wait_until(lambda: _owner(stack), 20, "a triggerer has taken the trigger")

    stack.kill("triggerer")
    assert not stack.services["triggerer"].family()
    stack.restart("triggerer")

    assert stack.wait_for_run(DAG, run) == "success"
    assert stack.task_instance(DAG, run, "wait")["try_number"] == 1


def test_a_cleared_task_runs_again(stack: AirflowStack) -> None:
    stack.wait_for_dag(DAG)
    run = stack.trigger(DAG, {"sleep": 0, "wait": 60})
    stack.wait_for_task_state(DAG, run, "command", "success")
    stack.set_state(DAG, run, "wait", "failed")
    assert stack.wait_for_run(DAG, run) == "failed"

    stack.clear(DAG, run, ["command"])
    wait_until(lambda: stack.task_instance(DAG, run, "command")["try_number"] == 2, 30, "a second try")
    stack.wait_for_task_state(DAG, run, "command", "success")
    assert "said by a task" in stack.task_log(DAG, run, "command", try_number=2)


def _names(stack: AirflowStack, run: str, task_id: str) -> list[str]:
    names = []
    for process in stack.worker_processes(DAG, run, task_id):
        with contextlib.suppress(psutil.NoSuchProcess):
            names.append(process.name())
    return names


def _owner(stack: AirflowStack) -> bool:
    return any(row["triggerer_id"] for row in stack.rows("SELECT triggerer_id FROM trigger"))
