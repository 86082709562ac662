"""Your own task calls the hook: it submits all jobs, and a mapped task waits for each without a worker slot."""

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator

PROMPTS = ["A paper boat on a rainy street, close-up", "A red kite over dunes, slow motion"]


@task
def submit_all(params: Any = None) -> list[dict[str, str]]:
    """Submit one job for each prompt; none costs anything until its result is fetched."""
    hook = ModelMaxHook("modelmax_default")
    jobs = [hook.submit_video("veo-3.1-fast", prompt, {"duration_seconds": 4}) for prompt in params["prompts"]]
    return [job.as_dict() for job in jobs]


with DAG(
    "modelmax_own_task",
    schedule=None,
    tags=["modelmax"],
    params={"prompts": Param(PROMPTS, type="array", items={"type": "string"}, description="One video for each line")},
) as dag:
    ModelMaxDownloadVideoOperator.partial(
        task_id="download",
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
    ).expand(job=submit_all())
