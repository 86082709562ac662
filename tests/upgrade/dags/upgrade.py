"""A DAG for each way to wait for a job; it is parsed and run by both versions of the provider."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, task

import airflow_provider_modelmax
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

REQUEST = {
    "model": "veo-3.1-fast",
    "prompt": "{{ dag_run.conf['prompt'] }}",
    "parameters": "{{ dag_run.conf.get('parameters', {'duration_seconds': 1}) }}",
}
DESTINATION = "{{ dag_run.conf['destination'] }}"
RETRIED = {"retries": 2, "retry_delay": timedelta(seconds=1)}


def new(dag_id: str) -> DAG:
    return DAG(dag_id, schedule=None, render_template_as_native_obj=True)


def download(job: object) -> ModelMaxDownloadVideoOperator:
    return ModelMaxDownloadVideoOperator(
        task_id="download", job=job, destination=DESTINATION, poll_interval=1, **RETRIED
    )


with new("version"):

    @task
    def version() -> str:
        return airflow_provider_modelmax.__version__

    version()

with new("generate"):
    ModelMaxGenerateVideoOperator(task_id="generate", **REQUEST, destination=DESTINATION, poll_interval=1, **RETRIED)

with new("submit_and_download"):
    submit = ModelMaxSubmitVideoOperator(task_id="submit", **REQUEST)
    download(submit.output)

for mode in ("poke", "reschedule"):
    with new(f"sensor_in_{mode}_mode"):
        submit = ModelMaxSubmitVideoOperator(task_id="submit", **REQUEST)
        wait = ModelMaxVideoSensor(task_id="wait", job=submit.output, poll_interval=1, mode=mode, **RETRIED)
        wait >> download(submit.output)
