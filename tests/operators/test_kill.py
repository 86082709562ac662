"""What an operator says when it is killed, by what is known of its job then; and that it stops."""

from __future__ import annotations

import threading
import time
from typing import Any

import pytest

from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs.cancellation import Cancelled
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from tests.operators.conftest import CONTEXT
from tests.stack.processes import wait_until

SHORT = {"duration_seconds": 1, "generate_audio": False}


def killed(task: Any, when: Any) -> BaseException:
    """Kill a task as soon as something holds, and return what it ends in."""
    ends: list[BaseException] = []

    def run() -> None:
        try:
            task.execute(CONTEXT)
        except BaseException as error:
            ends.append(error)

    thread = threading.Thread(target=run)
    thread.start()
    wait_until(when, 20, "it is time to kill")
    task.on_kill()
    thread.join(20)
    return ends[0]


def download(job: Any, folder: Any) -> ModelMaxDownloadVideoOperator:
    return ModelMaxDownloadVideoOperator(
        task_id="t", job=job.as_dict(), destination=f"{folder}/", deferrable=False, poll_interval=60
    )


def test_before_there_is_a_job_nothing_goes_on(tmp_path, log):
    ModelMaxGenerateVideoOperator(task_id="t", model="veo-3", prompt="x", destination=str(tmp_path)).on_kill()
    assert log == ["Killed before a job was known.", "Nothing is billed until a result is fetched."]


@pytest.mark.parametrize("kind", ["generate", "download"])
def test_while_it_waits_the_job_goes_on_and_the_task_does_not(modelmax_conn, simulator, tmp_path, log, kind):
    simulator.settings.run_seconds = 60
    if kind == "generate":
        order = {"model": "veo-3.1-fast", "prompt": "a boat", "parameters": SHORT, "poll_interval": 60}
        task = ModelMaxGenerateVideoOperator(task_id="t", destination=f"{tmp_path}/", deferrable=False, **order)
    else:
        task = download(ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a boat", SHORT), tmp_path)

    assert isinstance(killed(task, lambda: simulator.ledger.count("status")), Cancelled)
    (request_id,) = simulator.ledger.jobs
    said = log[log.index("Killed while waiting.") :]
    assert said[1] == "The job goes on at ModelMax, which has no call to cancel it."
    assert said[-1] == f'job={{"model": "veo-3.1-fast", "request_id": "{request_id}"}}'
    assert simulator.ledger.bills == []


def test_while_it_downloads_what_is_paid_for_stays_and_nothing_half_written(modelmax_conn, simulator, tmp_path, log):
    simulator.settings.run_seconds = 0
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a boat", SHORT)
    simulator.fault("content", "slow_body", bytes_per_second=8000)
    task = download(job, tmp_path)

    assert isinstance(killed(task, lambda: simulator.ledger.count("content")), Cancelled)
    said = log[log.index("Killed while downloading.") :]
    assert said[1].startswith("The result is paid for and stored")
    assert said[2] == f"Job {job.request_id}."
    assert {path.suffix for path in tmp_path.iterdir()} == {".json"}


def test_between_two_attempts_to_submit_it_submits_no_more(modelmax_conn, simulator):
    simulator.fault("submit", "error", status=503, retry_after=30)
    task = ModelMaxSubmitVideoOperator(task_id="t", model="veo-3.1-fast", prompt="a boat")
    begin = time.monotonic()
    assert isinstance(killed(task, lambda: simulator.ledger.count("submit")), Cancelled)
    assert time.monotonic() - begin < 10
    assert simulator.ledger.count("submit") == 1


def test_while_the_billing_call_is_answered_it_does_not_call_the_job_free(modelmax_conn, simulator, tmp_path, log):
    simulator.settings.run_seconds = 0
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a boat", SHORT)
    simulator.fault("result", "slow_answer", seconds=1)
    killed(download(job, tmp_path), lambda: simulator.ledger.count("result"))
    assert "Killed during the call that bills: the result may be billed." in log
    assert f"Job {job.request_id}." in log
    assert len(simulator.ledger.bills) == 1
