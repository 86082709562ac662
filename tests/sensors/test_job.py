"""The sensor's reschedule mode: each poke a process of its own, which knows only what the last one kept."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.sensors.job import KEPT_WAIT, ModelMaxVideoSensor
from airflow_provider_modelmax.simulator import Simulator
from airflow_provider_modelmax.triggers.job import JobEvent
from tests.airflow_versions import AirflowRescheduleException


class Store:
    """A task state store as Airflow's: JSON in, JSON out; counts its calls, which cost 20-35 ms each."""

    def __init__(self) -> None:
        self.kept: dict[str, str] = {}
        self.calls: list[str] = []

    def get(self, key: str) -> Any:
        self.calls.append("get")
        return json.loads(self.kept.get(key, "null"))

    def set(self, key: str, value: Any) -> None:
        self.calls.append("set")
        self.kept[key] = json.dumps(value)

    def delete(self, key: str) -> None:
        self.calls.append("delete")
        del self.kept[key]


class NeverRescheduled:
    """What the base class wants of a task instance in its first process."""

    def get_first_reschedule_date(self, _: object) -> None:
        """Say that there was no process before."""


@pytest.fixture
def store() -> Store:
    return Store()


@pytest.fixture
def job(modelmax_conn: str, simulator: Simulator) -> api.Job:
    simulator.settings.run_seconds = 60
    return ModelMaxHook(modelmax_conn).submit_video("veo-3.1", "a boat")


@pytest.fixture
def poke(job: api.Job, store: Store) -> Callable[..., bool]:
    """Poke once, in a process of its own as far as the sensor can tell."""

    def poke(mode: str = "reschedule", try_number: int = 1) -> bool:
        sensor = ModelMaxVideoSensor(task_id="wait", job=job.as_dict(), mode=mode, deferrable=False)
        return sensor.poke({"task_state_store": store, "ti": SimpleNamespace(try_number=try_number)}).is_done

    return poke


ODD = [
    ({"kind": "error", "status": 503}, "gave no usable answer for"),
    ({"kind": "unknown_status", "value": "PAUSED"}, "It is 'PAUSED', not one of"),
]


@pytest.mark.parametrize(("fault", "words"), ODD)
def test_the_patience_with_an_odd_service_runs_on_from_process_to_process(
    poke, store, simulator, monkeypatch, fault, words
):
    monkeypatch.setattr(polling, "SILENCE_LIMIT", timedelta(seconds=0.3))
    monkeypatch.setattr(polling, "UNKNOWN_STATUS_LIMIT", timedelta(seconds=0.3))
    simulator.fault("status", **fault)
    assert [poke(), poke()] == [False, False]
    time.sleep(0.3)
    with pytest.raises(api.JobNotOverError, match=words):
        poke()
    assert store.kept == {}
    assert poke() is False  # a later try starts afresh


@pytest.mark.parametrize("fault", [fault for fault, _ in ODD])
def test_what_was_kept_is_dropped_when_all_is_well_again(poke, store, simulator, fault):
    simulator.fault("status", times=1, **fault)
    poke()
    assert set(store.kept) == {KEPT_WAIT}
    assert poke() is False
    assert store.kept == {}


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "error", "status": 401}, AirflowFailException),
        ({"kind": "set_field", "field": "status", "value": "FAILED"}, AirflowFailException),
    ],
)
def test_what_was_kept_is_dropped_when_the_sensor_fails(poke, store, simulator, fault, error):
    simulator.fault("status", "reset", times=1)
    poke()
    assert store.kept
    simulator.fault("status", **fault)
    with pytest.raises(error):
        poke()
    assert store.kept == {}


def test_what_was_kept_is_dropped_when_there_is_no_connection_any_more(poke, store, simulator, monkeypatch):
    simulator.fault("status", "reset", times=1)
    poke()
    monkeypatch.delenv("AIRFLOW_CONN_MODELMAX_DEFAULT")
    with pytest.raises(api.ConnectionSetupError):
        poke()
    assert store.kept == {}


def test_what_was_kept_is_dropped_when_the_job_is_completed(poke, store, simulator):
    simulator.fault("status", "reset", times=1)
    poke()
    simulator.fault("status", "set_field", field="status", value="COMPLETED")
    assert poke() is True
    assert store.kept == {}


