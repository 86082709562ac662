"""What a task asks for: the image is read on the worker, and its bytes are shown nowhere."""

from __future__ import annotations

import base64
import json
import os
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Any

import pytest
from airflow.sdk import ObjectStoragePath
from airflow.sdk.execution_time.task_runner import _serialize_template_field

from airflow_provider_modelmax import airflow_errors, api
from airflow_provider_modelmax.api import DestinationError
from airflow_provider_modelmax.api.image import MAX_IMAGE_BYTES, HiddenImage, hide_image
from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.jobs.request import VideoRequest, image_uri
from tests import samples

TEXT = samples.load("submit_all_parameters").request_json["parameters"]["image"]
PNG = base64.b64decode(TEXT)
JOB = api.Job.of({"model": "veo-2", "request_id": "id"})


def order(image: object) -> VideoRequest:
    request = VideoRequest.check("veo-3.1", "a boat", {"image": image, "sample_count": 2})
    assert request.image
    return request


def described(model: Any, prompt: Any, parameters: Any) -> dict[str, Any]:
    return VideoRequest.check(model, prompt, parameters).description


@pytest.fixture
def picture(tmp_path: Path) -> Path:
    path = tmp_path / "a picture.png"
    path.write_bytes(PNG)
    return path


@pytest.mark.parametrize(
    "image",
    [
        TEXT,
        f"{TEXT[:40]}\n{TEXT[40:]}",
        f"data:image/png;base64,{TEXT}",
        PNG,
        HiddenImage(TEXT),
        HiddenImage(f"data:image/png;base64,{TEXT}"),
    ],
    ids=["base64", "wrapped", "data URL", "bytes", "hidden", "hidden data URL"],
)
def test_an_image_given_in_place_is_sent_as_plain_base64(image):
    assert order(image).body == {"image": TEXT, "sample_count": 2}
    assert VideoRequest.check("veo-3.1", "a boat", hide_image({"image": image})).body == {"image": TEXT}


@pytest.mark.parametrize(
    "form",
    [str, Path, "file://{}".format, lambda path: ObjectStoragePath(f"file://{path}")],
    ids=["path", "Path", "file URI", "ObjectStoragePath"],
)
def test_an_image_on_the_worker_is_read_and_encoded(picture, form):
    assert order(form(picture)).body["image"] == TEXT
    assert order(form(picture)).parameters["image"] == form(picture)


def test_an_image_on_a_relative_path_is_read(picture, monkeypatch):
    monkeypatch.chdir(picture.parent)
    assert order(picture.name).image == TEXT


def test_an_order_without_an_image_is_sent_as_it_is():
    assert VideoRequest.check("veo-2", "x", {"image": None, "resolution": "4k", "seed": 3}).body == {
        "resolution": "4k",
        "seed": 3,
    }
    assert VideoRequest.check("veo-2", "x", None).body == {}


@pytest.mark.parametrize(
    ("image", "words"),
    [
        ("", "must be a path, a URI or Base64"),
        ("  ", "must be a path, a URI or Base64"),
        (3, "parameters['image'] is int '3', but must be a path"),
        ({"path": "x.png"}, "must be a path, a URI or Base64"),
        (b"", "The image given as bytes is empty"),
        (b"<html>", "given as bytes is not an image"),
        ("/no/such.png", "The image /no/such.png does not exist, seen from this worker"),
        ("file:///no/such.png", "does not exist, seen from this worker"),
        ("https://me:secret@cdn.example/x.png?sig=secret", "The image is on the web, at cdn.example. Give a path"),
        ("data:text/html;base64,PGh0bWw+", "neither a path, nor a URI, nor Base64 of a PNG"),
        ("data:image/png,raw", "neither a path, nor a URI, nor Base64 of a PNG"),
        ("ftp://host/x.png", "The image: ftp://host/x.png: ftp:// is not supported"),
        (
            base64.b64encode(b"<svg>" * 60).decode(),
            "(400 characters) is neither a path, nor a URI, nor Base64 of a PNG",
        ),
        (base64.b64encode(b"<html>" * 1000).decode(), "(8,000 characters) is neither a path, nor a URI"),
        (HiddenImage(base64.b64encode(PNG + bytes(MAX_IMAGE_BYTES)).decode()), "given as Base64 has 20,971,589 bytes"),
    ],
    ids=range(15),
)
def test_what_is_no_image_is_refused(image, words):
    with pytest.raises(api.InvalidInputError) as caught:
        order(image)
    assert words in str(caught.value)
    assert "secret" not in str(caught.value)
    assert len(str(caught.value)) < 300


