"""The task that makes a video, watched from within."""

from __future__ import annotations

import bench_patches

bench_patches.watch()

from bench_spans import span  # noqa: E402

with span("phase", "DAG file"):
    from airflow.sdk import DAG

    from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

    with DAG("profile_video", schedule=None):
        ModelMaxGenerateVideoOperator(
            task_id="work",
            model="veo-3.1-fast",
            prompt="Waves at dusk",
            parameters={"duration_seconds": 1},
            destination="{{ dag_run.conf['destination'] }}",
            poll_interval=1,
        )
