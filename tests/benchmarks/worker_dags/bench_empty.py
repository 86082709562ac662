"""The DAG whose task only defers: what Airflow itself costs a worker."""

from __future__ import annotations

from airflow.sdk import DAG
from bench_empty_operator import EmptyDeferrableOperator

with DAG("bench_empty", schedule=None):
    EmptyDeferrableOperator(task_id="work")
