"""One job whose videos go to ``clip.mp4`` in a folder, without an operator around it."""

from __future__ import annotations

import logging
import threading
import time
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_modelmax.api import Job
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs import fetch, lease
from airflow_provider_modelmax.jobs import store as store_module
from airflow_provider_modelmax.jobs.cancellation import CancelToken
from airflow_provider_modelmax.jobs.destination import Destination
from airflow_provider_modelmax.jobs.download import VideoDownload
from airflow_provider_modelmax.jobs.fetch import ResultFetcher
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.jobs.store import JobStore
from airflow_provider_modelmax.jobs.task_state import TaskState
from tests.airflow_versions import KEEPS_TASK_STATE

if TYPE_CHECKING:
    from pathlib import Path

    from tests.operators.conftest import Kept

TASK = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}
ANOTHER = {**TASK, "task_id": "another"}
ELSEWHERE = "another-host:1:12345678"
with lease.new_owner() as _mine:
    DEAD = f"{_mine.rsplit(':', 2)[0]}:4194305:12345678"


@pytest.fixture
def completed(simulator: Any, modelmax_conn: str) -> Job:
    simulator.settings.run_seconds = 0
    hook = ModelMaxHook(modelmax_conn)
    return hook.submit_video("veo-3.1-fast", "a lighthouse", {"duration_seconds": 1, "generate_audio": False})


@pytest.fixture(autouse=True)
def no_long_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fetch, "LOOK_AGAIN", 0.05)
    monkeypatch.setattr(store_module.time, "sleep", lambda seconds: threading.Event().wait(min(seconds, 0.05)))


@dataclass
class OneJob:
    """Fetches and downloads one job."""

    hook: ModelMaxHook
    store: JobStore
    cancel: CancelToken = field(default_factory=CancelToken)
    log: Any = field(default_factory=lambda: logging.getLogger("test"))

    def recall(self, job: Job | None = None, order: str = "") -> Any:
        return self.store.recall(self.store.state.get(), job=job, order=order)

    def fetch(self, record: JobRecord) -> JobRecord:
        return ResultFetcher(self.hook, self.store, self.log, self.cancel).fetch(record)

    def download(self, record: JobRecord) -> JobRecord:
        return VideoDownload(self.hook, self.store, self.log, self.cancel).run(record)


def state(kept: Kept | None, max_tries: int = 0, try_number: int = 2) -> TaskState:
    if kept is not None and not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    return TaskState(kept, max_tries=max_tries, try_number=try_number)


def one_job(
    tmp_path: Path,
    kept: Kept | None,
    *,
    task: dict[str, Any] = TASK,
    overwrite: bool = False,
    max_tries: int = 0,
    regenerates: bool = False,
) -> OneJob:
    destination = Destination.parse(f"{tmp_path}/clip.mp4", "clip")
    store = JobStore(state(kept, max_tries), destination, task, overwrite, regenerates, logging.getLogger("test"))
    return OneJob(ModelMaxHook("modelmax_default"), store)


def manifest(tmp_path: Path) -> JobRecord:
    found = Manifest(f"{tmp_path}/clip.modelmax.json").get()
    assert found
    return found


def known(job: Job, **more: Any) -> JobRecord:
    return JobRecord(job, **{"task": TASK, **more})


def claimed(job: Job, owner: str, seconds: float = 60) -> JobRecord:
    until = time.time() + seconds
    return known(job).requesting(owner, expires=until, busy_until=until)


def write(tmp_path: Path, record: JobRecord, task: dict[str, Any] = TASK) -> JobRecord:
    Manifest(f"{tmp_path}/clip.modelmax.json").put(replace(record, task=task))
    return record
