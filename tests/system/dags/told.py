"""What is told to Airflow once a video has landed: labels, assets and numbers that it does not take as they are."""

from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, Asset, AssetAlias, task

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator


@task
def prompts(dag_run: Any = None) -> list[str]:
    """Return what the run's conf asks for."""
    return list(dag_run.conf["prompts"])


with DAG("told", schedule=None):
    ModelMaxGenerateVideoOperator.partial(
        task_id="generate",
        model="veo-3.1-fast",
        parameters={"duration_seconds": 1},
        destination="{{ dag_run.conf['destination'] }}",
        poll_interval=1,
        map_index_template="{{ task.prompt }}",
        outlets=[AssetAlias("told_videos"), Asset("told")],
        retries=1,
        retry_delay=timedelta(seconds=1),
    ).expand(prompt=prompts())
