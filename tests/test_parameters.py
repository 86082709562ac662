"""Bad input is refused before anything is sent, and the message says what would be right."""

from __future__ import annotations

import base64
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pendulum
import pytest

from airflow_provider_modelmax import api, parameters
from tests import samples

PNG = base64.b64decode(samples.load("submit_all_parameters").request_json["parameters"]["image"])
NOW, HOUR = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc), timedelta(hours=1)
CIRCLE: list[object] = []
CIRCLE.append(CIRCLE)


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("duration_seconds", 0, "is 0, but must be from 1 to 8"),
        ("duration_seconds", 9, "is 9, but must be from 1 to 8"),
        ("duration_seconds", -1, "must be from 1 to 8"),
        ("duration_seconds", "8", "an integer from 1 to 8; a template gives text unless"),
        ("duration_seconds", True, "is True, but must be an integer from 1 to 8."),
        ("duration_seconds", 8.0, "must be an integer from 1 to 8."),
        ("sample_count", 0, "must be from 1 to 4"),
        ("sample_count", 5, "must be from 1 to 4"),
        ("sample_count", "2", "render_template_as_native_obj=True"),
        ("aspect_ratio", "4:3", "must be one of 16:9, 9:16"),
        ("aspect_ratio", ["16:9"], "must be one of"),
        ("resolution", "720", "must be one of 720p, 1080p, 4k"),
        ("resolution", "4K", "must be one of 720p, 1080p, 4k"),
        ("generate_audio", "true", "must be true or false"),
        ("generate_audio", 1, "must be true or false"),
        ("negative_prompt", 3, "must be a text"),
        ("seed", {1, 2}, "cannot be written as JSON"),
        ("seed", b"x", "cannot be written as JSON"),
        ("seed", float("nan"), "cannot be written as JSON"),
        ("seed", float("inf"), "cannot be written as JSON"),
        ("seed", CIRCLE, "cannot be written as JSON"),
        ("seed", {"a": {1: 1, "b": 2}}, "cannot be written as JSON"),
    ],
)
def test_a_value_that_the_contract_does_not_allow_is_refused(name, value, words):
    with pytest.raises(api.InvalidInputError) as caught:
        parameters.check_parameters({name: value})
    assert words in str(caught.value)
    assert str(caught.value).startswith(f"parameters['{name}'] is ")


def test_a_long_value_is_shown_in_part():
    with pytest.raises(api.InvalidInputError) as caught:
        parameters.check_parameters({"resolution": "x" * 10_000})
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize(
    "given",
    [
        {"aspect_ratio": "16:9", "resolution": "4k", "duration_seconds": 1, "sample_count": 4},
        {"aspect_ratio": "9:16", "resolution": "720p", "duration_seconds": 8, "sample_count": 1},
        {"generate_audio": False, "negative_prompt": "", "resolution": "1080p"},
        {"seed": 7, "camera": {"pan": [1, 2.5]}, "new": "x"},
        {},
    ],
)
def test_what_is_allowed_or_unknown_is_passed_through(given):
    assert parameters.check_parameters(given) == given


def test_none_counts_as_left_out():
    assert parameters.check_parameters(None) == {}
    assert parameters.check_parameters({"resolution": None, "seed": None, "sample_count": 2}) == {"sample_count": 2}


@pytest.mark.parametrize("given", ["{}", [("resolution", "4k")], 3])
def test_parameters_that_are_no_dict_are_refused(given):
    with pytest.raises(
        api.InvalidInputError, match=f"parameters is a {type(given).__name__}, but must be a dict"
    ) as caught:
        parameters.check_parameters(given)
    assert ("render_template_as_native_obj=True" in str(caught.value)) is isinstance(given, str)


@pytest.mark.parametrize("value", ["False", "{{ params.fresh }}", 1, None, []])
def test_a_flag_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(api.InvalidInputError, match=r"overwrite is .*, but must be True or False"):
        parameters.check_flag("overwrite", value)


@pytest.mark.parametrize(
    ("prompt", "words"), [(None, "a NoneType"), (3, "a int"), (["x"], "a list"), (b"x", "a bytes")]
)
def test_a_prompt_that_is_no_text_is_refused(prompt, words):
    with pytest.raises(api.InvalidInputError, match=f"prompt is {words}, but must be a text"):
        parameters.check_prompt(prompt)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "None", " None\n"])
def test_a_prompt_that_rendered_to_nothing_points_at_the_template(prompt):
    with pytest.raises(api.InvalidInputError, match="look at the task's rendered templates"):
        parameters.check_prompt(prompt)


def test_a_prompt_is_sent_as_it_is():
    assert parameters.check_prompt(" ein Boot ⛵\n") == " ein Boot ⛵\n"


@pytest.mark.parametrize("model", ["", "  ", None, 3])
def test_a_model_that_can_be_no_id_is_refused(model):
    with pytest.raises(api.InvalidInputError, match="must be a model id such as"):
        parameters.check_model(model)


def test_a_model_that_nobody_knows_is_the_services_to_judge():
    assert parameters.check_model("veo-9000") == "veo-9000"


IMAGES = {
    "PNG": PNG,
    "JPEG": b"\xff\xd8\xff\xe0rest",
    "GIF": b"GIF89a",
    "WebP": b"RIFF\x00\x00\x00\x00WEBPVP8 ",
    "BMP": b"BM1234",
    "TIFF, little-endian": b"II*\0",
    "TIFF, big-endian": b"MM\0*",
    "AVIF": b"\0\0\0\x1cftypavif",
    "HEIC": b"\0\0\0\x18ftypheic",
}
NO_IMAGES = {
    "nothing": b"",
    "HTML": b"<html>",
    "WAV": b"RIFF\x00\x00\x00\x00WAVEfmt ",
    "MP4": b"\0\0\0\x18ftypisom",
    "PDF": b"%PDF-1.7",
    "PNG, cut": b"\x89PN",
}


