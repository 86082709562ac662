"""What can never be right in a DAG file breaks its import; templates and XComs are looked at when the task runs."""

from __future__ import annotations

import base64
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from airflow.sdk import DAG, ObjectStoragePath, literal

from airflow_provider_modelmax import api
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

REQUEST: dict[str, Any] = {"model": "veo-3.1", "prompt": "a boat"}
JOB = {"model": "veo-3.1", "request_id": "id"}

WRONG_PARAMETERS = [
    ({"duration_seconds": 9}, "must be from 1 to 8"),
    ({"duration_seconds": "4"}, "parameters['duration_seconds'] is the text '4'. Write 4, without quotes."),
    ({"duration_seconds": "nine"}, "must be an integer from 1 to 8"),
    ({"generate_audio": "true"}, "is the text 'true'. Write True, without quotes."),
    ({"sample_count": 5}, "must be from 1 to 4"),
    ({"sample_count": "2"}, "is the text '2'. Write 2, without quotes."),
    ({"aspect_ratio": "1:1"}, "must be one of 16:9, 9:16"),
    ({"resolution": "480p"}, "must be one of 720p, 1080p, 4k"),
    ({"negative_prompt": 3}, "must be a text"),
    ({"duration": 4}, "Did you mean 'duration_seconds'?"),
    ({"duration_seconds": "{{ params.x }}", "durationSeconds": "{{ params.y }}"}, "Did you mean 'duration_seconds'?"),
    ({"prompt": "{{ params.x }}"}, "prompt is a separate argument"),
    ({"image": 3}, "must be a path, a URI or Base64"),
    ({"image": ""}, "must be a path, a URI or Base64"),
    ({"image": ["a.png"]}, "must be a path, a URI or Base64"),
    ({"image": "https://cdn.example/x.png?sig=secret"}, "The image is on the web, at cdn.example."),
    ({"seed": {1, 2}}, "cannot be written as JSON"),
    ({"seed": "{{ params.x }}", "sample_count": 9}, "must be from 1 to 4"),
    ([("seed", 1)], "must be a dict"),
    ("4k", "must be a dict"),
    ('{"duration_seconds": 9}', "must be from 1 to 8"),
]


@pytest.mark.parametrize("operator", [ModelMaxSubmitVideoOperator, ModelMaxGenerateVideoOperator])
@pytest.mark.parametrize(
    ("given", "words"),
    [
        *(({"parameters": parameters}, words) for parameters, words in WRONG_PARAMETERS),
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": " \n"}, "prompt is empty"),
        ({"prompt": None}, "prompt is None"),
        ({"prompt": 1984}, "prompt is an int"),
        ({"prompt": "prompts/boat.md"}, "{% include 'prompts/boat.md' %}"),
        ({"model": ""}, "must be a model id"),
        ({"model": None}, "must be a model id"),
        ({"modelmax_conn_id": ""}, "must be the id of a connection"),
        ({"allow_unknown_parameters": "yes"}, "must be True or False"),
    ],
    ids=str,
)
def test_a_literal_request_that_can_never_be_right_is_refused(operator, given, words):
    more = {"destination": "/videos/"} if operator is ModelMaxGenerateVideoOperator else {}
    with DAG("d", schedule=None), pytest.raises(api.InvalidInputError) as caught:
        operator(task_id="t", **{**REQUEST, **more, **given})
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("operator", [ModelMaxGenerateVideoOperator, ModelMaxDownloadVideoOperator])
@pytest.mark.parametrize(
    ("destination", "words"),
    [
        ("/videos/x.mov", "the service makes MP4"),
        ("s3://conn@bucket/x.MOV", "the service makes MP4"),
        ("videos/", "a path relative to the current directory"),
        ("file://videos/x", "names the host 'videos'"),
        ("C:\\videos", "a path of Windows"),
        ("\\\\server\\share", "a path of Windows"),
        ("s3://bucket/.mp4", "a name must stand before"),
        ("s3:///videos/", "names no bucket"),
        ("ftp://host/videos/", "ftp://host/videos/: ftp:// is not supported"),
        ("s3://bucket/take?versionId=3/", "reads ?versionId= as a version of the object"),
        ("abfs://conn@container/x.mp4?versionid=1", "reads ?versionid= as a version of the object"),
        ("", "must be a folder such as"),
        (None, "must be a folder such as"),
        (3, "must be a folder such as"),
    ],
)
def test_a_literal_destination_that_can_never_be_written_is_refused(operator, destination, words):
    more = REQUEST if operator is ModelMaxGenerateVideoOperator else {"job": JOB}
    with DAG("d", schedule=None), pytest.raises(api.InvalidInputError) as caught:
        operator(task_id="t", destination=destination, **more)
    assert words in str(caught.value)


