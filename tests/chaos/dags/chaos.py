"""Many videos, one mapped task each, whose processes kill themselves; one DAG with task state, one without."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_modelmax.jobs.task_state import TaskState
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from tests.chaos import crash_points

WITH, WITHOUT = "chaos", "chaos_without_task_state"

made = TaskState.__init__


def make(self: TaskState, store: Any, **more: Any) -> None:
    """Give tasks of the second DAG no task state, like Airflow 3.1 and 3.2."""
    made(self, store if get_current_context()["ti"].dag_id == WITH else None, **more)


TaskState.__init__ = make  # type: ignore[method-assign]


def number() -> int | None:
    """Return the number of this process's video."""
    try:
        return int(get_current_context()["ti"].map_index)
    except RuntimeError:  # at DAG parse
        return None


crash_points.install(number, lambda: Path(os.environ["MODELMAX_CHAOS_CRASHES"]) / get_current_context()["ti"].dag_id)


@task
def prompts(params: Any = None) -> list[str]:
    """Return one prompt for each video. The faults match its number."""
    where = get_current_context()["dag_run"].dag_id
    return [f"({where}) {each:04}." for each in range(params["videos"])]


for dag_id in (WITH, WITHOUT):
    with DAG(dag_id, schedule=None, params={"videos": 20}):
        ModelMaxGenerateVideoOperator.partial(
            task_id="generate",
            model="veo-3.1-fast",
            parameters={"duration_seconds": 1},
            destination=f"s3://store@videos/{dag_id}/{{{{ run_id }}}}/",
            poll_interval=2,
            deadline=timedelta(minutes=20),
            retries=40,
            retry_delay=timedelta(seconds=1),
        ).expand(prompt=prompts())
