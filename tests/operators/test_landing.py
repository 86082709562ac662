"""What is paid for is kept, whatever breaks right after the billing call."""

from __future__ import annotations

import json
import logging
import time
from typing import Any

import pytest

from airflow_provider_modelmax.api import Job, RefusedError, Result
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.manifest import Destination, Manifest
from airflow_provider_modelmax.operators import landing as room
from airflow_provider_modelmax.operators.landing import MAX_ASKS, Landing
from airflow_provider_modelmax.operators.progress import FETCHED, FETCHING, LANDED, Progress, ProgressStore
from airflow_provider_modelmax.storage import StorageError

TASK = {"dag_id": "d", "run_id": "r", "task_id": "t", "map_index": -1}


class Kept(dict[str, Any]):
    """A task state store as the context gives it; it can be out of order."""

    broken = False

    def set(self, key: str, value: Any, retention: Any = None) -> None:
        if self.broken:
            raise ConnectionError("no answer from the API server")
        self[key] = json.loads(json.dumps(value))


@pytest.fixture
def completed(simulator: Any, modelmax_conn: str) -> Job:
    simulator.settings.run_seconds = 0
    hook = ModelMaxHook(modelmax_conn)
    return hook.submit_video("veo-3.1-fast", "a lighthouse", {"duration_seconds": 1, "generate_audio": False})


def landing(tmp_path: Any, kept: Kept | None, **more: Any) -> Landing:
    return Landing(
        hook=ModelMaxHook("modelmax_default"),
        store=ProgressStore({} if kept is None else {"task_state_store": kept}),
        destination=Destination.parse(f"{tmp_path}/clip.mp4", "clip"),
        task=TASK,
        overwrite=False,
        request=None,
        log=logging.getLogger("test"),
        **more,
    )


def test_the_result_is_kept_in_task_state_and_manifest(completed, tmp_path):
    kept = Kept()
    fetched = landing(tmp_path, kept).fetch(Progress(completed))
    assert ProgressStore({"task_state_store": kept}).get() == fetched
    assert Manifest.read(f"{tmp_path}/clip.modelmax.json").result == fetched.result


def test_a_task_state_that_breaks_after_the_billing_call_leaves_the_manifest(completed, tmp_path, monkeypatch):
    kept = Kept()
    billing = ModelMaxHook.get_result

    def break_after(hook: ModelMaxHook, job: Job) -> Result:
        kept.broken = True
        return billing(hook, job)

    monkeypatch.setattr(ModelMaxHook, "get_result", break_after)
    fetched = landing(tmp_path, kept).fetch(Progress(completed))
    assert fetched.phase == FETCHED
    assert landing(tmp_path, None).recall(completed).result == fetched.result


def test_a_result_that_no_place_takes_is_in_the_log(completed, tmp_path, monkeypatch, caplog):
    def refuse(self: Manifest, uri: str) -> None:
        raise StorageError("the store is down")

    monkeypatch.setattr(Manifest, "write", refuse)
    with pytest.raises(StorageError):
        landing(tmp_path, None).fetch(Progress(completed))
    logged = next(record.getMessage() for record in caplog.records if "kept nowhere else" in record.getMessage())
    assert json.loads(logged[logged.index("{") :])["request_id"] == completed.request_id


def test_a_kept_result_is_not_asked_for_again(simulator, completed, tmp_path):
    kept = Kept()
    landing(tmp_path, kept).fetch(Progress(completed))
    landing(tmp_path, kept).fetch(ProgressStore({"task_state_store": kept}).get())
    assert simulator.ledger.count("result") == 1


def test_a_second_execution_waits_for_the_first_ones_billing_call(simulator, completed, tmp_path, monkeypatch):
    kept = Kept()
    first = Progress(completed, phase=FETCHING, asks=1, asker="another-host:1", asked_at=time.time())
    ProgressStore({"task_state_store": kept}).put(first)

    def the_other_finishes(_: float) -> None:
        result = ModelMaxHook("modelmax_default").get_result(completed)
        ProgressStore({"task_state_store": kept}).put(first.fetched(result))

    monkeypatch.setattr(room.time, "sleep", the_other_finishes)
    assert landing(tmp_path, kept).fetch(first).result
    assert simulator.ledger.count("result") == 1


def test_a_billing_call_whose_process_died_is_made_again_with_a_warning(completed, tmp_path, caplog):
    dead = Progress(
        completed, phase=FETCHING, asks=1, asker=f"{room.socket.gethostname()}:4194305", asked_at=time.time()
    )
    assert landing(tmp_path, Kept()).fetch(dead).asks == 2
    assert "may be billed a second time" in caplog.text


def test_the_billing_call_is_not_begun_for_ever(simulator, completed, tmp_path):
    with pytest.raises(RefusedError, match="not asked for again"):
        landing(tmp_path, Kept()).fetch(Progress(completed, asks=MAX_ASKS))
    assert simulator.ledger.count("result") == 0


def test_what_has_landed_is_kept_as_landed(completed, tmp_path):
    kept = Kept()
    here = landing(tmp_path, kept)
    landed = here.land(here.fetch(Progress(completed)))
    assert landed.phase == LANDED
    assert ProgressStore({"task_state_store": kept}).get() == landed
    assert Manifest.read(f"{tmp_path}/clip.modelmax.json").videos == landed.videos


def test_a_killed_download_leaves_nothing_half_written(simulator, completed, tmp_path):
    simulator.settings.filler_bytes = 64 * 1024 * 1024
    here = landing(tmp_path, Kept())
    fetched = here.fetch(Progress(completed))
    here.stop.set()
    with pytest.raises(room.Stopped):
        here.land(fetched)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.modelmax.json"]
