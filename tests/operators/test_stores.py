"""Generate with a destination on Google Cloud Storage and on Azure, run by Airflow: paid once, whole, in its place."""

from __future__ import annotations

import hashlib
import json
import uuid
from typing import Any

import pytest

from airflow_provider_modelmax.storage import bucket
from tests.operators.test_generate import counts, served
from tests.stores import MAKERS, on

pytestmark = [
    pytest.mark.usefixtures("modelmax_conn", "triggers_fire_at_once", "short_pauses"),
    pytest.mark.parametrize("way", ["deferrable", "inline"]),
    on("gcs", "azure"),
]


@pytest.fixture
def store(request, tmp_path, monkeypatch):
    made = MAKERS[request.param](request, tmp_path, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    bucket._client.cache_clear()


def landed(store: Any) -> set[str]:
    return {hashlib.sha256(store.read(name)).hexdigest() for name in store.names() if name.endswith(".mp4")}


def test_a_video_lands_whole_beside_its_manifest_and_costs_one_call_of_each(way, run, simulator, store):
    done = run(f"generate_{way}", destination=store.uri("videos/"))
    assert done.state == "success", done.output
    assert counts(simulator) == [1, 1, 1]
    assert landed(store) == served(simulator)
    (uri,) = done.xcom("generate")
    assert uri.startswith(store.uri("videos/"))
    (manifest,) = [json.loads(store.read(name)) for name in store.names() if name.endswith(".json")]
    assert manifest["videos"][0]["uri"] == uri
    kinds = {name.rpartition(".")[2]: store.content_type(name) for name in store.names()}
    assert kinds == {"mp4": "video/mp4", "json": "application/json"}


def test_a_cut_body_leaves_nothing_and_the_next_try_pays_nothing(way, run, clear, simulator, store):
    simulator.fault("content", "cut_body", times=100)
    failed = run(f"generate_{way}", destination=store.uri("clip.mp4"))
    assert failed.state == "failed"
    assert landed(store) == set()
    simulator.clear_faults()
    assert clear(failed).state == "success"
    assert counts(simulator)[:2] == [1, 1]
    assert landed(store) == served(simulator)


def test_a_cleared_task_finds_its_video_and_pays_nothing(way, run, clear, simulator, store, no_task_state):
    done = run(f"generate_{way}", destination=store.uri("clip.mp4"))
    again = clear(done)
    assert again.state == "success"
    assert counts(simulator) == [1, 1, 1]
    assert again.xcom("generate") == done.xcom("generate") == [store.uri("clip.mp4")]
