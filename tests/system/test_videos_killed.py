"""What a kill costs: nothing. Run after the other cases, which would suffer from it."""

from __future__ import annotations

import signal
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
    assert "Taking up job" in run.log()
    assert run.spent() == [(1, 2, 1)]
    (name,) = run.videos()
    assert run.objects()[name] == run.only_job()["videos"][0]["bytes"]
    assert seaweedfs.list_multipart_uploads("killed_download/") == []