def test_an_image_whose_connection_is_not_found_is_retried_as_the_api_server_may_have_been_away():
    with pytest.raises(DestinationError, match=r"it does not exist, or Airflow's API server did not answer") as caught:
        order("s3://nobody@bucket/x.png")
    assert str(caught.value).startswith("The image: s3://nobody@bucket: Airflow did not find the connection 'nobody'")
    assert not isinstance(caught.value, airflow_errors.NOT_RETRYABLE)


@pytest.mark.parametrize("uri", ["s3://b/x.png?versionId=3", "s3://b/../x.png", "gs://b//x.png", "abfs://b/x\n.png"])
def test_an_image_whose_name_would_be_read_as_another_is_refused(uri):
    with pytest.raises(api.InvalidInputError, match=r"^The image: "):
        order(uri)


def test_a_file_of_40_mb_is_refused_without_being_read_whole(tmp_path):
    path = tmp_path / "big.png"
    path.write_bytes(PNG)
    os.truncate(path, 40_000_000)
    with pytest.raises(api.InvalidInputError, match=r"big\.png has 20,971,521 bytes; at most 20,971,520 are sent"):
        order(str(path))


@pytest.mark.parametrize(("data", "words"), [(b"", "is empty"), (b"%PDF-1.7", "is not an image")])
def test_a_file_that_is_no_image_is_refused(tmp_path, data, words):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(api.InvalidInputError, match=words):
        order(str(tmp_path / "x.png"))


def test_a_folder_is_no_image(tmp_path):
    with pytest.raises(api.InvalidInputError, match="is a folder"):
        order(str(tmp_path))


@pytest.mark.parametrize(
    ("model", "prompt", "parameters"), [("", "x", {}), ("veo-2", " ", {}), ("veo-2", "x", {"sample_count": 5})]
)
def test_a_wrong_argument_is_refused(model, prompt, parameters):
    with pytest.raises(api.InvalidInputError):
        VideoRequest.check(model, prompt, parameters)


# Nowhere to be seen


def shown(value: object) -> str:
    return json.dumps(_serialize_template_field(value, "parameters"))


SVG = base64.b64encode(b"<svg>" * 60).decode()


@pytest.mark.parametrize(
    "image", [SVG, SVG.rstrip("="), f"data:image/svg+xml;base64,{SVG}", bytearray(b"<svg>"), memoryview(PNG)]
)
def test_bytes_that_are_no_image_known_here_are_not_shown_either(image):
    assert "<image, " in shown(hide_image({"image": image}))
    assert SVG[:16] not in shown(hide_image({"image": image}))


@pytest.mark.parametrize("image", [TEXT, f"data:image/png;base64,{TEXT}", PNG], ids=["base64", "data URL", "bytes"])
@pytest.mark.parametrize("view", [str, repr, shown], ids=["str", "repr", "rendered template"])
def test_an_image_in_place_shows_its_size_and_nothing_of_itself(image, view):
    seen = view(hide_image({"image": image, "resolution": "4k"}))
    assert "<image, " in seen
    assert "characters of Base64, sha256 " in seen
    assert "4k" in seen
    assert TEXT[:16] not in seen
    assert "PNG" not in seen


def test_airflow_would_show_an_image_that_is_not_hidden():
    assert TEXT[:16] in shown({"image": TEXT})


def test_an_order_does_not_show_its_image(picture):
    assert TEXT[:16] not in repr(order(str(picture)))
    assert TEXT[:16] not in repr(order(HiddenImage(TEXT)))


@pytest.mark.parametrize(
    "parameters",
    [
        None,
        "{{ params.x }}",
        {},
        {"image": None},
        {"image": "s3://bucket/photo.png"},
        {"image": "{{ params.image }}"},
        {"image": HiddenImage(TEXT)},
    ],
)
def test_what_holds_no_bytes_stays_as_it_is(parameters):
    assert hide_image(parameters) is parameters


