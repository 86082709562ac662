"""The task that makes a video, profiled."""

from __future__ import annotations

import bench_patches

bench_patches.watch()

from bench_spans import span  # noqa: E402

with span("phase", "DAG file"):
    from airflow.sdk import DAG
    from bench_generate import generate

    with DAG("profile_video", schedule=None):
        generate()
