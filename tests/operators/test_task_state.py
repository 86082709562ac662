"""What a task state tells of the tries before."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from airflow_provider_modelmax.api import Job
from airflow_provider_modelmax.operators.task_state import TaskState
from airflow_provider_modelmax.progress import Progress

JOB = Job.of({"model": "veo-3.1", "request_id": "id"})


@pytest.mark.parametrize(
    ("try_number", "max_tries", "cleared"),
    [
        (2, 3, False),  # a retry
        (2, 4, True),  # cleared after the first try: 1 + 3
        (2, 2, True),  # cleared after the first try, when `retries` had been lowered to 1: 1 + 1
    ],
)
def test_a_clear_is_told_from_a_retry_also_where_retries_was_lowered(try_number, max_tries, cleared):
    kept = Progress(JOB, max_tries=3, try_number=1)
    state = TaskState({"ti": SimpleNamespace(max_tries=max_tries, try_number=try_number)})
    assert state.was_cleared_since(kept) is cleared
    assert state.is_of_a_later_clear(kept) is cleared


def test_an_execution_that_lives_on_is_of_no_later_clear_than_the_one_after_it():
    later = Progress(JOB, max_tries=1, try_number=2)
    state = TaskState({"ti": SimpleNamespace(max_tries=3, try_number=1)})
    assert state.was_cleared_since(later)
    assert not state.is_of_a_later_clear(later)


def test_the_retries_of_an_execution_that_took_up_a_job_after_a_clear_are_no_clears():
    kept = Progress(JOB, max_tries=0, try_number=1)
    cleared = TaskState({"ti": SimpleNamespace(max_tries=3, try_number=2)})
    retry = TaskState({"ti": SimpleNamespace(max_tries=3, try_number=3)})
    assert not retry.was_cleared_since(cleared.taken_up(kept))
