"""Bad input is refused before anything is sent, and the message says what would be right."""

from __future__ import annotations

import base64
import json
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from fractions import Fraction

import numpy as np
import pendulum
import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import parameters
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
        ("duration_seconds", "9", "is '9', but must be from 1 to 8"),
        ("duration_seconds", "four", "is 'four', but must be an integer from 1 to 8"),
        ("duration_seconds", "4.5", "must be an integer from 1 to 8"),
        ("duration_seconds", 4.5, "must be an integer from 1 to 8"),
        ("duration_seconds", Decimal("4.5"), "must be an integer from 1 to 8"),
        ("duration_seconds", "", "must be an integer from 1 to 8"),
        ("duration_seconds", "None", "must be an integer from 1 to 8"),
        ("duration_seconds", "1e1", "must be an integer from 1 to 8"),
        ("duration_seconds", "4 s", "must be an integer from 1 to 8"),
        ("duration_seconds", "9" * 5_000, "must be an integer from 1 to 8"),
        ("duration_seconds", 10**400, "must be from 1 to 8"),
        ("duration_seconds", float("nan"), "must be an integer from 1 to 8"),
        ("duration_seconds", float("inf"), "must be an integer from 1 to 8"),
        ("duration_seconds", 4j, "must be an integer from 1 to 8"),
        ("duration_seconds", [4], "must be an integer from 1 to 8"),
        ("duration_seconds", np.float64(4.5), "is 4.5, but must be an integer from 1 to 8"),
        ("duration_seconds", np.bool_(True), "is True, but must be an integer from 1 to 8"),
        ("duration_seconds", np.array([4]), "must be an integer from 1 to 8"),
        ("duration_seconds", True, "is True, but must be an integer from 1 to 8."),
        ("sample_count", 0, "must be from 1 to 4"),
        ("sample_count", 5, "must be from 1 to 4"),
        ("sample_count", "5", "must be from 1 to 4"),
        ("aspect_ratio", "4:3", "must be one of 16:9, 9:16"),
        ("aspect_ratio", ["16:9"], "must be one of"),
        ("resolution", "720", "must be one of 720p, 1080p, 4k"),
        ("resolution", "4K", "must be one of 720p, 1080p, 4k"),
        ("generate_audio", "yes", "must be true or false"),
        ("generate_audio", "0", "must be true or false"),
        ("generate_audio", "", "must be true or false"),
        ("generate_audio", np.int64(1), "is 1, but must be true or false"),
        ("generate_audio", 1, "must be true or false"),
        ("negative_prompt", 1984, "is 1984, but must be a text: write it in quotes"),
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


@pytest.mark.parametrize(
    "four",
    [
        *("4", " 4\n", "+4", "04", "4.0", "4.", "\N{FULLWIDTH DIGIT FOUR}", 4.0, Decimal(4), Fraction(4)),
        *(np.int64(4), np.uint8(4), np.float32(4), np.str_("4"), np.array(4)),
    ],
    ids=repr,
)
def test_a_number_of_a_form_or_a_table_is_sent_as_an_integer(four):
    sent = parameters.check_parameters({"duration_seconds": four, "sample_count": four})
    assert json.dumps(sent) == '{"duration_seconds": 4, "sample_count": 4}'


@pytest.mark.parametrize("value", ["true", "True", " TRUE ", np.bool_(True), np.array(True)], ids=repr)
def test_a_flag_of_a_form_or_a_table_is_sent_as_a_boolean(value):
    assert json.dumps(parameters.check_parameters({"generate_audio": value})) == '{"generate_audio": true}'


@pytest.mark.parametrize("value", ["false", "False", np.bool_(False)], ids=repr)
def test_a_false_flag_is_not_sent_as_true(value):
    assert parameters.check_parameters({"generate_audio": value}) == {"generate_audio": False}


def test_a_scalar_of_numpy_can_be_sent_under_a_new_name():
    assert json.dumps(parameters.check_parameters({"seed": np.int64(7), "zoom": np.float32(0.5)})) == (
        '{"seed": 7, "zoom": 0.5}'
    )


GIVEN = {"duration_seconds": 4, "generate_audio": False, "negative_prompt": "1984", "seed": None}


@pytest.mark.parametrize("text", [json.dumps(GIVEN), f" {json.dumps(GIVEN, indent=1)}\n", repr(GIVEN)])
def test_parameters_are_also_taken_as_the_text_that_a_template_makes_of_a_dict(text):
    del (wanted := dict(GIVEN))["seed"]
    assert parameters.check_parameters(text) == wanted


# Names


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        *((name, "duration_seconds") for name in ("duration", "seconds", "duration_second", "durationSeconds")),
        *((name, "duration_seconds") for name in ("duration-seconds", "Duration Seconds", "DURATION_SECONDS")),
        *((name, "duration_seconds") for name in ("durationseconds", "duraton_seconds", "secs", "duration_in_seconds")),
        *((name, "duration_seconds") for name in (" duration_seconds", "video_duration", "seconds_duration")),
        *((name, "generate_audio") for name in ("audio", "with_audio", "audio_enabled", "genrate_audio")),
        *((name, "aspect_ratio") for name in ("ratio", "aspect", "aspectRatio", "aspect_ration")),
        *((name, "image") for name in ("image_url", "images", "imge", "imageBase64")),
        *((name, "negative_prompt") for name in ("negative", "neg_prompt", "negativePrompt")),
        *((name, "sample_count") for name in ("samples", "num_samples", "count", "sampleCount")),
        *((name, "resolution") for name in ("res", "resolutions", "resoluton")),
    ],
)
def test_a_near_miss_of_a_known_name_is_refused_unless_that_is_allowed(name, meant):
    with pytest.raises(api.InvalidInputError) as caught:
        parameters.check_parameter_names({name: 4})
    assert f"Did you mean '{meant}'?" in str(caught.value)
    assert "allow_unknown_parameters=True" in str(caught.value)
    warning = parameters.check_parameter_names({name: 4}, allow_unknown=True)
    assert f"{name!r} (the nearest known: {meant})" in warning


