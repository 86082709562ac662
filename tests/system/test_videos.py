"""The provider in a real Airflow, against the simulator, with the videos on a real S3 server."""

from __future__ import annotations

import hashlib
import re
from typing import TYPE_CHECKING, Any

import pytest

from tests.executors.test_examples import JOBS
from tests.stack.processes import PROJECT, wait_until
from tests.stack.simulator import KEY
from tests.system import evidence
from tests.system.films import ordered, probe

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.client import Json
    from tests.stack.s3 import SeaweedFS
    from tests.stack.simulator import SimulatorProcess
    from tests.system.cases import Run

    Cases = Mapping[str, Run]

ONCE = (1, 1, 1)  # result calls, content calls, bills


@pytest.fixture(scope="session")
def examples(stack: AirflowStack, cases: Cases) -> dict[str, str]:
    """Start every example DAG that has no schedule; the others are started by their assets."""
    there = len(list((PROJECT / "example_dags").glob("*.py")))
    wait_until(lambda: len(_examples(stack)) == there, 60, "the example DAGs are parsed")
    return {dag["dag_id"]: stack.trigger(dag["dag_id"]) for dag in _examples(stack) if not dag["timetable_summary"]}


# Waiting


@pytest.mark.cases("waiting")
def test_a_waiting_task_is_deferred_and_has_no_worker_process(stack: AirflowStack, cases: Cases) -> None:
    run = cases["waiting"]
    stack.wait_for_task_state(run.dag_id, run.run_id, "generate", "deferred")
    # The worker's process stays a few seconds after the task is deferred.
    wait_until(lambda: not stack.worker_processes(run.dag_id, run.run_id, "generate"), 15, "no process is left")
    assert run.task()["state"] == "deferred"
    assert run.only_job()["status"] in {"IN_QUEUE", "IN_PROGRESS"}


@pytest.mark.cases("waiting")
def test_a_trigger_row_holds_neither_key_nor_prompt(stack: AirflowStack, cases: Cases) -> None:
    run = cases["waiting"]
    rows = [row for row in evidence.rows(stack) if row.table == "trigger"]
    (ours,) = [row for row in rows if run.only_job()["request_id"] in row.text]
    assert "ModelMaxJobTrigger" in ours.text
    assert KEY not in ours.text
    assert run.prompt not in ours.text


@pytest.mark.cases("waiting")
def test_the_log_of_a_video_reads_well(cases: Cases) -> None:
    run = cases["waiting"].succeeded()
    job = re.escape(run.only_job()["request_id"])
    (size,) = (run.objects()[_one_video(run)],)
    lines = [
        rf"Submitted job {job} \(veo-3.1-fast\)\.",
        r"Waiting without a worker slot, until [\d-]+ [\d:]+ UTC at most\.",
        rf"Job {job}( is|: IN_QUEUE ->) IN_PROGRESS",
        rf"Job {job}: IN_PROGRESS -> COMPLETED after \d+ s",
        rf"Job {job} is COMPLETED: seen (\d+ s in queue, )?\d+ s generating\.",
        r"Fetched and stored the result\. Billed: video_seconds=1, video_resolution=720p, video_has_",
        rf"Landed {size:,} bytes in [\d.]+ s \([\d.]+ MB/s\): s3://store@videos/waiting/\S+.mp4",
    ]
    log = run.log()
    found = [match.start() if (match := re.search(line, log)) else line for line in lines]
    assert [each for each in found if isinstance(each, str)] == [], log
    assert found == sorted(found), log
    assert run.spent() == [ONCE]


# The examples


