"""What others see of a video: asset events, OpenLineage, a retry policy where Airflow has them."""

from __future__ import annotations

from datetime import timedelta

from airflow.sdk import DAG, Asset, AssetAlias

from airflow_provider_modelmax.api import InsufficientBalanceError
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

ORDER = {
    "model": "veo-3.1-fast",
    "prompt": "{{ dag_run.conf['prompt'] }}",
    "parameters": "{{ dag_run.conf.get('parameters', {'duration_seconds': 1}) }}",
    "destination": "{{ dag_run.conf['destination'] }}",
    "poll_interval": 1,
}

with DAG("seen", schedule=None, render_template_as_native_obj=True):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, outlets=[Asset("seen_videos"), AssetAlias("seen_each")])

try:
    from airflow.sdk import RetryAction, RetryRule

    from airflow_provider_modelmax.retry_policy import ModelMaxRetryPolicy
except ImportError:  # before Airflow 3.3
    pass
else:
    RETRIED = {"retries": 2, "retry_delay": timedelta(seconds=1)}
    once_more = RetryRule(InsufficientBalanceError, RetryAction.RETRY, timedelta(seconds=1), "topped up by then")
    with DAG("policed", schedule=None, render_template_as_native_obj=True):
        ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, **RETRIED, retry_policy=ModelMaxRetryPolicy())
    with DAG("topped_up", schedule=None, render_template_as_native_obj=True):
        ModelMaxGenerateVideoOperator(
            task_id="generate", **ORDER, **RETRIED, retry_policy=ModelMaxRetryPolicy([once_more])
        )
