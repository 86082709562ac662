"""Airflow kills a task with SIGTERM, and five seconds later with SIGKILL: an answer that comes between them is kept."""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs.cancellation import Cancelled
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import CONTEXT
from tests.stack.processes import wait_until

SHORT = {"duration_seconds": 1, "generate_audio": False}
ANSWER_AFTER, BETWEEN = 0.5, 1.5
"""Seconds from SIGTERM to the answer, and to SIGKILL. Airflow 3.3 leaves 5 (``WatchedSubprocess.kill``); here, as after
an answer that takes 4 of them, one is left to store what came."""


class Store:
    """A task state store in a file, which refuses or takes very long once the task is not to run any more."""

    def __init__(self, path: Path, then: str) -> None:
        self.path, self.then, self.killed = path, then, False

    def get(self, key: str) -> Any:
        self._answer()
        return json.loads(self.path.read_text()) if self.path.exists() else None

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        self._answer()
        self.path.write_text(json.dumps(value))

    def _answer(self) -> None:
        if self.killed and self.then == "refuses":
            raise RuntimeError("API_SERVER_ERROR: 409 the task instance is not running")
        if self.killed and self.then == "retries":
            time.sleep(60)


def execute(operator: Any, store: Store | None) -> None:
    """Do what Airflow does in the task's process."""

    def on_term(*_: object) -> None:
        if store:
            store.killed = True
        operator.on_kill()

    signal.signal(signal.SIGTERM, on_term)
    ti = SimpleNamespace(**{**vars(CONTEXT["ti"]), "try_number": 1})
    operator.execute({"ti": ti, "task": operator, "outlet_events": {}, "task_state_store": store})


@pytest.mark.parametrize("then", ["takes it", "refuses", "retries", None])
@pytest.mark.parametrize("kind", ["generate", "download"])
def test_an_answer_that_comes_between_the_two_signals_is_kept(simulator, modelmax_conn, tmp_path, kind, then):
    if then and not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    simulator.settings.run_seconds = 0
    simulator.fault("result", "slow_answer", seconds=ANSWER_AFTER, times=1)
    more: dict[str, Any] = {"task_id": "t", "destination": f"{tmp_path}/Küste/clip.mp4", "deferrable": False}
    if kind == "generate":
        order = {"model": "veo-3.1-fast", "prompt": "a lighthouse, 灯台", "parameters": SHORT}
        operator: Any = ModelMaxGenerateVideoOperator(**order, **more)
    else:
        job = ModelMaxHook().submit_video("veo-3.1-fast", "a lighthouse", SHORT)
        operator = ModelMaxDownloadVideoOperator(job=job.as_dict(), **more)
    store = Store(tmp_path / "state.json", then) if then else None
    process = multiprocessing.get_context("fork").Process(target=execute, args=(operator, store))
    process.start()
    assert process.pid
    wait_until(lambda: simulator.ledger.count("result"), 30, "the billing call is under way")
    os.kill(process.pid, signal.SIGTERM)
    process.join(BETWEEN)
    if process.is_alive():
        os.kill(process.pid, signal.SIGKILL)
    process.join()

    stored = json.loads((tmp_path / "Küste" / "clip.modelmax.json").read_text())
    assert stored["phase"] == "fetched"
    assert simulator.ledger.count("content") == 0
    again = {**CONTEXT, "ti": SimpleNamespace(**{**vars(CONTEXT["ti"]), "try_number": 2}), "outlet_events": {}}
    if store:
        again["task_state_store"] = Store(tmp_path / "state.json", "takes it")
    assert operator.execute(again) == [f"{tmp_path}/Küste/clip.mp4"]
    assert [simulator.ledger.count(call) for call in ("submit", "result", "content")] == [1, 1, 1]
    assert len(simulator.ledger.bills) == 1


@pytest.mark.parametrize("kind", ["submit", "generate"])
def test_a_task_that_is_killed_before_it_begins_submits_nothing(simulator, modelmax_conn, tmp_path, kind):
    order: dict[str, Any] = {"task_id": "t", "model": "veo-3.1-fast", "prompt": "a boat", "parameters": SHORT}
    operator: Any = (
        ModelMaxSubmitVideoOperator(**order)
        if kind == "submit"
        else ModelMaxGenerateVideoOperator(destination=f"{tmp_path}/", **order)
    )
    operator.on_kill()
    with pytest.raises(Cancelled):
        operator.execute(CONTEXT)
    assert simulator.ledger.count("submit") == 0
