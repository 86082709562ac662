"""The empty task, profiled."""

from __future__ import annotations

import bench_patches

bench_patches.watch()

from bench_spans import span  # noqa: E402

with span("phase", "DAG file"):
    from airflow.sdk import DAG
    from bench_empty_operator import EmptyDeferrableOperator

    with DAG("profile_empty", schedule=None):
        EmptyDeferrableOperator(task_id="work")