@pytest.mark.parametrize("data", IMAGES.values(), ids=IMAGES)
def test_an_image_is_known_by_its_first_bytes(data):
    assert parameters.is_image(data)


@pytest.mark.parametrize("data", NO_IMAGES.values(), ids=NO_IMAGES)
def test_another_file_is_no_image(data):
    assert not parameters.is_image(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "The image s3://b/k is empty"),
        (b"<html>", "s3://b/k is not an image"),
        (
            PNG + bytes(parameters.MAX_IMAGE_BYTES),
            "image s3://b/k has 20,971,589 bytes; at most 20,971,520 are sent",
        ),
    ],
)
def test_a_file_that_is_no_image_to_send_is_refused(data, words):
    with pytest.raises(api.InvalidInputError) as caught:
        parameters.encode_image(data, "s3://b/k")
    assert words in str(caught.value)


def test_an_image_of_the_largest_size_is_sent():
    data = PNG + bytes(parameters.MAX_IMAGE_BYTES - len(PNG))
    assert base64.b64decode(parameters.encode_image(data, "x")) == data


TEXT = base64.b64encode(PNG).decode()


@pytest.mark.parametrize("text", [TEXT, f"{TEXT[:40]}\n{TEXT[40:]}\n", f"data:image/png;base64,{TEXT}"])
def test_base64_of_an_image_is_recognised_also_wrapped_or_as_a_data_url(text):
    assert parameters.decode_image(text) == PNG


@pytest.mark.parametrize("text", ["", "photo.png", "s3://b/photo.png", "aGVsbG8=", f"{TEXT}!", "data:image/png,x", "ü"])
def test_other_text_is_no_image(text):
    assert parameters.decode_image(text) is None


@pytest.mark.parametrize("text", [TEXT.rstrip("="), TEXT.replace("+", "-").replace("/", "_")])
def test_base64_without_padding_or_as_in_urls_is_recognised(text):
    assert parameters.decode_image(text) == PNG


@pytest.mark.parametrize(
    "image", ["/no/such.png", "s3://b/x.png", PNG, Path("x.png"), 3, "", base64.b64encode(b"x" * 300).decode()]
)
def test_where_no_file_is_read_an_image_that_is_not_base64_is_refused_without_showing_it(image):
    with pytest.raises(api.InvalidInputError, match="must be Base64 of an image here") as caught:
        parameters.check_encoded_image(image)
    assert "eHh4" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "looks_so"),
    [
        ("data:image/svg+xml,<svg/>", True),
        (base64.b64encode(b"<svg/>" * 40).decode(), True),
        (base64.urlsafe_b64encode(bytes(range(250))).decode().rstrip("="), True),
        (base64.encodebytes(b"\xff\x0a" * 200).decode(), True),
        ("/data/" + "a" * 250 + ".png", False),
        ("s3://conn@bucket/" + "a" * 250, False),
        ("{{ ti.xcom_pull('draw') }}", False),
        ("pictures/lighthouse", False),
    ],
)
def test_what_looks_like_bytes_is_told_from_the_name_of_a_file(text, looks_so):
    assert parameters.may_be_base64(text) is looks_so


@pytest.mark.parametrize("deadline", [NOW - HOUR, NOW])
def test_a_deadline_in_the_past_is_refused(deadline):
    with pytest.raises(api.InvalidInputError, match="has passed already"):
        parameters.check_future(deadline, NOW)


def test_a_deadline_without_a_time_zone_is_refused():
    with pytest.raises(api.InvalidInputError, match="no time zone"):
        parameters.check_future((NOW + HOUR).replace(tzinfo=None), NOW)


def test_a_deadline_to_come_is_taken():
    parameters.check_future(NOW + HOUR, NOW)


ODD = [3600, 1.5, "1h", None, True, timedelta(0), timedelta(-1), timedelta.max, NOW.date()]


@pytest.mark.parametrize("value", ODD, ids=repr)
def test_an_odd_deadline_is_refused_with_what_to_give(value):
    with pytest.raises(api.InvalidInputError, match=r"deadline is .* a timedelta above 0 and .*, such as .*time zone"):
        parameters.check_deadline_argument(value)


def test_a_deadline_as_a_naive_datetime_is_refused_as_such():
    with pytest.raises(api.InvalidInputError, match="no time zone"):
        parameters.check_deadline_argument(NOW.replace(tzinfo=None))


@pytest.mark.parametrize("value", [timedelta(hours=1), NOW + HOUR, pendulum.duration(hours=1), pendulum.now("UTC")])
def test_a_deadline_is_how_long_or_until_when(value):
    assert parameters.check_deadline_argument(value) is value


@pytest.mark.parametrize("value", [0, -1, True, "5", None, float("nan"), float("inf"), timedelta(0), 86_401])
def test_a_poll_interval_that_is_no_positive_number_is_refused(value):
    with pytest.raises(api.InvalidInputError, match=r"poll_interval is .*above 0 and up to 86,400"):
        parameters.check_poll_interval(value)


@pytest.mark.parametrize(("value", "seconds"), [(5, 5.0), (0.2, 0.2), (timedelta(minutes=1), 60.0)])
def test_a_poll_interval_is_seconds_or_a_timedelta(value, seconds):
    assert parameters.check_poll_interval(value) == seconds
