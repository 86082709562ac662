"""Run scenarios through ``dag.test()``: Airflow's own task runner, API and database, in this process."""

from __future__ import annotations

import importlib.util
import json
import os
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest

from tests.airflow_versions import KEEPS_TASK_STATE

DAGS = Path(__file__).parent / "dags"
DAGS_FOLDER = Path(os.environ["AIRFLOW_HOME"], "dags")
IMAGE = Path(__file__).parents[2] / "example_dags" / "lighthouse.png"

CONTEXT: Any = {
    "ti": SimpleNamespace(
        dag_id="d",
        run_id="r",
        task_id="t",
        map_index=-1,
        max_tries=0,
        try_number=1,
        xcom_push=lambda **_: None,
        xcom_pull=lambda **_: None,
    )
}
"""Of a task that runs for the first time, where Airflow keeps no task state."""


class Kept(dict[str, Any]):
    """A task state store as the context gives it; it can be out of order."""

    broken = False

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        if self.broken:
            raise ConnectionError("no answer from the API server")
        self[key] = json.loads(json.dumps(value))


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

    DAGS_FOLDER.symlink_to(DAGS)
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
        if DAGS_FOLDER.is_symlink():  # it has stored all DAGs of the folder, and would again before each run
            DAGS_FOLDER.unlink()
            DAGS_FOLDER.mkdir()
        return Run(dag_run, "".join(capfd.readouterr()))

    return run


class Clear:
    """Clear all tasks of a finished run, or retry them, as ``dag.test()`` runs tasks; it cannot do so itself."""

    def __init__(self, dags: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> None:
        self.dags, self.capfd, self.output = dags, capfd, ""

    def __call__(self, done: Run, **conf: Any) -> Run:
        from airflow.models.taskinstance import clear_task_instances

        with self._session() as session:
            dag_run = self._dag_run(done, session)
            dag_run.conf = {**dag_run.conf, **conf}
            clear_task_instances(list(dag_run.task_instances), session)
            dag_run.start_date = pendulum.now("UTC")  # as the scheduler does when it takes the run up
        return self._run(done)

    def retry(self, done: Run) -> Run:
        """Try again what has failed, as the scheduler does while there are retries left."""
        with self._session() as session:
            for ti in self._dag_run(done, session).task_instances:
                ti.prepare_db_for_next_try(session)
                ti.state = None
                session.merge(ti)
        return self._run(done)

    def _run(self, done: Run) -> Run:
        self.capfd.readouterr()
        dag = self.dags[done.dag_run.dag_id]
        for task_id in dag.task_ids:
            self._run_task(done, dag.get_task(task_id))
        with self._session() as session:
            dag_run = self._dag_run(done, session)
            states = {str(ti.state) for ti in dag_run.task_instances}
            dag_run.state = "success" if states == {"success"} else "failed"
        self.output = "".join(self.capfd.readouterr())
        return Run(dag_run, self.output)

    def _run_task(self, done: Run, task: Any) -> None:
        from airflow.sdk.definitions.dag import _run_task

        for _ in range(3):  # the first segment, the second, and one to spare
            with self._session() as session:
                (ti,) = [ti for ti in self._dag_run(done, session).task_instances if ti.task_id == task.task_id]
                if str(ti.state) in {"success", "failed", "skipped"}:
                    return
                ti.state, ti.try_number = "scheduled", ti.try_number + 1
                session.flush()
                session.expunge_all()
            _run_task(ti=ti, task=task, run_triggerer=True)

    def _dag_run(self, done: Run, session: Any) -> Any:
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        return session.scalar(select(DagRun).filter_by(dag_id=done.dag_run.dag_id, run_id=done.dag_run.run_id))

    @staticmethod
    def _session() -> Any:
        from airflow.utils.session import create_session

        return create_session()


@pytest.fixture
def clear(dags: dict[str, Any], capfd: pytest.CaptureFixture[str]) -> Clear:
    return Clear(dags, capfd)


@pytest.fixture
def no_task_state(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give tasks no state store, as Airflow 3.1 and 3.2 do."""
    from airflow_provider_modelmax.jobs.task_state import TaskState

    made = TaskState.__init__
    monkeypatch.setattr(TaskState, "__init__", lambda self, _, **more: made(self, None, **more))


@pytest.fixture
def discard_task_state() -> Callable[[Run], None]:
    """Discard the state of all tasks of a run, as ``[state_store] clear_on_success`` does."""
    if not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    from airflow.models.task_state_store import TaskStateStoreModel
    from airflow.utils.session import create_session
    from sqlalchemy import delete

    def discard(done: Run) -> None:
        with create_session() as session:
            gone = session.execute(delete(TaskStateStoreModel).where(TaskStateStoreModel.run_id == done.dag_run.run_id))
        assert gone.rowcount

    return discard


@pytest.fixture
def triggers_fire_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Spare the 8 s that a trigger waits for the scheduler's sake: ``dag.test()`` has no scheduler."""
    monkeypatch.setattr("airflow_provider_modelmax.triggers.job.FIRST_EVENT", timedelta(0))
