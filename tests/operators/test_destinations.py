"""A destination that cannot be used is refused before the submit, run by Airflow."""

from __future__ import annotations

import json
import uuid
from pathlib import Path

import pytest

from airflow_provider_modelmax.storage import bucket
from tests.operators.test_generate import counts
from tests.stack.odd_mount import mounted
from tests.stack.s3 import BUCKET
from tests.stack.s3_proxy import in_front_of
from tests.storage.test_s3_servers import without_conditional_writes
from tests.stores import S3Store

pytestmark = pytest.mark.usefixtures("modelmax_conn", "short_pauses")


@pytest.fixture
def s3(seaweedfs, monkeypatch):
    made = S3Store(seaweedfs, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    yield made
    bucket._client.cache_clear()


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


def test_a_mount_that_cannot_rename_costs_nothing(run, simulator, tmp_path):
    with mounted(tmp_path, "rename=ENOSYS") as mount:
        for destination in (f"{mount}/videos/", f"{mount}/clip.mp4"):
            done = run("generate_inline", destination=destination)
            assert done.state == "failed"
            assert "this file system cannot rename files" in done.output
        assert counts(simulator) == [0, 0, 0]
        assert list(mount.iterdir()) == []


def test_a_video_lands_on_a_store_that_refuses_conditional_writes(run, simulator, seaweedfs, monkeypatch):
    with in_front_of(seaweedfs.url, without_conditional_writes) as url:
        connection = seaweedfs.connection
        connection["extra"]["endpoint_url"] = url
        store = S3Store(seaweedfs, uuid.uuid4().hex, f"c{uuid.uuid4().hex}")
        monkeypatch.setenv(f"AIRFLOW_CONN_{store.conn_id.upper()}", json.dumps(connection))
        done = run("generate_inline", destination=store.uri("videos/"))
        assert done.state == "success", done.output
        assert counts(simulator) == [1, 1, 1]
        assert len(store.names()) == 2


@pytest.mark.parametrize("kind", ["name", "path"])
def test_a_name_too_long_for_the_file_system_costs_nothing(run, simulator, tmp_path, kind):
    # The video's own name fits; those of the manifest and its claims do not.
    destination = f"{tmp_path}/{'é' * 118}.mp4" if kind == "name" else f"{tmp_path}{'/folder' * 580}/"
    done = run("generate_inline", destination=destination)
    assert done.state == "failed"
    assert "a name is too long" in done.output
    assert "255 bytes for a name, and 4,095 for a path" in done.output
    assert counts(simulator) == [0, 0, 0]
    assert list(tmp_path.iterdir()) == []


def test_names_of_other_alphabets_go_on_landing(run, simulator, s3):
    destination = s3.uri("火曜日 été 🦊+a=b&c/")
    done = run("generate_inline", destination=destination)
    assert done.state == "success", done.output
    (uri,) = done.xcom("generate")
    manifest = done.xcom("generate", "manifest")
    assert uri.startswith(destination)
    assert s3.names() == sorted(each.partition(f"@{BUCKET}/{s3.prefix}/")[2] for each in (uri, manifest))
    assert Path(uri).suffix == ".mp4"