def test_every_example_runs_and_pays_once_for_each_video(
    stack: AirflowStack, simulator: SimulatorProcess, seaweedfs: SeaweedFS, examples: dict[str, str]
) -> None:
    for dag_id, run_id in examples.items():
        assert stack.wait_for_run(dag_id, run_id, 200) == "success", dag_id
    for dag in _examples(stack):
        (run,) = wait_until(lambda: stack.runs(dag["dag_id"]), 30, f"a run of {dag['dag_id']}")  # noqa: B023
        assert stack.wait_for_run(dag["dag_id"], run["dag_run_id"], 120) == "success", dag["dag_id"]

    jobs = {job["request_id"]: job for job in simulator.ledger()["jobs"] if not job["prompt"].startswith("(")}
    landed = _landed(stack)
    assert set(landed) == set(jobs)  # so each task has submitted once
    for request_id, job in jobs.items():
        assert job["calls"]["result"] == job["bills"] == 1
        assert job["calls"]["content"] == job["sample_count"] == len(landed[request_id])
        for uri in landed[request_id]:
            assert probe(seaweedfs.read(uri.removeprefix("s3://store@videos/"))) == ordered(job)
    assert len(jobs) == JOBS


# Object storage


@pytest.mark.cases("whole", "large")
@pytest.mark.parametrize("name", ["whole", "large"])
def test_objects_on_s3_are_what_the_service_sent(seaweedfs: SeaweedFS, cases: Cases, name: str) -> None:
    run = cases[name].succeeded()
    job = run.only_job()
    uris = run.xcom()
    sums = []
    for uri in uris:
        key = uri.removeprefix("s3://store@videos/")
        data, head = seaweedfs.read(key), seaweedfs.client().head_object(Bucket=seaweedfs.bucket, Key=key)
        assert (head["ContentType"], head["ContentLength"]) == ("video/mp4", len(data))
        assert probe(data) == ordered(job)
        sums.append((len(data), hashlib.sha256(data).hexdigest()))
    assert sums == [(video["bytes"], video["sha256"]) for video in job["videos"]]
    assert run.spent() == [(1, len(uris), 1)]
    assert sorted(run.videos()) == sorted(uri.rpartition("/")[2] for uri in uris)
    assert seaweedfs.list_multipart_uploads(f"{name}/") == []


@pytest.mark.cases("cut")
def test_a_cut_body_leaves_nothing_and_is_paid_once(
    seaweedfs: SeaweedFS, big_simulator: SimulatorProcess, cases: Cases
) -> None:
    run = cases["cut"].failed()
    assert run.videos() == []
    assert seaweedfs.list_multipart_uploads("cut/") == []
    ((asked, fetched, bills),) = run.spent()
    assert (asked, bills) == (1, 1)
    assert fetched > 1  # it was tried again in line

    big_simulator.lift_faults()
    run.clear().succeeded()
    ((asked, fetched_now, bills),) = run.spent()
    assert (asked, fetched_now, bills) == (1, fetched + 1, 1)
    assert run.objects()[_one_video(run)] == run.only_job()["videos"][0]["bytes"]


@pytest.mark.cases("denied", "no_bucket", "no_connection")
@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("denied", "access denied"),
        ("no_bucket", "does not exist"),
        ("no_connection", "did not find the connection 'nobody'"),
    ],
)
def test_an_unusable_destination_fails_before_anything_is_submitted(cases: Cases, name: str, said: str) -> None:
    run = cases[name].failed()
    assert said in run.log()
    assert run.jobs() == []


# Clears


@pytest.mark.cases("cleared")
def test_a_cleared_success_makes_no_call(cases: Cases) -> None:
    run = cases["cleared"].succeeded()
    uris, job = run.xcom(), run.only_job()
    run.clear().succeeded()
    assert run.task()["try_number"] == 2
    assert run.only_job()["calls"] == job["calls"]
    assert run.xcom() == uris
    assert run.xcom("usage") == {"video_seconds": 1, "video_resolution": "720p", "video_has_audio": True}


@pytest.mark.cases("cleared_object")
def test_a_cleared_task_whose_video_was_deleted_fetches_only_the_video(seaweedfs: SeaweedFS, cases: Cases) -> None:
    run = cases["cleared_object"].succeeded()
    job, name = run.only_job(), _one_video(run)
    seaweedfs.client().delete_object(Bucket=seaweedfs.bucket, Key=f"cleared_object/{name}")
    run.clear().succeeded()
    assert run.only_job()["calls"] == {**job["calls"], "content": 2}
    assert run.only_job()["bills"] == 1
    assert run.objects()[name] == job["videos"][0]["bytes"]


