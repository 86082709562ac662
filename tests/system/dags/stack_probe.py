"""A DAG that needs nothing but Airflow: a command, and beside it a wait in the triggerer."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from airflow.providers.standard.operators.bash import BashOperator
from airflow.providers.standard.triggers.temporal import TimeDeltaTrigger
from airflow.sdk import BaseOperator, dag


class Wait(BaseOperator):
    """Waits so many seconds without a worker."""

    template_fields = ("seconds",)

    def __init__(self, *, seconds: str, **kwargs: Any) -> None:
        """Take the seconds, templated."""
        super().__init__(**kwargs)
        self.seconds = seconds

    def execute(self, context: Any) -> None:
        """Go to the triggerer."""
        self.defer(trigger=TimeDeltaTrigger(timedelta(seconds=float(self.seconds))), method_name="resume")

    def resume(self, context: Any, event: Any) -> str:
        """Come back."""
        return "resumed"


@dag(schedule=None, params={"sleep": 2, "wait": 10})
def stack_probe() -> None:
    """Lay out the two tasks."""
    BashOperator(task_id="command", bash_command="echo said by a task; sleep {{ params.sleep }}")
    Wait(task_id="wait", seconds="{{ params.wait }}")


stack_probe()
