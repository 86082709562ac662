"""Alerting: a callback that reports which task failed, why, and for which job."""

import logging
from typing import Any

from airflow.sdk import DAG, Param

from airflow_provider_modelmax.api import InsufficientBalanceError, UnauthorizedError
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

log = logging.getLogger(__name__)


def send_alert(message: str) -> None:
    """Send the message; put your chat or pager here."""
    log.error("%s", message)


def alert_on_failure(context: Any) -> None:
    """Run by Airflow when no retry is left; the provider's message has the cost and the next step."""
    ti = context["ti"]
    request_id = ti.xcom_pull(task_ids=ti.task_id, key="request_id", map_indexes=ti.map_index)
    error = context.get("exception")  # None if the worker died, for example
    stops_all = isinstance(error and error.__cause__, UnauthorizedError | InsufficientBalanceError)
    send_alert(
        f"{'URGENT: ' if stops_all else ''}{ti.dag_id}.{ti.task_id}, run {ti.run_id}, job {request_id or 'none yet'}: "
        f"{error or 'see its log'}"
    )


with DAG(
    "modelmax_alerting",
    schedule=None,
    tags=["modelmax"],
    params={"prompt": Param("A lighthouse at dusk, waves rolling in", type="string")},
) as dag:
    ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1-fast",
        prompt="{{ params.prompt }}",
        parameters={"duration_seconds": 4},
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
        on_failure_callback=alert_on_failure,
    )
