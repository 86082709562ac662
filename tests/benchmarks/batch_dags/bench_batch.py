"""As many mapped tasks as the run's conf says: videos, or empty tasks that defer as long."""

from __future__ import annotations

from airflow.sdk import DAG, task
from bench_empty_operator import EmptyDeferrableOperator

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator


@task
def prompts(params: dict[str, int] | None = None) -> list[str]:
    """Return one item for each task."""
    return [f"Wave number {number}" for number in range((params or {})["tasks"])]


with DAG("batch_of_videos", schedule=None, params={"tasks": 1, "folder": ""}, max_active_tasks=1000):
    ModelMaxGenerateVideoOperator.partial(
        task_id="work", model="veo-3.1-fast", parameters={"duration_seconds": 1}, destination="{{ params.folder }}"
    ).expand(prompt=prompts())

with DAG("batch_of_nothing", schedule=None, params={"tasks": 1}, max_active_tasks=1000):
    EmptyDeferrableOperator.partial(task_id="work").expand(doc=prompts())
