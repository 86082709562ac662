"""What OpenLineage receives of a job and its videos."""

from __future__ import annotations

import hashlib
import json

from openlineage.client.serde import Serde

from airflow_provider_modelmax import api
from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.lineage import openlineage
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor
from airflow_provider_modelmax.storage.objects import Saved

PROMPT = "a lighthouse at dusk"
JOB = api.Job.of({"model": "veo-3.1", "request_id": "an id+/="})
REQUEST = {"model": "veo-3.1", "prompt": PROMPT, "parameters": {"image": "<image, 8 characters of Base64>"}}
USAGE = {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True}


def told(*given: object) -> dict:
    found = openlineage.lineage(*given)
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
    said = told(None, None, JobRecord(JOB))
    assert said["run"]["modelmax"]["model"] == "veo-3.1"
    assert "promptSha256" not in said["run"]["modelmax"]
    assert said["run"]["externalQuery"]["externalQueryId"] == JOB.request_id


def test_each_video_is_an_output_with_its_size_checksum_and_the_bill():
    result = api.Result(JOB.request_id, JOB.model, ("/1", "/2"), USAGE)
    videos = (Saved("/tmp/v/a-0.mp4", 10, "aa"), Saved("s3://store@videos/a-1.mp4", 20, "bb"))
    said = told(REQUEST, None, JobRecord(JOB).fetched(result).landed(videos))
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
