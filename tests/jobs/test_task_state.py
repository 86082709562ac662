"""What a task state tells of the tries before."""

from __future__ import annotations

from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_modelmax.api import Job, ModelMaxError
from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.jobs.task_state import KEY, TaskState
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import Kept

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
    kept = JobRecord(JOB, max_tries=3, try_number=1)
    state = TaskState(None, max_tries=max_tries, try_number=try_number)
    assert state.was_cleared_since(kept) is cleared
    assert state.is_of_a_later_clear(kept) is cleared


def test_an_execution_that_lives_on_is_of_no_later_clear_than_the_one_after_it():
    later = JobRecord(JOB, max_tries=1, try_number=2)
    state = TaskState(None, max_tries=3, try_number=1)
    assert state.was_cleared_since(later)
    assert not state.is_of_a_later_clear(later)


def test_the_retries_of_an_execution_that_took_up_a_job_after_a_clear_are_no_clears():
    kept = JobRecord(JOB, max_tries=0, try_number=1)
    cleared = TaskState(None, max_tries=3, try_number=2)
    retry = TaskState(None, max_tries=3, try_number=3)
    assert not retry.was_cleared_since(cleared.adopt(kept))


@pytest.mark.parametrize(
    "kept", [{"a": 1}, {"request_id": "id", "model": "veo-3.1"}, {**JobRecord(JOB).as_dict(), "data": 1}]
)
def test_a_task_state_that_cannot_be_read_names_what_to_do(kept):
    state = TaskState({KEY: kept}, max_tries=0, try_number=1)
    with pytest.raises(
        ModelMaxError, match=r"cannot be read.* nothing was submitted or fetched\. Correct it, or delete"
    ):
        state.get()


def test_a_task_state_that_only_a_newer_release_can_read_names_that_release():
    kept = {**JobRecord(JOB).as_dict(), "state_version": 2, "provider_version": "3.1.4"}
    state = TaskState({KEY: kept}, max_tries=0, try_number=1)
    with pytest.raises(ModelMaxError, match=r"3\.1\.4 .*Install that release or a later one on this worker"):
        state.get()


@pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow keeps the state of a task since 3.3")
def test_fields_of_a_later_release_are_kept_when_the_task_state_is_written_back():
    store = Kept({KEY: {**JobRecord(JOB).as_dict(), "state_version": 1, "cost_limit": 2.5}})
    state = TaskState(store, max_tries=0, try_number=2)
    state.adopt(state.get())
    state.put(JobRecord(JOB).requesting("host:1:ab", expires=1e9, busy_until=1e9))
    assert (store[KEY]["cost_limit"], store[KEY]["phase"]) == (2.5, "fetching")
    state.put(JobRecord(Job.of({"model": "veo-3.1", "request_id": "another"})))
    assert "cost_limit" not in store[KEY]


@pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow keeps the state of a task since 3.3")
def test_a_retry_after_a_clear_hands_on_a_job_that_the_service_has_forgotten(simulator, modelmax_conn):
    operator, store = ModelMaxSubmitVideoOperator(task_id="submit", model="veo-3.1", prompt="a boat"), Kept()

    def context(try_number: int, push: Callable[..., None] = lambda **_: None) -> Any:
        ti = SimpleNamespace(max_tries=2, try_number=try_number, xcom_push=push)
        return {"ti": ti, "task_state_store": store}

    def away(**_: str) -> None:
        raise ConnectionError("no answer from the API server")

    store.set(KEY, JobRecord(JOB, order=operator.requested().order, try_number=1).as_dict())
    with pytest.raises(ConnectionError):
        operator.execute(context(2, away))
    assert operator.execute(context(3))["request_id"] == JOB.request_id
    assert simulator.ledger.count("submit") == 0
