"""The DAG whose task makes a video; where it lands comes from the run's conf."""

from __future__ import annotations

from airflow.sdk import DAG

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

with DAG("bench_video", schedule=None):
    ModelMaxGenerateVideoOperator(
        task_id="work",
        model="veo-3.1-fast",
        prompt="Waves at dusk",
        parameters={"duration_seconds": 1},
        destination="{{ dag_run.conf['destination'] }}",
        poll_interval=1,
    )
