"""The task that makes a video; the destination comes from the run's conf."""

from __future__ import annotations

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator


def generate() -> ModelMaxGenerateVideoOperator:
    """Return the task; call this inside a DAG."""
    return ModelMaxGenerateVideoOperator(
        task_id="work",
        model="veo-3.1-fast",
        prompt="Waves at dusk",
        parameters={"duration_seconds": 1},
        destination="{{ dag_run.conf['destination'] }}",
        poll_interval=1,
    )
