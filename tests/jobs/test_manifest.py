"""Where the videos of a job go, and what is kept beside them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest

from airflow_provider_modelmax.api import DestinationError, Job, Result
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import JobRecord, with_unknown_fields
from airflow_provider_modelmax.jobs.request import VideoRequest
from airflow_provider_modelmax.jobs.task_state import TaskState
from airflow_provider_modelmax.storage.objects import Saved
from tests.airflow_versions import KEEPS_TASK_STATE

JOB = Job.of({"request_id": "req-1", "model": "m/one"})
RESULT = Result("req-1", "m/one", ("/v1/content/1", "/v1/content/2"), {"seconds": 16})
TASK = {"dag_id": "d", "run_id": "manual__2026-11-22T11:32:05+00:00", "task_id": "t", "map_index": -1}
REQUEST = {"prompt": "a fox, 狐, 🦊", "parameters": {"sample_count": 2}}
VIDEOS = (Saved("s3://c@b/x-0.mp4", 12, "ab"), Saved("s3://c@b/x-1.mp4", 13, "cd"))
BEGUN = JobRecord(JOB, task=TASK, request=REQUEST, order="0a1b", max_tries=2, samples=2, destination="s3://c@b/v")
FETCHING = BEGUN.requesting("host:1:ab", expires=1e9, busy_until=1e9 + 0.5)
RECORD = FETCHING.fetched(RESULT).landed(VIDEOS)


@pytest.mark.parametrize(
    "record",
    [RECORD, FETCHING.fetched(RESULT), FETCHING, replace(RECORD, request=None), JobRecord(JOB)],
    ids=["landed", "fetched", "fetching", "submitted elsewhere", "just named"],
)
def test_what_is_written_is_read_back(record: JobRecord, tmp_path: Path) -> None:
    uri = f"{tmp_path}/x.modelmax.json"
    Manifest(uri).put(record)
    found = Manifest(uri).get()
    assert found is not None
    assert asdict(found) == asdict(record)


def test_a_prompt_stays_readable_in_the_file(tmp_path: Path) -> None:
    Manifest(f"{tmp_path}/x.modelmax.json").put(RECORD)
    assert "狐, 🦊" in (tmp_path / "x.modelmax.json").read_text("utf-8")


def test_an_emoji_cut_in_half_does_not_keep_the_manifest_from_being_written(tmp_path: Path) -> None:
    record = replace(RECORD, request={"prompt": "a fox, \ud83e"})
    Manifest(f"{tmp_path}/x.modelmax.json").put(record)
    found = Manifest(f"{tmp_path}/x.modelmax.json").get()
    assert found is not None
    assert found.request == record.request


def test_no_manifest_is_none(tmp_path: Path) -> None:
    assert Manifest(f"{tmp_path}/x.modelmax.json").get() is None


def written(tmp_path: Path) -> dict[str, Any]:
    Manifest(f"{tmp_path}/x.modelmax.json").put(RECORD)
    document: dict[str, Any] = json.loads((tmp_path / "x.modelmax.json").read_text())
    return document


def test_fields_of_a_later_release_are_kept_when_the_manifest_is_written_back(tmp_path: Path) -> None:
    uri, document = f"{tmp_path}/x.modelmax.json", {**written(tmp_path), "manifest_version": "1.7", "colour": "red"}
    document["videos"][1]["codec"] = document["data"][0]["codec"] = "av1"
    document["task"]["map_key"], document["request"]["seed"] = "k", 7
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    manifest = Manifest(uri)
    found = manifest.get()
    assert found is not None
    assert (found.task, found.request) == (document["task"], document["request"])
    assert found.is_of_task(TASK)
    manifest.put(replace(RECORD, reason="since"))
    assert json.loads((tmp_path / "x.modelmax.json").read_text()) == {
        **document,
        "manifest_version": 1,
        "reason": "since",
    }


def test_integers_beyond_64_bits_in_a_manifest_of_0_1_0_are_read_as_what_airflow_can_store(tmp_path: Path) -> None:
    document = {**written(tmp_path), "usage": {"video_seconds": 10**30, "units": 10**400}, "audit": [2**63]}
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    manifest = Manifest(f"{tmp_path}/x.modelmax.json")
    found = manifest.get()
    assert found is not None
    assert found.usage == {"video_seconds": 1e30, "units": None}
    assert manifest.document(found)["audit"] == [float(2**63)]


@pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow keeps the state of a task since 3.3")
def test_integers_beyond_64_bits_in_a_request_are_stored_as_what_airflow_can_store() -> None:
    stored: dict[str, Any] = {}
    store = SimpleNamespace(get=stored.get, set=lambda key, value, retention: stored.update({key: value}))
    request = VideoRequest.check("veo-3.1", "a fox", {"seed": 10**30}).description
    TaskState(store, max_tries=1, try_number=1).put(replace(RECORD, request=request))
    sent = msgspec.msgpack.decode(msgspec.msgpack.encode(stored))["modelmax"]["request"]
    assert sent["parameters"] == {"seed": 1e30}


def test_fields_of_a_video_that_was_replaced_are_not_kept(tmp_path: Path) -> None:
    document = written(tmp_path)
    document["videos"][0]["codec"] = "av1"
    landed = RECORD.landed((Saved(VIDEOS[0].uri, 12, "another"), VIDEOS[1]))
    assert "codec" not in with_unknown_fields(landed.as_dict(), document)["videos"][0]


@pytest.mark.parametrize("version", [2, "2.0", 2.5, 10])
def test_a_manifest_that_only_a_newer_release_can_read_names_that_release(tmp_path: Path, version: object) -> None:
    later = {**written(tmp_path), "manifest_version": version, "provider_version": "3.1.4", "phase": {"new": "form"}}
    (tmp_path / "x.modelmax.json").write_text(json.dumps(later))
    with pytest.raises(DestinationError, match=r"airflow-provider-modelmax 3\.1\.4 .* Install that release or a later"):
        Manifest(f"{tmp_path}/x.modelmax.json").get()


@pytest.mark.parametrize("missing", ["request_id", "model", "phase"])
def test_a_manifest_without_a_job_or_a_phase_is_in_the_way(missing: str, tmp_path: Path) -> None:
    document = written(tmp_path)
    del document[missing]
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    with pytest.raises(DestinationError, match=r"x\.modelmax\.json is in the way.*Move it"):
        Manifest(f"{tmp_path}/x.modelmax.json").get()


OPTIONAL = Manifest("x").document(RECORD).keys() - {"request_id", "model", "phase", "data"}


@pytest.mark.parametrize("missing", sorted(OPTIONAL))
def test_any_other_field_has_a_default(missing: str, tmp_path: Path) -> None:
    for document in (written(tmp_path), {**written(tmp_path), missing: None}):
        if document[missing] is not None:
            del document[missing]
        (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
        found = Manifest(f"{tmp_path}/x.modelmax.json").get()
        assert (found.job.request_id, found.result.urls) == ("req-1", RESULT.urls)


@pytest.mark.parametrize("phase", ["fetched", "landed"])
def test_a_manifest_that_was_paid_for_and_lost_its_data_is_not_one_that_can_be_paid_for(tmp_path, phase) -> None:
    document = {**written(tmp_path), "phase": phase, "data": None}
    (tmp_path / "x.modelmax.json").write_text(json.dumps(document))
    with pytest.raises(DestinationError, match="but there is no data"):
        Manifest(f"{tmp_path}/x.modelmax.json").get()


@pytest.mark.parametrize(
    "changed",
    [
        {"data": ["text"]},
        {"videos": [{}]},
        {"videos": 3},
        {"usage": 7},
        {"usage": "text"},
        {"usage": ["text"]},
        {"task": "text"},
        {"asks": "many"},
        {"busy_until": "later"},
        {"manifest_version": "one"},
    ],
    ids=str,
)
def test_a_manifest_of_another_shape_is_in_the_way(changed: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "x.modelmax.json").write_text(json.dumps({**written(tmp_path), **changed}))
    with pytest.raises(DestinationError, match=r"x\.modelmax\.json is in the way.*Move it"):
        Manifest(f"{tmp_path}/x.modelmax.json").get()


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"null", b"\xff\xfe", b"[" * 100_000, b"not json", b'{"a": 1}'])
def test_a_foreign_file_is_in_the_way(text: bytes, tmp_path: Path) -> None:
    (tmp_path / "x.modelmax.json").write_bytes(text)
    with pytest.raises(DestinationError, match=r"x\.modelmax\.json is in the way.*Move it"):
        Manifest(f"{tmp_path}/x.modelmax.json").get()
