"""What was asked for is read from the record: a DAG file that is edited while the task is deferred changes nothing."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.common.compat.sdk import TaskDeferred

from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.triggers.event import JobEvent
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import CONTEXT, Kept

SHORT = {"duration_seconds": 1, "generate_audio": False}


class XComs(dict[str, Any]):
    def push(self, key: str, value: Any) -> None:
        self[key] = json.loads(json.dumps(value))

    def pull(self, task_ids: str, key: str, map_indexes: int) -> Any:
        return self.get(key)


def context(store: Kept | None, xcoms: XComs, operator: Any) -> Any:
    ti = SimpleNamespace(**{**vars(CONTEXT["ti"]), "xcom_push": xcoms.push, "xcom_pull": xcoms.pull})
    more = {} if store is None else {"task_state_store": store}
    return {"ti": ti, "task": operator, "outlet_events": {}, **more}


@pytest.mark.parametrize("with_state", [True, False], ids=["task state", "XCom"])
@pytest.mark.parametrize(
    "edit",
    [
        {"prompt": "something else"},
        {"prompt": "  "},
        {"parameters": {"sample_count": 4}},
        {"parameters": {"sample_count": 40}},
        {"model": ""},
        {"destination": "None"},
        {"destination": "relative/clip.mov"},
    ],
    ids=str,
)
@pytest.mark.parametrize("exact", [True, False], ids=["object", "folder"])
def test_the_request_and_the_destination_are_those_of_the_submit(
    simulator, modelmax_conn, tmp_path, with_state, edit, exact
):
    if with_state and not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    simulator.settings.run_seconds = 0.3
    store, xcoms = Kept() if with_state else None, XComs()
    place = f"{tmp_path}/first/clip.mp4" if exact else f"{tmp_path}/first/"
    asked = {"model": "veo-3.1-fast", "prompt": "a lighthouse", "parameters": SHORT, "destination": place}
    first = ModelMaxGenerateVideoOperator(task_id="generate", **asked)
    with pytest.raises(TaskDeferred):
        first.execute(context(store, xcoms, first))
    job = {"model": "veo-3.1-fast", "request_id": xcoms["request_id"]}
    ModelMaxHook().wait(job, poll_interval=0.1)

    edited = ModelMaxGenerateVideoOperator(task_id="generate", **{**asked, "destination": f"{tmp_path}/second/"})
    for name, value in edit.items():
        setattr(edited, name, value)
    event = JobEvent(job["request_id"], "completed").as_dict()
    (uri,) = edited.execute_complete(context(store, xcoms, edited), event)
    assert Path(uri).parent == tmp_path / "first"
    document = json.loads(Path(xcoms["manifest"]).read_text())
    assert document["request"] == {"model": "veo-3.1-fast", "prompt": "a lighthouse", "parameters": SHORT}
    assert (document["samples"], document["phase"]) == (1, "landed")
    assert not (tmp_path / "second").exists()
    assert simulator.ledger.count("submit") == len(simulator.ledger.bills) == 1


def test_a_retry_to_another_destination_goes_on_there_after_its_deferral(simulator, modelmax_conn, tmp_path):
    if not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    simulator.settings.run_seconds = 0.5
    store, xcoms = Kept(), XComs()
    asked = {"model": "veo-3.1-fast", "prompt": "a lighthouse", "parameters": SHORT}
    for place in ("first", "second"):
        operator = ModelMaxGenerateVideoOperator(task_id="generate", destination=f"{tmp_path}/{place}/", **asked)
        with pytest.raises(TaskDeferred):
            operator.execute(context(store, xcoms, operator))
    job = {"model": "veo-3.1-fast", "request_id": xcoms["request_id"]}
    ModelMaxHook().wait(job, poll_interval=0.1)
    (uri,) = operator.execute_complete(
        context(store, xcoms, operator), JobEvent(job["request_id"], "completed").as_dict()
    )
    assert Path(uri).parent == tmp_path / "second"
    assert simulator.ledger.count("submit") == 1


@pytest.mark.parametrize("edit", [{"destination": ""}, {"destination": "{tmp_path}/second/"}, {"job": None}], ids=str)
def test_a_download_goes_on_with_its_job_and_at_its_destination(simulator, modelmax_conn, tmp_path, edit):
    if not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    simulator.settings.run_seconds = 0.3
    job = ModelMaxHook().submit_video("veo-3.1-fast", "a lighthouse", SHORT).as_dict()
    store, xcoms = Kept(), XComs()
    first = ModelMaxDownloadVideoOperator(task_id="generate", job=job, destination=f"{tmp_path}/first/")
    with pytest.raises(TaskDeferred):
        first.execute(context(store, xcoms, first))
    ModelMaxHook().wait(job, poll_interval=0.1)
    edited = ModelMaxDownloadVideoOperator(task_id="generate", job=job, destination=f"{tmp_path}/first/")
    for name, value in edit.items():
        setattr(edited, name, value.format(tmp_path=tmp_path) if value else value)
    (uri,) = edited.execute_complete(context(store, xcoms, edited), JobEvent(job["request_id"], "completed").as_dict())
    assert Path(uri).parent == tmp_path / "first"
    assert len(simulator.ledger.bills) == 1


@pytest.mark.parametrize("left", ["XCom of 0.1.0", "nothing"])
def test_a_clear_after_a_resume_that_found_no_request_pays_nothing(simulator, modelmax_conn, tmp_path, left):
    simulator.settings.run_seconds = 0.3
    xcoms = XComs()
    asked = {"model": "veo-3.1-fast", "prompt": "a lighthouse", "parameters": SHORT, "destination": f"{tmp_path}/"}
    operator = ModelMaxGenerateVideoOperator(task_id="generate", **asked)
    with pytest.raises(TaskDeferred):
        operator.execute(context(None, xcoms, operator))
    pushed = xcoms.pop("job")
    if left == "XCom of 0.1.0":
        names = ("request_id", "model", "status_url", "response_url", "submitted_at")
        xcoms["job"] = {name: pushed[name] for name in names}
    job = {"model": "veo-3.1-fast", "request_id": xcoms["request_id"]}
    ModelMaxHook().wait(job, poll_interval=0.1)
    resumed = ModelMaxGenerateVideoOperator(task_id="generate", **asked)
    event = JobEvent(job["request_id"], "completed").as_dict()
    videos = resumed.execute_complete(context(None, xcoms, resumed), event)

    cleared = ModelMaxGenerateVideoOperator(task_id="generate", **asked)
    again = context(None, XComs(), cleared)
    again["ti"].max_tries, again["ti"].try_number = 1, 2
    assert cleared.execute(again) == videos
    assert simulator.ledger.count("submit") == len(simulator.ledger.bills) == 1
