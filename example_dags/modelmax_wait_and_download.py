"""Wait for jobs that were submitted elsewhere, then store their videos: one pair of tasks for each job.

Scheduled on the asset of ``modelmax_submit``. Triggered by hand, it continues with the job in ``job``, or does nothing.
"""

from typing import Any

from airflow.sdk import DAG, Asset, Param, task, task_group

from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

SUBMITTED = Asset("modelmax_submitted")
LANDED = Asset("modelmax_landed")


@task
def find_jobs(params: Any = None, triggering_asset_events: Any = None) -> list[dict[str, str]]:
    """Return the jobs to wait for: several, if several were submitted before this run started."""
    jobs = [event.extra for event in triggering_asset_events[SUBMITTED]]
    return [*jobs, params["job"]] if params["job"] else jobs


@task_group
def video(job: dict[str, str]) -> None:
    """Wait (never billed), then download (billed once)."""
    wait = ModelMaxVideoSensor(task_id="wait", job=job)
    download = ModelMaxDownloadVideoOperator(
        task_id="download",
        job=job,
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
        outlets=[LANDED],
    )
    wait >> download


with DAG(
    "modelmax_wait_and_download",
    schedule=[SUBMITTED],
    tags=["modelmax"],
    params={"job": Param(None, type=["object", "null"], description='{"model": "veo-3.1", "request_id": "…"}')},
):
    video.expand(job=find_jobs())
