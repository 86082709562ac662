"""What release 0.1.0 stored, in every phase: a retry and a clear of this release go on from it."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import quote, unquote

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_modelmax.api import DestinationError
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator, stem_of
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import IMAGE, Kept

SAMPLES = Path(__file__).parents[1] / "samples" / "kept_0.1.0"
FOLDER = "/srv/videos"
PROMPT = 'An old lighthouse in a storm: "a film by Ivan", Kameraschwenk über die Küste, 灯台と波 🌊'
SHORT = {"duration_seconds": 1, "generate_audio": False}
TASK = {"dag_id": "films", "run_id": "manual__2026-11-22T11:32:05+00:00", "task_id": "make", "map_index": -1}

CALLS = {
    "submitted": (0, 1, 1),
    "submitted_after_a_refusal": (0, 1, 1),
    "fetching": (0, 1, 1),
    "fetching_answer_lost": (0, 1, 1),
    "fetched": (0, 0, 1),
    "fetched_image_by_base64": (0, 0, 1),
    "fetched_one_of_three_missing": (0, 0, 1),
    "fetched_without_task_state": (0, 0, 1),
    "landed": (0, 0, 0),
    "landed_image_by_path": (0, 0, 0),
    "landed_in_a_folder": (0, 0, 0),
    "landed_one_of_two_unusable": (0, 0, 0),
    "landed_two": (0, 0, 0),
    "unusable": (0, 0, 0),
}
"""How many submits, results and contents a retry asks for."""

CASES = [
    (path.stem, has_store)
    for path in sorted(SAMPLES.glob("*.json"))
    for has_store in (True, False)
    if path.stem != "submit_submitted"
]


def stored(name: str) -> dict[str, Any]:
    document: dict[str, Any] = json.loads((SAMPLES / f"{name}.json").read_text("utf-8"))
    return document


class Task:
    """A task of which 0.1.0 stored something, its job at the simulator, its videos in a folder."""

    def __init__(self, name: str, folder: Path, simulator: Any, *, has_store: bool) -> None:
        document = stored(name)
        self.kind, _, self.phase = name.partition("_")
        self.folder, self.simulator, self.has_store = folder, simulator, has_store
        record = document["task_state"] or document["manifest"]
        request = (document["manifest"] or {}).get("request") or {}
        self.prompt = PROMPT + (" [fail]" if self.phase == "failed" else "")
        self.parameters = dict(request.get("parameters") or SHORT)
        if str(self.parameters.get("image", "")).startswith("<"):  # shown by its size, and given as Base64
            self.parameters["image"] = IMAGE.read_bytes()
        samples = max(len(record["data"] or []), 1)
        job = ModelMaxHook().submit_video("veo-3.1-fast", self.prompt, {**SHORT, "sample_count": samples})
        document = json.loads(self._at_the_simulator(json.dumps(document, ensure_ascii=False), record, job))
        self.job = (document["task_state"] or document["manifest"])["request_id"]
        self.store = Kept({"modelmax": document["task_state"]} if document["task_state"] and has_store else {})
        self.destination = f"{folder}/" if self.phase == "landed_in_a_folder" else f"{folder}/clip.mp4"
        if document["manifest"]:
            for video in document["manifest"]["videos"]:
                Path(video["uri"]).write_bytes(bytes(video["bytes"]))
            self.manifest = Path(self._manifest_name(document["manifest"]))
            self.manifest.write_text(json.dumps(document["manifest"]))

    def _at_the_simulator(self, text: str, record: dict[str, Any], job: Any) -> str:
        content_id = self.simulator.ledger.jobs[job.request_id].content_id
        text = text.replace(stem_of(record["request_id"]), stem_of(job.request_id))
        swaps = {record["request_id"]: job.request_id}
        for each in record["data"] or []:
            if each["url"]:
                swaps[unquote(each["url"].split("/")[-3])] = content_id
        for old, new in swaps.items():
            text = text.replace(old, new).replace(quote(old, safe=""), quote(new, safe=""))
        return text.replace(f'"uri": "{FOLDER}/', f'"uri": "{self.folder}/')

    def _manifest_name(self, manifest: dict[str, Any]) -> str:
        if self.phase != "landed_in_a_folder":
            return f"{self.folder}/clip.modelmax.json"
        return manifest["videos"][0]["uri"].replace(".mp4", ".modelmax.json")

    def run(self, *, max_tries: int = 2, overwrite: bool = False, task_id: str = "make") -> Any:
        more: dict[str, Any] = {"destination": self.destination, "overwrite": overwrite, "deferrable": False}
        order = {"model": "veo-3.1-fast", "prompt": self.prompt, "parameters": self.parameters}
        operator: Any
        if self.kind == "generate":
            operator = ModelMaxGenerateVideoOperator(task_id=task_id, **order, **more)
        elif self.kind == "download":
            job = {"model": "veo-3.1-fast", "request_id": self.job}
            operator = ModelMaxDownloadVideoOperator(task_id=task_id, job=job, **more)
        else:
            operator = ModelMaxSubmitVideoOperator(task_id=task_id, **order)
        nothing: Any = lambda **_: None  # noqa: E731
        ti = SimpleNamespace(
            **{**TASK, "task_id": task_id}, max_tries=max_tries, try_number=2, xcom_push=nothing, xcom_pull=nothing
        )
        context = {"ti": ti, "task": operator, "outlet_events": {}}
        return operator.execute({**context, "task_state_store": self.store} if self.has_store else context)


def counts(simulator: Any) -> tuple[int, ...]:
    return tuple(simulator.ledger.count(call) for call in ("submit", "result", "content"))


@pytest.fixture(autouse=True)
def _now_over(simulator: Any, modelmax_conn: str) -> None:
    simulator.settings.run_seconds = 0


@pytest.mark.parametrize("max_tries", [2, 5], ids=["retry", "clear"])
@pytest.mark.parametrize(("name", "has_store"), CASES)
def test_a_task_goes_on_from_what_0_1_0_stored(simulator, tmp_path, name, has_store, max_tries):
    if has_store and not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    if not has_store and stored(name)["manifest"] is None:
        pytest.skip("0.1.0 stored nothing")
    task = Task(name, tmp_path, simulator, has_store=has_store)
    expected = {**CALLS, "failed": (1 if task.kind == "generate" else 0, 0, 0)}[task.phase]
    fails = task.phase in {"failed", "unusable", "landed_one_of_two_unusable"}
    with pytest.raises(AirflowFailException) if fails else contextlib.nullcontext():
        task.run(max_tries=max_tries)
    submits, *others = counts(simulator)
    assert (submits - 1, *others) == expected
    if not fails:
        record = json.loads(task.manifest.read_text()) if hasattr(task, "manifest") else task.store["modelmax"]
        assert record["phase"] == "landed"
        assert record["request_id"] == task.job


@pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow keeps the state of a task since 3.3")
def test_a_submit_task_hands_on_the_job_that_0_1_0_stored(simulator, tmp_path):
    task = Task("submit_submitted", tmp_path, simulator, has_store=True)
    assert task.run()["request_id"] == task.job
    assert simulator.ledger.count("submit") == 1


@pytest.mark.parametrize("overwrite", [True, False])
@pytest.mark.parametrize("kind", ["generate", "download"])
def test_nothing_is_done_over_a_manifest_that_only_a_newer_release_can_read(simulator, tmp_path, kind, overwrite):
    task = Task(f"{kind}_landed", tmp_path, simulator, has_store=False)
    later = {**json.loads(task.manifest.read_text()), "manifest_version": 2, "provider_version": "3.1.4"}
    task.manifest.write_text(json.dumps(later))
    for task_id in ("make", "another"):
        with pytest.raises(DestinationError, match=r"Install that release or a later one"):
            task.run(overwrite=overwrite, task_id=task_id)
    assert json.loads(task.manifest.read_text()) == later
    assert counts(simulator) == (1, 0, 0)


def test_unknown_fields_in_another_tasks_manifest_are_not_in_the_way_of_overwrite(simulator, tmp_path):
    task = Task("generate_landed", tmp_path, simulator, has_store=False)
    later = {**json.loads(task.manifest.read_text()), "cost_limit": 3}
    task.manifest.write_text(json.dumps(later))
    with pytest.raises(DestinationError, match="is taken by job"):
        task.run(task_id="another")
    task.run(task_id="another", overwrite=True)
    assert counts(simulator) == (2, 1, 1)
    assert "cost_limit" not in json.loads(task.manifest.read_text())


@pytest.mark.parametrize("name", ["generate_fetched", "download_fetching", "generate_submitted_after_a_refusal"])
def test_fields_that_a_later_release_added_survive_a_task_of_this_one(simulator, tmp_path, name):
    if not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    task = Task(name, tmp_path, simulator, has_store=True)
    task.store["modelmax"]["cost_limit"] = 2.5
    task.manifest.write_text(json.dumps({**json.loads(task.manifest.read_text()), "colour": "red"}))
    task.run()
    assert task.store["modelmax"]["cost_limit"] == 2.5
    assert json.loads(task.manifest.read_text())["colour"] == "red"