def test_the_callers_own_dict_is_not_changed():
    parameters = {"image": TEXT}
    hide_image(parameters)
    assert parameters == {"image": TEXT}


def test_two_images_of_one_size_can_be_told_apart():
    assert str(HiddenImage("AAAA")) != str(HiddenImage("AAAB"))


# One order or another


@pytest.mark.parametrize("hashed", ["order", "fingerprint"])
def test_the_hash_of_a_request_tells_what_is_asked_for_and_not_how_it_is_written(hashed, tmp_path):
    a, b = tmp_path / "a.png", tmp_path / "b.png"
    a.write_bytes(PNG)
    b.write_bytes(PNG + b"more")

    def of(model: str, prompt: str, **parameters: Any) -> str:
        return getattr(VideoRequest.check(model, prompt, parameters), hashed)

    assert of("veo-2", "x", image=TEXT) == of("veo-2", "x", image=PNG) == of("veo-2", "x", image=HiddenImage(TEXT))
    assert of("veo-2", "x", image=str(a)) == of("veo-2", "x", image=a)
    assert of("veo-2", "x", resolution="4k", sample_count=2) == of("veo-2", "x", sample_count=2, resolution="4k")
    different = [of("veo-2", "x"), of("veo-3", "x"), of("veo-2", "y"), of("veo-2", "x", resolution="4k")]
    different += [of("veo-2", "x", image=str(a)), of("veo-2", "x", image=str(b))]
    assert len(set(different)) == len(different)


def test_the_fingerprint_has_the_content_of_an_image_and_not_its_path(tmp_path):
    def of(path: Path) -> VideoRequest:
        return VideoRequest.check("veo-2", "x", {"image": str(path)})

    a, b = tmp_path / "a.png", tmp_path / "b.png"
    a.write_bytes(PNG)
    b.write_bytes(PNG)
    before = of(a)
    assert before.fingerprint == of(b).fingerprint
    assert before.order != of(b).order
    record = JobRecord(JOB, order=before.order, fingerprint=before.fingerprint)
    assert of(b).is_that_of(record)
    a.write_bytes(PNG + b"more")
    assert not of(a).is_that_of(record)
    assert of(a).is_that_of(replace(record, fingerprint=""))  # 0.1.0 stored none
    a.unlink()
    assert of(a).is_that_of(record)  # which is no reason for a new job


@pytest.mark.parametrize(("model", "prompt"), [("veo-2", b"x"), ("veo-2", ""), (None, "x")])
def test_what_cannot_be_ordered_cannot_be_described(model, prompt):
    with pytest.raises(api.InvalidInputError):
        described(model, prompt, None)


def test_a_description_names_the_image_and_equals_what_is_read_back():
    shown = described("veo-2", "x", {"image": "a.png", "seed": (1, 2), "resolution": None})
    assert shown == {"model": "veo-2", "prompt": "x", "parameters": {"image": "a.png", "seed": [1, 2]}}
    assert shown == json.loads(json.dumps(shown))
    assert described("veo-2", "x", None)["parameters"] == {}


@pytest.mark.parametrize(
    "image", [TEXT, PNG, HiddenImage(TEXT), Path("/data/a.png")], ids=["base64", "bytes", "hidden", "Path"]
)
def test_a_description_never_holds_the_image(image):
    text = json.dumps(described("veo-2", "x", {"image": image}))
    assert TEXT[:16] not in text
    assert "<image, " in text or "/data/a.png" in text


@pytest.mark.parametrize(
    ("image", "uri"),
    [
        ("s3://store@images/a.png", "s3://store@images/a.png"),
        (PurePosixPath("/tmp/a.png"), "/tmp/a.png"),
        ("iVBOR" * 1000, None),
        ("data:image/png;base64,iVBOR", None),
        (b"bytes", None),
        (" ", None),
        (None, None),
    ],
    ids=["URI", "path", "long text", "data URL", "bytes", "blank", "none"],
)
def test_only_a_path_or_uri_is_told_to_lineage(image, uri):
    assert image_uri(image) == uri
