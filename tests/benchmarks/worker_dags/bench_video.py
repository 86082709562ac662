"""The DAG whose task makes a video."""

from __future__ import annotations

from airflow.sdk import DAG
from bench_generate import generate

with DAG("bench_video", schedule=None):
    generate()