@pytest.mark.cases("cleared_failure")
def test_a_cleared_failure_submits_anew(cases: Cases) -> None:
    run = cases["cleared_failure"].failed()
    assert run.spent() == [(0, 0, 0)]
    run.clear().succeeded()
    assert run.spent() == [(0, 0, 0), ONCE]


# Ends


@pytest.mark.cases("key_wrong", "balance_empty", "job_failed")
@pytest.mark.parametrize(
    ("name", "said", "jobs"),
    [("key_wrong", "401", 0), ("balance_empty", "402", 0), ("job_failed", "content policy violation", 1)],
)
def test_what_no_retry_can_mend_fails_in_the_first_try(cases: Cases, name: str, said: str, jobs: int) -> None:
    run = cases[name].failed()
    assert (run.task()["state"], run.task()["try_number"], run.task()["max_tries"]) == ("failed", 1, 2)
    assert said in run.log()
    assert len(run.jobs()) == jobs
    assert [bills for _, _, bills in run.spent()] == [0] * jobs


# Sensors


@pytest.mark.cases("sensors_good")
def test_a_sensor_waits_in_every_mode_and_bills_nothing(cases: Cases) -> None:
    run = cases["sensors_good"].succeeded()
    job = run.only_job()
    for task_id in ("deferrable", "reschedule", "poke"):
        assert run.task(task_id)["try_number"] == 1
        assert run.xcom(task_id=task_id)["request_id"] == job["request_id"]
    assert run.spent() == [ONCE]  # by the download behind them


@pytest.mark.cases("sensors_failed")
def test_a_sensor_of_a_failed_job_fails_at_once_or_is_skipped(cases: Cases) -> None:
    run = cases["sensors_failed"].failed()
    states = {each: run.task(each)["state"] for each in _TWICE}
    assert states == _TWICE
    for task_id in ("deferrable", "reschedule"):
        assert run.task(task_id)["try_number"] == 1
        assert "content policy violation" in run.log(task_id)
    assert run.spent() == [(0, 0, 0)]


_TWICE = {"deferrable": "failed", "deferrable_soft": "skipped", "reschedule": "failed", "reschedule_soft": "skipped"}


# The race of the scheduler with a trigger that fires early


@pytest.mark.cases("mapped_at_once", "mapped_deferred")
@pytest.mark.parametrize("name", ["mapped_at_once", "mapped_deferred"])
def test_mapped_tasks_need_one_try_and_one_bill_each(cases: Cases, name: str) -> None:
    run = cases[name].succeeded()
    assert [run.task(map_index=index)["try_number"] for index in range(8)] == [1] * 8
    assert run.spent() == [ONCE] * 8
    assert len(run.videos()) == 8


# Helpers


def _examples(stack: AirflowStack) -> list[Json]:
    return [dag for dag in stack.pages("dags", "dags") if dag["bundle_name"] == "examples"]


def _landed(stack: AirflowStack) -> dict[str, list[str]]:
    """Return the URIs that the tasks of the examples returned, by job."""
    found: dict[str, list[str]] = {}
    for dag in _examples(stack):
        for run in stack.runs(dag["dag_id"]):
            for task in stack.task_instances(dag["dag_id"], run["dag_run_id"]):
                where: dict[str, Any] = {"map_index": task["map_index"]}
                instance = (dag["dag_id"], run["dag_run_id"], task["task_id"])
                if "usage" in stack.xcom_keys(*instance, **where):
                    request_id = stack.xcom(*instance, "request_id", **where)
                    found[request_id] = stack.xcom(*instance, **where)
    return found


def _one_video(run: Run) -> str:
    (name,) = run.videos()
    return name
