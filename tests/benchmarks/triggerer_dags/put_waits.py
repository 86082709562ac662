"""Insert deferred tasks and their triggers into the metadata database, like Airflow. A separate process.

Airflow reads its settings on import: run `python put_waits.py KIND COUNT RUN_ID` in the environment of the benchmark.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.models.taskinstance import TaskInstance
from airflow.models.trigger import Trigger
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete

from tests.benchmarks.usage import EVERY

DAG, TASK = "bench_waits", "wait"


def main() -> None:
    """Delete the deferred tasks of the last run, and insert new ones."""
    kind, count, run_id = sys.argv[1], int(sys.argv[2]), sys.argv[3]
    with create_session() as session:
        for model in (TaskInstance, Trigger, DagRun):
            session.execute(delete(model))
    with create_session() as session:
        for each in _waits(TRIGGERS[kind], count, run_id, session):
            session.add(each)


def _waits(trigger: Callable[[int], Any], count: int, run_id: str, session: Any) -> Iterator[TaskInstance]:
    now = datetime.now(timezone.utc)
    serialized = SerializedDagModel.get(DAG, session=session)
    task = serialized.dag.get_task(TASK)
    run = serialized.dag.create_dagrun(
        run_id=run_id,
        run_after=now,
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        start_date=now,
        session=session,
    )
    session.execute(delete(TaskInstance).where(TaskInstance.task_id == TASK))  # the one that stood for all
    for index in range(count):
        instance = TaskInstance(task, serialized.dag_version_id, run.run_id, TaskInstanceState.DEFERRED, index)
        instance.try_number, instance.start_date = 1, now
        instance.next_method, instance.next_kwargs = "execute_complete", {}
        instance.trigger = Trigger.from_object(trigger(index))
        yield instance


def _modelmax(number: int) -> Any:
    from airflow_provider_modelmax import api
    from airflow_provider_modelmax.triggers.job import ModelMaxJobTrigger

    job = api.Job.of({"model": "veo-3.1", "request_id": f"job-{number}"})
    deadline = datetime.now(timezone.utc) + timedelta(days=1)
    return ModelMaxJobTrigger.waiting_for(job, conn_id="bench_modelmax", deadline=deadline, poll_interval=EVERY)


def _dbt(number: int) -> Any:
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    return DbtCloudRunJobTrigger("bench_dbt", number, time.time() + 86_400, EVERY, account_id=1)


def _http(number: int) -> Any:
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(f"sensor/{number}/", "bench_http", poke_interval=EVERY)


def _idle(_: int) -> Any:
    from tests.benchmarks.after_seconds import AfterSeconds

    return AfterSeconds()


TRIGGERS = {"modelmax": _modelmax, "dbt": _dbt, "http": _http, "idle": _idle}

if __name__ == "__main__":
    main()
