"""A destination that cannot be used is refused before the submit, run by Airflow."""

from __future__ import annotations

import uuid
from pathlib import Path

import pytest

from airflow_provider_modelmax import stores
from tests.operators.test_generate import counts
from tests.stack.s3 import BUCKET
from tests.stores import S3Store

pytestmark = pytest.mark.usefixtures("modelmax_conn", "short_pauses")


@pytest.fixture
def s3(seaweedfs, monkeypatch):
    made = S3Store(seaweedfs, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    stores._look_up.cache_clear()


@pytest.mark.parametrize("kind", ["/", "/clip.mp4"])
@pytest.mark.parametrize("name", ["take?versionId=3", "a//b", "a/../b", "a\\b", "tab\there", "k" * 1024])
def test_a_name_that_is_read_as_another_or_is_too_long_costs_nothing(run, simulator, s3, name, kind):
    done = run("generate_inline", destination=s3.uri(name) + kind)
    assert done.state == "failed"
    assert counts(simulator) == [0, 0, 0]
    assert s3.names() == []


@pytest.mark.parametrize("destination", ["videos/", "./clip.mp4", r"\\server\share\videos", r"C:\videos\clip.mp4"])
def test_a_relative_path_costs_nothing(run, simulator, destination, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    done = run("generate_inline", destination=destination)
    assert done.state == "failed"
    assert counts(simulator) == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []
    assert "InvalidInputError" in done.output or "AirflowFailException" in done.output


def test_names_of_other_alphabets_go_on_landing(run, simulator, s3):
    destination = s3.uri("火曜日 été 🦊+a=b&c/")
    done = run("generate_inline", destination=destination)
    assert done.state == "success", done.output
    (uri,) = done.xcom("generate")
    manifest = done.xcom("generate", "manifest")
    assert uri.startswith(destination)
    assert s3.names() == sorted(each.partition(f"@{BUCKET}/{s3.prefix}/")[2] for each in (uri, manifest))
    assert Path(uri).suffix == ".mp4"