@pytest.mark.parametrize(
    "name",
    [
        *("seed", "fps", "enhance_prompt", "enhancePrompt", "person_generation", "camera", "style", "resize_mode"),
        *("last_frame", "sample_rate", "audio_language", "guidance_scale", "width", "storage_uri", "новый", "", "1"),
        *("reference_images", "last_image", "image_strength"),
    ],
)
def test_another_unknown_name_passes_with_a_warning_that_names_the_nearest(name):
    warning = parameters.check_parameter_names({name: 4, "resolution": "4k"})
    assert f"{name!r} (the nearest known: " in warning
    assert "sent as they are" in warning


def test_one_warning_names_all_unknown_parameters():
    assert parameters.check_parameter_names({"seed": 1, "fps": 24}) == (
        "Parameters that this provider does not know are sent as they are: 'seed' (the nearest known: generate_audio, "
        "duration_seconds), 'fps' (the nearest known: resolution, sample_count)."
    )


def test_known_names_pass_in_silence():
    assert parameters.check_parameter_names(dict.fromkeys(parameters.VideoParameters.__annotations__, "x")) is None
    assert parameters.check_parameter_names({"duration": None}) is None


@pytest.mark.parametrize("allowed", [False, True])
@pytest.mark.parametrize(
    ("name", "argument"),
    [("prompt", "prompt"), ("Prompt", "prompt"), ("model", "model"), ("parameters", "parameters")],
)
def test_an_argument_among_the_parameters_is_refused(name, argument, allowed):
    with pytest.raises(api.InvalidInputError, match=f"{argument} is a separate argument. Move it there"):
        parameters.check_parameter_names({name: "x"}, allow_unknown=allowed)


def test_none_counts_as_left_out():
    assert parameters.check_parameters(None) == {}
    assert parameters.check_parameters({"resolution": None, "seed": None, "sample_count": 2}) == {"sample_count": 2}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("", "a str ('')"),
        ("None", "a str ('None')"),
        ("4k", "a str ('4k')"),
        ("[1]", "a str"),
        ("{'a': b}", "a str"),
        ("[" * 100_000, "a str"),
        ([("resolution", "4k")], "a list"),
        (3, "an int (3)"),
    ],
    ids=range(8),
)
def test_parameters_that_are_no_dict_are_refused(given, words):
    with pytest.raises(api.InvalidInputError, match="but must be a dict, or its JSON") as caught:
        parameters.check_parameters(given)
    assert str(caught.value).startswith(f"parameters is {words}")
    assert len(str(caught.value)) < 200


@pytest.mark.parametrize("value", ["False", "{{ params.fresh }}", 1, None, []])
def test_a_flag_that_is_neither_true_nor_false_is_refused(value):
    with pytest.raises(api.InvalidInputError, match=r"overwrite is .*, but must be True or False"):
        parameters.check_flag("overwrite", value)


@pytest.mark.parametrize(
    ("prompt", "words"), [(None, "None"), (1984, "an int"), (4.5, "a float"), (["x"], "a list"), (b"x", "a bytes")]
)
def test_a_prompt_that_is_no_text_is_refused(prompt, words):
    with pytest.raises(api.InvalidInputError, match=f"prompt is {words}, but must be a text"):
        parameters.check_prompt(prompt)


@pytest.mark.parametrize("prompt", ["", " ", "\n\t", "None", " None\n"])
def test_a_prompt_that_rendered_to_nothing_points_at_the_template(prompt):
    with pytest.raises(api.InvalidInputError, match="look at the task's rendered templates"):
        parameters.check_prompt(prompt)


@pytest.mark.parametrize(
    "prompt", ["lighthouse.md", " prompts/lighthouse.txt\n", "/data/prompts/boat-7.TXT", "灯台.md"]
)
def test_a_prompt_that_looks_like_the_path_of_a_file_is_refused_with_the_way_to_include_it(prompt):
    with pytest.raises(api.InvalidInputError) as caught:
        parameters.check_prompt(prompt)
    assert f"{{% include {prompt.strip()!r} %}}" in str(caught.value)


@pytest.mark.parametrize(
    "prompt", ["A typewriter writes the word readme.md", "boat.mp4", "see\nlighthouse.txt", "1984"]
)
def test_a_prompt_that_only_ends_like_a_file_is_a_text(prompt):
    assert parameters.check_prompt(prompt) == prompt


def test_a_prompt_is_sent_as_it_is():
    assert parameters.check_prompt(" ein Boot ⛵\n") == " ein Boot ⛵\n"


@pytest.mark.parametrize("model", ["", "  ", None, 3])
def test_a_model_that_can_be_no_id_is_refused(model):
    with pytest.raises(api.InvalidInputError, match="must be a model id such as"):
        parameters.check_model(model)


def test_a_model_that_nobody_knows_is_the_services_to_judge():
    assert parameters.check_model("veo-9000") == "veo-9000"


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
