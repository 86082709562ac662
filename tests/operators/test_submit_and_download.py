"""Submit, sensor and download as tasks of their own, run by Airflow against the simulator."""

from __future__ import annotations

from contextlib import suppress
from datetime import timedelta
from pathlib import Path
from typing import Any

import pendulum
import pytest
from airflow.providers.common.compat.sdk import BaseOperatorLink, TaskDeferred

from airflow_provider_modelmax import polling
from airflow_provider_modelmax.api import ModelMaxError
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.links import ModelMaxDashboardLink
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.triggers.job import JobEvent
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import CONTEXT, IMAGE
from tests.stack.processes import wait_until

SHORT = {"duration_seconds": 1, "generate_audio": False}

needs_task_state = pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow keeps the state of a task since 3.3")

pytestmark = [
    pytest.mark.usefixtures("modelmax_conn", "triggers_fire_at_once", "short_pauses"),
    pytest.mark.parametrize("way", ["deferrable", "inline"]),
]


@pytest.fixture
def job(simulator: Any, modelmax_conn: str) -> dict[str, str]:
    return ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a lighthouse", SHORT).as_dict()


def bare(job: dict[str, str]) -> dict[str, str]:
    return {"model": job["model"], "request_id": job["request_id"]}


def test_three_tasks_make_one_video_for_one_bill(way, run, simulator, tmp_path):
    done = run(f"submit_then_download_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert [simulator.ledger.count(call) for call in ("submit", "result", "content")] == [1, 1, 1]
    submitted = done.xcom("submit")
    assert submitted.keys() == {"request_id", "model", "status_url", "response_url"}
    assert done.xcom("submit", "request_id") == submitted["request_id"] == done.xcom("download", "request_id")
    assert done.xcom("wait") == submitted
    assert Path(done.xcom("download")[0]).exists()


@needs_task_state
def test_clearing_a_run_whose_job_the_service_has_forgotten_pays_for_nothing(way, run, clear, simulator, tmp_path):
    done = run(f"submit_and_download_{way}", destination=f"{tmp_path}/clip.mp4")
    simulator.fault("status", "error", status=404, type="not_found_error")
    assert clear(done).state == "success"
    assert "The task returns this job all the same: its videos may be stored." in clear.output
    assert [simulator.ledger.count(call) for call in ("submit", "result", "content")] == [1, 1, 1]


@needs_task_state
def test_clearing_a_run_whose_image_is_gone_takes_up_its_job(way, run, clear, simulator, tmp_path):
    picture = tmp_path / "boat.png"
    picture.write_bytes(IMAGE.read_bytes())
    order = {"parameters": {**SHORT, "image": str(picture)}}
    done = run(f"submit_and_download_{way}", destination=f"{tmp_path}/clip.mp4", **order)
    picture.unlink()
    assert clear(done).state == "success"
    assert [simulator.ledger.count(call) for call in ("submit", "result", "content")] == [1, 1, 1]


def test_a_download_whose_job_was_replaced_while_it_waited_waits_for_the_new_one(way, job, simulator, tmp_path):
    operator = ModelMaxDownloadVideoOperator(
        task_id="download", job=job, destination=str(tmp_path), deferrable=way == "deferrable", poll_interval=0.1
    )
    event = JobEvent("the job before", "failed", "content policy violation").as_dict()
    if way == "inline":
        assert Path(operator.execute_complete(CONTEXT, event)[0]).exists()
        return
    with pytest.raises(TaskDeferred) as deferred:
        operator.execute_complete(CONTEXT, event)
    assert deferred.value.trigger.request_id == job["request_id"]


def test_an_event_that_cannot_be_read_makes_up_no_job(way, job, simulator, tmp_path):
    destination = str(tmp_path)
    order = {"model": "veo-3.1-fast", "prompt": "a boat"}
    for operator in (
        ModelMaxDownloadVideoOperator(task_id="download", job=job, destination=destination),
        ModelMaxGenerateVideoOperator(task_id="generate", destination=destination, **order),
    ):
        operator.deferrable = way == "deferrable"
        with pytest.raises(ModelMaxError, match="event of the trigger cannot be read"):
            operator.execute_complete(CONTEXT, {"outcome": "completed"})
        assert operator.known is None
    assert simulator.ledger.bills == []


def test_the_buttons_of_a_subclass_are_its_own_in_each_segment(way, job, tmp_path):
    class Own(BaseOperatorLink):
        name = "Own"

        def get_link(self, operator: Any, *, ti_key: Any) -> str:
            return "https://videos.example/"

    class Custom(ModelMaxDownloadVideoOperator):
        operator_extra_links = (ModelMaxDashboardLink(), Own())

    class WithProperty(ModelMaxDownloadVideoOperator):
        @property
        def operator_extra_links(self) -> list[BaseOperatorLink]:
            return [Own()]

    for kind in (Custom, WithProperty):
        operator = kind(task_id="download", job=job, destination=str(tmp_path), poll_interval=0.1)
        operator.deferrable = way == "deferrable"
        with suppress(TaskDeferred):
            operator.execute(CONTEXT)
        ModelMaxHook().wait(job, deadline=pendulum.now().add(minutes=1), poll_interval=0.1)
        assert "Own" in {each.name for each in operator.operator_extra_links}
        operator.execute_complete(CONTEXT, JobEvent(job["request_id"], "completed").as_dict())
        assert "Own" in {each.name for each in operator.operator_extra_links}


@needs_task_state
def test_a_retry_of_a_submit_whose_job_nobody_knows_submits_anew(way, run, clear, simulator, tmp_path):
    simulator.fault("content", "error", status=500)
    done = run(f"submit_and_download_{way}", destination=f"{tmp_path}/clip.mp4")
    simulator.fault("status", "error", status=404, type="not_found_error", times=1)
    with clear._session() as session:
        (submit,) = [ti for ti in clear._dag_run(done, session).task_instances if ti.task_id == "submit"]
        submit.state = "failed"
    clear.retry(done)
    assert "ModelMax no longer knows it" in clear.output
    assert simulator.ledger.count("submit") == 2


@needs_task_state
def test_a_cleared_submit_makes_sure_whether_its_job_failed(way, run, clear, simulator, tmp_path, short_pauses):
    done = run(f"submit_then_download_{way}", destination=f"{tmp_path}/videos/", prompt="a duel [fail]")
    simulator.fault("status", "error", status=502, times=2)
    clear(done)
    assert "of an earlier try: FAILED: content policy violation. Submitting a new job." in clear.output
    assert simulator.ledger.count("submit") == 2


def test_a_failed_job_fails_the_sensor_and_is_never_fetched(way, run, simulator, tmp_path):
    done = run(f"submit_then_download_{way}", destination=f"{tmp_path}/videos/", prompt="a duel [fail]")
    states = [done.task_state(task) for task in ("submit", "wait", "download")]
    assert states == ["success", "failed", "upstream_failed"]
    assert "content policy violation" in done.output
    assert simulator.ledger.count("result") == 0


def test_a_failed_job_skips_a_soft_failing_sensor(way, run, simulator, job):
    simulator.fault("status", "set_field", field="status", value="FAILED")
    done = run(f"soft_sensor_{way}", job=job)
    assert done.task_state("wait") == "skipped"


def test_a_soft_failing_sensor_skips_also_when_its_wait_is_given_up(way, run, simulator, job, monkeypatch):
    if way == "inline":
        pytest.skip("there Airflow's retries come first, as for every sensor")
    monkeypatch.setattr(polling, "SILENCE_LIMIT", timedelta(seconds=0.3))
    simulator.fault("status", "error", status=503)
    assert run(f"soft_sensor_{way}", job=job).task_state("wait") == "skipped"


def test_a_sensor_ends_at_its_timeout(way, run, simulator, job):
    simulator.fault("status", "unknown_status", value="IN_QUEUE")
    done = run(f"impatient_sensor_{way}", job=job)
    assert done.task_state("wait") == "failed"
    assert "AirflowSensorTimeout" in done.output


def test_a_download_that_fails_names_its_job(way, run, simulator, tmp_path, job):
    simulator.fault("status", "set_field", field="status", value="FAILED")
    done = run(f"download_{way}", destination=f"{tmp_path}/videos/", job=job)
    assert done.state == "failed"
    assert done.xcom("download", "request_id") == job["request_id"]


def test_a_job_that_is_over_by_now_lands_although_the_deadline_has_passed(way, run, simulator, tmp_path, job):
    wait_until(lambda: simulator.status(job["request_id"]) == "COMPLETED", 10, "the job is over")
    simulator.fault("status", "set_field", field="status", value="IN_PROGRESS", times=1)
    late = run(f"download_too_late_{way}", destination=f"{tmp_path}/videos/", job=job)
    assert "The deadline, " in late.output
    assert run(f"download_too_late_{way}", destination=f"{tmp_path}/videos/", job=job).state == "success"
    assert [simulator.ledger.count(call) for call in ("status", "result", "content")] == [2, 1, 1]


def test_a_download_needs_only_the_id(way, run, simulator, tmp_path, job):
    done = run(f"download_{way}", job=bare(job), destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert len(simulator.ledger.bills) == 1


def test_a_second_download_to_the_same_place_finds_the_manifest_and_does_not_pay(way, run, simulator, tmp_path, job):
    first = run(f"download_{way}", job=job, destination=f"{tmp_path}/videos/")
    again = run(f"download_{way}", job=bare(job), destination=f"{tmp_path}/videos/")
    assert again.xcom("download") == first.xcom("download")
    assert simulator.ledger.count("result") == 1


@pytest.mark.usefixtures("no_task_state")
def test_without_a_task_state_store_the_manifest_keeps_the_result(way, run, clear, simulator, tmp_path, job):
    simulator.fault("content", "cut_body")
    done = run(f"download_{way}", job=job, destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    simulator.clear_faults()
    assert clear(done).state == "success"
    assert simulator.ledger.count("result") == 1


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({}, "job has no model"),
        ({"model": "veo-3"}, "job has no request_id"),
        ({"request_id": "abc"}, "job has no model"),
        ("abc", "job is a str"),
        ({"model": "veo-3", "request_id": ".."}, "would change the path"),
    ],
)
def test_a_job_that_is_none_is_refused(way, run, simulator, tmp_path, given, says):
    done = run(f"download_{way}", job=given, destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert says in done.output
    assert simulator.ledger.calls() == []


def test_an_id_that_the_service_does_not_know_is_told(way, run, simulator, tmp_path):
    unknown = {"model": "veo-3", "request_id": "no/such+id=?"}
    done = run(f"download_{way}", job=unknown, destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert "answered 400" in done.output
