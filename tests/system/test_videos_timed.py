"""Waits that end at their deadline and not much later: started by themselves, when Airflow has nothing else to do."""

from __future__ import annotations

import re
from datetime import datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.system.cases import Run

    Cases = Mapping[str, Run]

STILL_RUNNING = "may still be running"


@pytest.mark.parametrize("name", ["past_deadline", "past_execution_timeout"])
def test_a_deferred_task_ends_at_its_deadline(timed: Cases, name: str) -> None:
    run = timed[name].failed()
    log = run.log()
    assert STILL_RUNNING in log
    assert run.only_job()["request_id"] in log
    assert -1 < _late(run) < 60  # most of it is Airflow starting a segment
    assert run.spent() == [(0, 0, 0)]


def test_a_sensor_ends_at_its_timeout(timed: Cases) -> None:
    run = timed["sensors_stuck"].failed()
    wanted = {"deferrable": "failed", "deferrable_soft": "skipped", "reschedule": "failed"}
    assert {each: run.task(each)["state"] for each in wanted} == wanted
    for task_id in wanted:
        task = run.task(task_id)
        assert 19 < task["duration"] < 90 or task_id == "reschedule", task
    assert STILL_RUNNING in run.log("deferrable")


def _late(run: Run) -> float:
    """Return how many seconds after the deadline that its log names a task ended."""
    until = re.search(r"without a worker slot, until (\S+ \S+) UTC at most", run.log())
    assert until, run.log()
    ended = datetime.fromisoformat(run.task()["end_date"])
    return (ended - datetime.fromisoformat(f"{until[1]}+00:00")).total_seconds()
