"""Many videos, one mapped task each, in processes that kill themselves at their crash point."""

from __future__ import annotations

import os
from datetime import timedelta
from pathlib import Path
from typing import Any

from airflow.sdk import DAG, get_current_context, task

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.task_state import TaskState
from tests.chaos import crash_points

if "MODELMAX_CHAOS_NO_TASK_STATE" in os.environ:
    with_state = TaskState.__init__
    TaskState.__init__ = lambda self, context: with_state(self, {"ti": context["ti"]})  # type: ignore[method-assign]


def number() -> int | None:
    """Return the number of the video that this process makes."""
    try:
        return int(get_current_context()["ti"].map_index)
    except RuntimeError:  # while the DAG is parsed
        return None


crash_points.install(number, Path(os.environ["MODELMAX_CHAOS_CRASHES"]))


@task
def prompts(params: Any = None) -> list[str]:
    """Return one prompt for each video; its number tells the faults which one to strike."""
    return [f"video {each:04}." for each in range(params["videos"])]


with DAG("chaos", schedule=None, params={"videos": 20}):
    ModelMaxGenerateVideoOperator.partial(
        task_id="generate",
        model="veo-3.1-fast",
        parameters={"duration_seconds": 1},
        destination="s3://store@videos/{{ run_id }}/",
        poll_interval=2,
        deadline=timedelta(minutes=20),
        retries=40,
        retry_delay=timedelta(seconds=1),
    ).expand(prompt=prompts())
