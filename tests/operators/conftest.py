"""Run scenarios through ``dag.test()``: Airflow's own task runner, API and database, in this process."""

from __future__ import annotations

import importlib.util
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from typing import Any

import pytest

DAGS = Path(__file__).parent / "dags"


@dataclass
class Run:
    """One finished DAG run."""

    dag_run: Any
    output: str = field(repr=False)

    @property
    def state(self) -> str:
        return str(self.dag_run.state)

    def task_state(self, task_id: str) -> str:
        return str(self.dag_run.get_task_instance(task_id).state)

    def xcom(self, task_id: str, key: str = "return_value") -> Any:
        return self.dag_run.get_task_instance(task_id).xcom_pull(task_ids=task_id, key=key)


@pytest.fixture(scope="session")
def dags() -> dict[str, Any]:
    """Migrate the database, and load the scenarios."""
    from airflow.utils.db import initdb

    Path(os.environ["AIRFLOW_HOME"], "dags").symlink_to(DAGS)
    initdb()
    spec = importlib.util.spec_from_file_location("scenarios", DAGS / "scenarios.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.DAGS


@pytest.fixture
def run(dags: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Run a DAG with a conf."""

    def run(dag_id: str, **conf: Any) -> Run:
        capfd.readouterr()
        dag_run = dags[dag_id].test(run_conf=conf)
        return Run(dag_run, "".join(capfd.readouterr()))

    return run


@pytest.fixture
def clear(dags: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> Callable[..., Run]:
    """Clear all tasks of a finished run and run them again, as ``dag.test()`` runs them; it cannot do so itself."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance, clear_task_instances
    from airflow.sdk.definitions.dag import _run_task
    from airflow.utils.session import create_session
    from sqlalchemy import select

    def clear(done: Run, **conf: Any) -> Run:
        capfd.readouterr()
        dag, where = dags[done.dag_run.dag_id], {"dag_id": done.dag_run.dag_id, "run_id": done.dag_run.run_id}
        with create_session() as session:
            dag_run = session.scalar(select(DagRun).filter_by(**where))
            dag_run.conf = {**dag_run.conf, **conf}
            clear_task_instances(list(dag_run.task_instances), session)
        for task_id in dag.task_ids:
            for _ in range(3):  # the first segment, the second, and one to spare
                with create_session() as session:
                    ti = session.scalar(select(TaskInstance).filter_by(task_id=task_id, **where))
                    if str(ti.state) in {"success", "failed", "skipped"}:
                        break
                    ti.state, ti.try_number = "scheduled", ti.try_number + 1
                    session.flush()
                    session.expunge_all()
                _run_task(ti=ti, task=dag.get_task(task_id), run_triggerer=True)
        with create_session() as session:
            dag_run = session.scalar(select(DagRun).filter_by(**where))
            states = {str(ti.state) for ti in dag_run.task_instances}
            dag_run.state = "success" if states == {"success"} else "failed"
        return Run(dag_run, "".join(capfd.readouterr()))

    return clear


@pytest.fixture
def triggers_fire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the 8 s that a trigger waits for the scheduler's sake: ``dag.test()`` has no scheduler."""
    monkeypatch.setattr("airflow_provider_modelmax.triggers.job.FIRST_EVENT", timedelta(0))


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the pauses between attempts; how long they are is for the tests of the retry rule."""
    from airflow_provider_modelmax import api
    from airflow_provider_modelmax.operators import landing

    rule = api.retry_delay
    monkeypatch.setattr(api, "retry_delay", lambda *args: None if rule(*args) is None else 0.01)
    monkeypatch.setattr(landing, "pause_before", lambda *_: 0.01)
