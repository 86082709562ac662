"""An exact destination is reserved while its job is waited for, so that another task is refused before it waits."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, TaskDeferred

from airflow_provider_modelmax.api import DestinationError, ModelMaxError
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import Kept

SHORT = {"duration_seconds": 1, "generate_audio": False}
STORES = pytest.mark.parametrize("store", [Kept, lambda: None], ids=["task state", "manifest only"])
KINDS = pytest.mark.parametrize("kind", ["generate", "download"])

pytestmark = pytest.mark.usefixtures("modelmax_conn")


class Task:
    """One task of a run, executed as a worker does."""

    def __init__(self, kind: str, destination: str, task_id: str, store: Kept | None = None, **more: Any) -> None:
        if store is not None and not KEEPS_TASK_STATE:
            pytest.skip("Airflow keeps the state of a task since 3.3")
        self.kind, self.task_id, self.store = kind, task_id, store
        self.prompt = more.pop("prompt", f"ein Leuchtturm für {task_id}, 灯台")
        self.more = {"destination": destination, **more}
        if kind == "download":
            self.job = ModelMaxHook().submit_video("veo-3.1-fast", self.prompt, SHORT).as_dict()

    def run(self, try_number: int = 1, *, deferrable: bool = False, max_tries: int = 3) -> Any:
        more = {"task_id": self.task_id, "deferrable": deferrable, "poll_interval": 0.2, **self.more}
        operator: Any
        if self.kind == "generate":
            order = {"model": "veo-3.1-fast", "prompt": self.prompt, "parameters": SHORT}
            operator = ModelMaxGenerateVideoOperator(**order, **more)
        else:
            operator = ModelMaxDownloadVideoOperator(job=self.job, **more)
        nothing: Any = lambda **_: None  # noqa: E731
        ti = SimpleNamespace(
            dag_id="films", run_id="r", task_id=self.task_id, map_index=-1, xcom_push=nothing, xcom_pull=nothing
        )
        ti.max_tries, ti.try_number = max_tries, try_number
        context = {"ti": ti, "task": operator, "outlet_events": {}}
        return operator.execute({**context, "task_state_store": self.store} if self.store is not None else context)

    def defers(self) -> bool:
        with pytest.raises(TaskDeferred):
            self.run(deferrable=True)
        return True


def record(folder: Any) -> dict[str, Any]:
    stored: dict[str, Any] = json.loads((folder / "clip.modelmax.json").read_text())
    return stored


@STORES
@KINDS
@pytest.mark.parametrize("first", ["generate", "download"])
def test_the_second_task_with_one_object_is_refused_before_it_waits(simulator, tmp_path, store, kind, first):
    simulator.settings.run_seconds = 600
    other = Task(kind, f"{tmp_path}/clip.mp4", "second", store())
    assert Task(first, f"{tmp_path}/clip.mp4", "first", store()).defers()
    before = simulator.ledger.count("submit")
    with pytest.raises(
        DestinationError, match=r"clip\.modelmax\.json is reserved until .* UTC by job .* task first of"
    ):
        other.run(deferrable=True)
    assert simulator.ledger.count("submit") == before
    assert simulator.ledger.bills == []


@STORES
@KINDS
def test_the_task_that_has_the_reservation_lands_its_video(simulator, tmp_path, store, kind):
    simulator.settings.run_seconds = 1
    task = Task(kind, f"{tmp_path}/clip.mp4", "first", store())
    assert task.defers()
    assert task.run(2) == [f"{tmp_path}/clip.mp4"]
    assert record(tmp_path)["phase"] == "landed"
    assert [simulator.ledger.count(call) for call in ("submit", "result", "content")] == [1, 1, 1]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.modelmax.json", "clip.mp4"]


@KINDS
def test_a_reservation_that_has_expired_blocks_nobody(simulator, tmp_path, kind):
    simulator.settings.run_seconds = 600
    assert Task("generate", f"{tmp_path}/clip.mp4", "first", deadline=timedelta(seconds=16)).defers()
    stored = record(tmp_path)
    assert 0 < stored["reserved_until"] - time.time() < 17
    (tmp_path / "clip.modelmax.json").write_text(json.dumps({**stored, "reserved_until": time.time() - 1}))
    simulator.settings.run_seconds = 0
    assert Task(kind, f"{tmp_path}/clip.mp4", "second").run() == [f"{tmp_path}/clip.mp4"]
    assert record(tmp_path)["task"]["task_id"] == "second"


@STORES
@KINDS
def test_the_reservation_of_a_job_that_failed_blocks_nobody(simulator, tmp_path, store, kind):
    simulator.settings.run_seconds = 0
    with pytest.raises(AirflowFailException, match="FAILED"):
        Task(kind, f"{tmp_path}/clip.mp4", "first", store(), prompt="a duel [fail]").run()
    assert record(tmp_path)["phase"] == "failed"
    assert Task("generate", f"{tmp_path}/clip.mp4", "second", store()).run() == [f"{tmp_path}/clip.mp4"]


def test_a_retry_after_a_job_that_failed_reserves_for_its_new_job(simulator, tmp_path):
    simulator.settings.run_seconds = 0
    simulator.fault("submit", "fail_job", times=1)
    task = Task("generate", f"{tmp_path}/clip.mp4", "first")
    with pytest.raises(AirflowFailException, match="FAILED"):
        task.run()
    assert task.run(2) == [f"{tmp_path}/clip.mp4"]
    assert len(simulator.ledger.bills) == 1


@pytest.mark.parametrize("more", [{"overwrite": True}, {"folder": True}])
def test_overwrite_and_a_folder_reserve_nothing(simulator, tmp_path, more):
    simulator.settings.run_seconds = 600
    destination = f"{tmp_path}/" if more.pop("folder", False) else f"{tmp_path}/clip.mp4"
    assert Task("generate", destination, "first", **more).defers()
    assert list(tmp_path.iterdir()) == []


def test_a_task_with_overwrite_is_not_refused_by_a_reservation_and_the_other_pays_nothing(simulator, tmp_path):
    simulator.settings.run_seconds = 0.5
    first = Task("generate", f"{tmp_path}/clip.mp4", "first", None)
    assert first.defers()
    Task("generate", f"{tmp_path}/clip.mp4", "second", overwrite=True).run()
    with pytest.raises(DestinationError, match="is taken by"):
        first.run(2)
    assert len(simulator.ledger.bills) == 1


@pytest.mark.parametrize("prompt", ["a boat", "a duel [fail]"])
def test_a_download_of_the_same_job_leaves_the_reservation_to_the_task_that_submitted_it(simulator, tmp_path, prompt):
    simulator.settings.run_seconds = 600 if prompt == "a boat" else 0.5
    assert Task("generate", f"{tmp_path}/clip.mp4", "first", prompt=prompt).defers()
    before = record(tmp_path)
    rescue = Task("download", f"{tmp_path}/clip.mp4", "second", deadline=timedelta(hours=3))
    rescue.job = {"model": "veo-3.1-fast", "request_id": before["request_id"]}
    with pytest.raises((TaskDeferred, AirflowFailException)):
        rescue.run(deferrable=prompt == "a boat")
    after = record(tmp_path)
    same = ("task", "request", "order", "submitted_at", "max_tries", "try_number", "request_id")
    assert {name: after[name] for name in same} == {name: before[name] for name in same}
    if prompt == "a boat":
        assert after["reserved_until"] > before["reserved_until"]
    else:
        assert (after["phase"], after["reason"]) == ("failed", "content policy violation")


@STORES
def test_a_retry_extends_the_reservation(simulator, tmp_path, store):
    simulator.settings.run_seconds = 600
    task = Task("generate", f"{tmp_path}/clip.mp4", "first", store())
    assert task.defers()
    before = record(tmp_path)["reserved_until"]
    time.sleep(0.05)
    with pytest.raises(TaskDeferred):
        task.run(2, deferrable=True)
    assert record(tmp_path)["reserved_until"] > before
    assert simulator.ledger.count("submit") == 1


def test_before_airflow_3_3_a_retry_takes_up_the_job_of_its_reservation(simulator, tmp_path):
    simulator.settings.run_seconds = 0.5
    task = Task("generate", f"{tmp_path}/clip.mp4", "first")
    assert task.defers()
    task.run(2)
    assert simulator.ledger.count("submit") == 1


@STORES
@KINDS
@pytest.mark.parametrize("overwrite", [False, True])
def test_a_billing_call_that_is_refused_leaves_a_reservation_that_ends(simulator, tmp_path, store, kind, overwrite):
    simulator.settings.run_seconds = 0
    simulator.fault("result", "error", status=402, times=1)
    first = Task(kind, f"{tmp_path}/clip.mp4", "first", store(), deadline=timedelta(seconds=2), overwrite=overwrite)
    second = Task("generate", f"{tmp_path}/clip.mp4", "second", store())
    with pytest.raises(AirflowFailException):
        first.run()
    if not overwrite:
        with pytest.raises(DestinationError, match="is reserved until"):
            second.run()
        time.sleep(max(record(tmp_path)["reserved_until"] - time.time(), 0))
    assert second.run() == [f"{tmp_path}/clip.mp4"]
    assert len(simulator.ledger.bills) == 1


@STORES
@KINDS
def test_no_lease_is_left_by_a_task_whose_first_try_failed_after_the_bill(simulator, tmp_path, store, kind):
    simulator.settings.run_seconds = 0
    simulator.fault("content", "error", status=403, times=1)
    task = Task(kind, f"{tmp_path}/clip.mp4", "first", store())
    with pytest.raises(ModelMaxError):
        task.run()
    assert task.run(2) == [f"{tmp_path}/clip.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.modelmax.json", "clip.mp4"]


@STORES
def test_no_lease_is_left_by_a_task_that_was_killed_after_it_landed(simulator, tmp_path, store):
    simulator.settings.run_seconds = 0
    task = Task("generate", f"{tmp_path}/clip.mp4", "first", store())
    task.run()
    (tmp_path / "clip.modelmax.json.claim-1").write_text("{}")
    assert task.run(2) == [f"{tmp_path}/clip.mp4"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.modelmax.json", "clip.mp4"]
