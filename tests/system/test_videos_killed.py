"""What a kill costs: nothing. Run after the other cases, which would suffer from it."""

from __future__ import annotations

import signal
import time
from typing import TYPE_CHECKING

import pytest

from tests.stack.processes import send, wait_until

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.s3 import SeaweedFS
    from tests.stack.simulator import SimulatorProcess
    from tests.system.cases import Run, Start


@pytest.fixture(scope="module")
def killed(start: Start, cases: Mapping[str, Run]) -> dict[str, Run]:
    """Start the cases of this file when all others are over."""
    for each in cases.values():
        each.state()
    return start(["killed_download", "killed_triggerer"])


def test_a_kill_of_the_triggerer_costs_nothing(stack: AirflowStack, killed: Mapping[str, Run]) -> None:
    run = killed["killed_triggerer"]
    stack.wait_for_task_state(run.dag_id, run.run_id, "generate", "deferred")
    wait_until(lambda: "IN_PROGRESS" in run.log(), 30, "the trigger has asked")
    stack.kill("triggerer")
    assert not stack.services["triggerer"].family()
    stack.restart("triggerer")

    run.succeeded()
    assert run.task()["try_number"] == 1
    assert run.spent() == [(1, 1, 1)]


def test_a_download_that_is_killed_is_taken_up_by_the_retry(
    stack: AirflowStack, seaweedfs: SeaweedFS, simulator: SimulatorProcess, killed: Mapping[str, Run]
) -> None:
    run = killed["killed_download"]
    wait_until(lambda: run.jobs() and run.only_job()["calls"]["content"], 60, "the download has begun")
    _supervisor, *runners = stack.worker_processes(run.dag_id, run.run_id, "generate")
    assert runners
    send(runners, signal.SIGKILL)

    run.succeeded()
    assert run.task()["try_number"] == 2
    assert "Continuing with job" in run.log()
    assert run.spent() == [(1, 2, 1)]
    (name,) = run.videos()
    assert run.objects()[name] == run.only_job()["videos"][0]["bytes"]
    assert seaweedfs.list_multipart_uploads("killed_download/") == []


def test_an_answer_that_comes_after_airflow_has_killed_a_healthy_task_is_kept(
    stack: AirflowStack, start: Start
) -> None:
    """The executor reports the end of the first segment while the second is in its billing call (apache/airflow#72716).

    Airflow takes the report for one of the second segment, calls the try failed, and kills its process.
    """
    (run,) = start(["reported_late"]).values()
    stack.wait_for_task_state(run.dag_id, run.run_id, "generate", "running")
    supervisor, *_ = stack.worker_processes(run.dag_id, run.run_id, "generate")
    state = "SELECT state FROM task_instance WHERE run_id = :run"
    give_up = time.monotonic() + 60
    while stack.rows(state, run=run.run_id) != [{"state": "deferred"}]:
        assert time.monotonic() < give_up, run.log()
        time.sleep(0.005)
    supervisor.send_signal(signal.SIGSTOP)
    try:
        wait_until(lambda: run.only_job()["calls"]["result"], 90, "the billing call is under way", stack.tails)
    finally:
        supervisor.send_signal(signal.SIGCONT)

    run.succeeded()
    assert run.task()["try_number"] == 2
    first = stack.task_log(run.dag_id, run.run_id, "generate", try_number=1)
    assert "Killed during the call that bills: the result may be billed." in first
    assert f"Job {run.only_job()['request_id']}." in first
    assert run.spent() == [(1, 1, 1)]
