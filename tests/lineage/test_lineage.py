"""How objects are named to those who follow data, and what OpenLineage is told."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetAliasUniqueKey
from airflow.sdk.execution_time.context import OutletEventAccessor
from openlineage.client.serde import Serde

from airflow_provider_modelmax import api
from airflow_provider_modelmax.jobs.record import Progress
from airflow_provider_modelmax.lineage import assets as lineage
from airflow_provider_modelmax.lineage import openlineage as facets
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor
from airflow_provider_modelmax.storage.objects import Saved

PROMPT = "a lighthouse at dusk"
JOB = api.Job.of({"model": "veo-3.1", "request_id": "an id+/="})
REQUEST = {"model": "veo-3.1", "prompt": PROMPT, "parameters": {"image": "<image, 8 characters of Base64>"}}
USAGE = {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True}


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://store@videos/a/b #1?.mp4", "s3://videos/a/b #1?.mp4"),
        ("s3://videos/a@b.mp4", "s3://videos/a@b.mp4"),
        ("gs://videos/b.mp4", "gs://videos/b.mp4"),
        ("/tmp/videos/b.mp4", "file:///tmp/videos/b.mp4"),
        ("file:///tmp/videos/b.mp4", "file:///tmp/videos/b.mp4"),
        ("videos/b.mp4", f"file://{Path.cwd()}/videos/b.mp4"),
    ],
)
def test_an_object_has_one_name_however_it_is_reached(uri, name):
    assert lineage.plain(uri) == name


def told(*given: object) -> dict:
    found = facets.lineage(*given)
    return {
        "inputs": [Serde.to_dict(each) for each in found.inputs],
        "outputs": [Serde.to_dict(each) for each in found.outputs],
        "run": {name: Serde.to_dict(each) for name, each in found.run_facets.items()},
    }


def test_before_there_is_a_job_the_order_is_told():
    said = told(REQUEST, "s3://store@images/a.png", None)
    assert [(each["namespace"], each["name"]) for each in said["inputs"]] == [("s3://images", "a.png")]
    assert said["outputs"] == []
    assert set(said["run"]) == {"modelmax"}
    assert said["run"]["modelmax"]["promptSha256"] == hashlib.sha256(PROMPT.encode()).hexdigest()
    assert PROMPT not in json.dumps(said)


def test_a_sensor_tells_which_job_it_waits_for():
    sensor = ModelMaxVideoSensor(task_id="wait", job={"model": "veo-3.1", "request_id": "an id+/="})
    found = sensor.get_openlineage_facets_on_start().run_facets
    assert found["modelmax"].requestId == found["externalQuery"].externalQueryId == JOB.request_id


def test_a_job_of_elsewhere_is_told_without_an_order():
    said = told(None, None, Progress(JOB))
    assert said["run"]["modelmax"]["model"] == "veo-3.1"
    assert "promptSha256" not in said["run"]["modelmax"]
    assert said["run"]["externalQuery"]["externalQueryId"] == JOB.request_id


def test_each_video_is_an_output_with_its_size_checksum_and_the_bill():
    result = api.Result(JOB.request_id, JOB.model, ("/1", "/2"), USAGE)
    videos = (Saved("/tmp/v/a-0.mp4", 10, "aa"), Saved("s3://store@videos/a-1.mp4", 20, "bb"))
    said = told(REQUEST, None, Progress(JOB).fetched(result).landed(videos))
    first, second = said["outputs"]
    assert (first["namespace"], first["name"]) == ("file", "/tmp/v/a-0.mp4")
    assert (second["namespace"], second["name"]) == ("s3://videos", "a-1.mp4")
    assert [each["outputFacets"]["outputStatistics"]["size"] for each in said["outputs"]] == [10, 20]
    assert [each["facets"]["modelmax"]["sha256"] for each in said["outputs"]] == ["aa", "bb"]
    assert first["facets"]["modelmax"]["usage"] == USAGE


def test_an_order_that_is_wrong_is_left_for_the_task_to_tell():
    task = ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1",
        prompt="{{ params.prompt }}",
        parameters={"duration_seconds": "{{ params.seconds }}"},
        destination="/tmp/v",
    )
    task.prompt, task.parameters = "", {"duration_seconds": "99"}  # as rendered
    (facet,) = task.get_openlineage_facets_on_start().run_facets.values()
    assert (facet.model, facet.promptSha256, facet.requestId) == (None, None, None)


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://store@videos/a/b.mp4", "s3://videos/a/b.mp4"),
        ("s3://videos/a@b+c=(1),'x'.mp4", "s3://videos/a@b+c=(1),'x'.mp4"),
        ("s3://videos/d%C3%A9.mp4", "s3://videos/d%C3%A9.mp4"),
        ("/tmp/été/b.mp4", "file:///tmp/%C3%A9t%C3%A9/b.mp4"),
        ("s3://videos/a b.mp4", "s3://videos/a%20b.mp4"),
        ("s3://videos/桜.mp4", "s3://videos/%E6%A1%9C.mp4"),
        ("s3://videos/🎬.mp4", "s3://videos/%F0%9F%8E%AC.mp4"),
        ("s3://videos/100%.mp4", "s3://videos/100%25.mp4"),
        ("s3://videos/100%/d%C3%A9.mp4", "s3://videos/100%25/d%25C3%25A9.mp4"),
        ("s3://videos/a#1.mp4", "s3://videos/a%231.mp4"),
        ("s3://videos/a?b=2&a=1.mp4", "s3://videos/a%3Fb=2&a=1.mp4"),
        ('s3://videos/a"<>\\^`{|}[].mp4', "s3://videos/a%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D.mp4"),
        ("s3://videos/a\tb\x7f.mp4", "s3://videos/a%09b%7F.mp4"),
    ],
)
def test_the_uri_of_an_asset_is_ascii_and_stays_as_it_is(uri, name):
    assert lineage.asset_uri(uri) == name
    assert Asset(name).uri == name


class Events(dict):
    """The outlet events of a task that has an alias."""

    def __missing__(self, key):
        self[key] = OutletEventAccessor(key=AssetAliasUniqueKey.from_asset_alias(key))
        return self[key]


def test_a_video_that_cannot_be_an_asset_is_left_out_with_a_warning(log):
    outlet = AssetAlias("videos")
    task = SimpleNamespace(outlets=[outlet], log=structlog.get_logger("task"))
    events, long = Events(), f"s3://videos/{'é' * 300}.mp4"
    lineage.tell_outlets({"task": task, "outlet_events": events}, {"uris": [long, "s3://videos/é.mp4"], "usage": {}})
    assert [each.dest_asset_key.uri for each in events[outlet].asset_alias_events] == ["s3://videos/%C3%A9.mp4"]
    (line,) = log
    assert line.startswith("No asset event for a video: Asset name cannot exceed 1500 characters")