@pytest.mark.parametrize("operator", [ModelMaxVideoSensor, ModelMaxDownloadVideoOperator])
@pytest.mark.parametrize(
    "job", [{}, {"model": "veo-3.1"}, {**JOB, "request_id": ""}, "id", None, [JOB], '{"model": 1}']
)
def test_a_literal_job_that_is_none_is_refused(operator, job):
    more = {"destination": "/videos/"} if operator is ModelMaxDownloadVideoOperator else {}
    with DAG("d", schedule=None), pytest.raises(api.InvalidInputError, match=r"job|model"):
        operator(task_id="t", job=job, **more)


def test_without_a_dag_literals_are_checked_too():
    with pytest.raises(api.InvalidInputError):
        ModelMaxSubmitVideoOperator(task_id="t", model="veo-3.1", prompt="")


def upstream() -> Any:
    return ModelMaxSubmitVideoOperator(task_id="upstream", **REQUEST).output


@pytest.mark.parametrize(
    "given",
    [
        {"parameters": {"duration_seconds": "{{ params.x }}", "aspect_ratio": "{% if 1 %}16:9{% endif %}"}},
        {"parameters": {"camera": ["{{ params.x }}"], "negative_prompt": "{# nothing #}"}},
        {"parameters": {"duration_seconds": 4.0, "sample_count": np.int64(2), "generate_audio": np.bool_(False)}},
        {"parameters": {"image": Path("/x.png"), "sample_count": 2}},
        {"parameters": {"image": ObjectStoragePath("file:///x.png")}},
        {"parameters": {"image": base64.b64decode("iVBORw0KGgo=")}},
        {"parameters": {"duration": 4, "seed": 7}, "allow_unknown_parameters": True},
        {"parameters": "{{ params.x }}"},
        {"parameters": '{"duration_seconds": 4}'},
        {"prompt": "{{ params.x }}", "model": "{{ params.y }}", "modelmax_conn_id": "{{ params.z }}"},
        {"prompt": literal("{{ not a template }}")},
        {"prompt": lambda context, jinja_env: "a boat"},
        {"destination": "{{ var.value.videos }}"},
        {"destination": "{{ var.value.videos }}/x.mp4"},
        {"destination": " s3://conn@bucket/a b/é.mp4 "},
        {"destination": "S3://bucket/x"},
        {"destination": "s3://bucket/what?/"},
        {"destination": "/videos/take?versionId=3/"},
        {"destination": "gs://bucket"},
        {"destination": "abfss://conn@container/x/"},
        {"destination": "~/videos"},
        {"destination": "file:///videos/"},
        {"destination": ObjectStoragePath("file:///videos/")},
    ],
    ids=range(23),
)
def test_what_may_be_right_is_left_to_the_run(given):
    with DAG("d", schedule=None):
        ModelMaxGenerateVideoOperator(task_id="t", **{**REQUEST, "destination": "/videos/", **given})


def test_what_comes_from_upstream_is_left_to_the_run():
    with DAG("d", schedule=None):
        job = upstream()
        ModelMaxVideoSensor(task_id="wait", job=job)
        ModelMaxDownloadVideoOperator(
            task_id="download", job={"model": job["model"], "request_id": job}, destination=job
        )
        ModelMaxSubmitVideoOperator(task_id="t", model=job, prompt=job, parameters={"camera": {"pan": [job]}})


def test_the_delimiters_of_the_dag_make_a_template():
    with DAG("d", schedule=None, jinja_environment_kwargs={"variable_start_string": "[[", "variable_end_string": "]]"}):
        ModelMaxSubmitVideoOperator(task_id="t", **REQUEST, parameters={"duration_seconds": "[[ params.x ]]"})
        with pytest.raises(api.InvalidInputError):
            ModelMaxSubmitVideoOperator(task_id="u", **REQUEST, parameters={"duration_seconds": "{{ params.x }}"})
