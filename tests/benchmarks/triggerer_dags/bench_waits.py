"""The DAG of the deferred tasks. It never runs; its task instances are inserted as deferred."""

from __future__ import annotations

from airflow.sdk import dag, task


@dag(schedule=None)
def bench_waits() -> None:
    """Wait for many jobs."""

    @task
    def jobs() -> list[int]:
        return []

    @task
    def wait(job: int) -> None:
        return None

    wait.expand(job=jobs())


bench_waits()