def test_what_a_try_kept_that_was_killed_is_nothing_to_the_next_one(poke, store, simulator, monkeypatch):
    monkeypatch.setattr(polling, "SILENCE_LIMIT", timedelta(seconds=0.3))
    simulator.fault("status", "reset", times=2)
    poke()
    time.sleep(0.3)
    assert poke(try_number=2) is False
    assert poke(try_number=2) is False
    assert store.kept == {}


def test_a_healthy_wait_asks_the_store_once_a_process_and_writes_nothing(poke, store):
    assert [poke(), poke()] == [False, False]
    assert store.calls == ["get", "get"]


def test_the_poke_mode_asks_no_sooner_than_the_service_wants(job, simulator):
    sensor = ModelMaxVideoSensor(task_id="wait", job=job.as_dict(), poll_interval=0.01, deferrable=False)
    simulator.fault("status", "set_field", field="status", value="COMPLETED")
    simulator.fault("status", "error", status=429, retry_after="1", times=1)
    begun = time.monotonic()
    assert sensor.execute({}) == job.as_dict()
    assert simulator.ledger.count("status") == 2
    assert time.monotonic() - begun >= 1


@pytest.mark.parametrize(("retry_after", "pause"), [("30", 30), ("999999", 60), (None, 1)])
def test_the_next_process_asks_no_sooner_than_the_service_wants(job, simulator, retry_after, pause):
    sensor = ModelMaxVideoSensor(task_id="wait", job=job.as_dict(), mode="reschedule", poll_interval=1)
    simulator.fault("status", "error", status=429, retry_after=retry_after)
    with pytest.raises(AirflowRescheduleException) as raised:
        sensor.execute({"ti": NeverRescheduled()})
    left = raised.value.reschedule_date - datetime.now(timezone.utc)
    assert pause - 1 < left.total_seconds() <= pause


def test_the_poke_mode_keeps_nothing(poke, store, simulator):
    simulator.fault("status", "reset")
    poke("poke")
    assert store.calls == []


def test_before_airflow_3_3_a_poke_works_without_a_store(job, simulator):
    simulator.fault("status", "reset", times=1)
    for _ in range(2):
        sensor = ModelMaxVideoSensor(task_id="wait", job=job.as_dict(), mode="reschedule", deferrable=False)
        assert sensor.poke({}).is_done is False


def test_a_sensor_whose_job_was_replaced_while_it_waited_waits_for_the_new_one(job):
    sensor = ModelMaxVideoSensor(task_id="wait", job=job.as_dict())
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute_complete({}, JobEvent("the job before", "completed").as_dict())
    assert deferred.value.trigger.request_id == job.request_id


# Its intervals


@pytest.mark.parametrize(
    ("given", "polls", "pokes"),
    [
        ({}, 5, 5),
        ({"mode": "reschedule"}, 60, 60),
        ({"poll_interval": 20}, 20, 20),
        ({"poke_interval": 300}, 300, 300),
        ({"poke_interval": timedelta(minutes=5), "poll_interval": 20}, 20, 300),
        ({"default_args": {"poke_interval": 300}, "mode": "reschedule"}, 300, 300),
        ({"default_args": {"poke_interval": 300}, "poll_interval": 20}, 20, 300),
    ],
    ids=str,
)
def test_airflows_poke_interval_counts_wherever_it_is_given(given, polls, pokes):
    sensor = ModelMaxVideoSensor(task_id="wait", job={"model": "veo-3.1", "request_id": "id"}, **given)
    assert (sensor.poll_interval, float(sensor.poke_interval)) == (polls, pokes)


def test_a_timeout_beyond_the_calendar_is_waited_for(job):
    sensor = ModelMaxVideoSensor(task_id="wait", job=job.as_dict(), timeout=timedelta(days=1_000_000))
    with pytest.raises(TaskDeferred) as deferred:
        sensor.execute({"ti": SimpleNamespace(try_number=1)})
    assert deferred.value.trigger.deadline > datetime.now(timezone.utc) + timedelta(days=36_000)
