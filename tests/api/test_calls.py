"""The service as data: printed samples read to values, odd answers to errors, errors to what is done next."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone
from email.utils import format_datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from requests.structures import CaseInsensitiveDict

from airflow_provider_modelmax import api
from tests import samples

HOME = "https://api.modelmax.io"
MODEL = "veo-3.1"
JOB_PATH = "/v1/queue/veo-3.1/requests/Zm9v%2FYmFy%2BcXV4L3Jlc3Q9MQ%3D%3D"
JOB = api.Job(samples.REQUEST_ID, MODEL, f"{JOB_PATH}/status", JOB_PATH)
CONTENT_PATH = "/v1/queue/veo-3.1/requests/Y29u%2BdGVudC9%2FOTk4ODc3NjY%3D/content/"
ALL_PARAMETERS = samples.load("submit_all_parameters").request_json["parameters"]
PROMPT = "A lighthouse at dusk, waves rolling in"
STATUS, RESULT = api.status(JOB), api.result(JOB)
SUBMIT = api.submit(MODEL, PROMPT)


def read(call: api.Call[Any], body: object, status: int = 200, **headers: str) -> Any:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return api.read_response(call, status, CaseInsensitiveDict(headers), raw)


def read_sample(call: api.Call[Any], name: str) -> Any:
    sample = samples.load(name)
    return api.read_response(call, sample.status, CaseInsensitiveDict(sample.headers), sample.body)


# Held to the printed samples: what is sent …


@pytest.mark.parametrize(
    ("name", "call"),
    [
        ("submit", SUBMIT),
        ("submit_all_parameters", api.submit(MODEL, PROMPT, ALL_PARAMETERS)),
        ("error_400_not_a_video_model", api.submit("gpt-5", PROMPT)),
        ("status_in_queue", STATUS),
        ("result_completed", RESULT),
        ("content", api.content(f"{CONTENT_PATH}0")),
        ("status_completed", api.status(api.Job.of({"model": MODEL, "request_id": samples.REQUEST_ID}))),
        ("result_completed", api.result(api.Job.of({"model": MODEL, "request_id": samples.REQUEST_ID}))),
    ],
)
def test_a_call_is_the_printed_request(name, call):
    sample = samples.load(name)
    assert (call.method, call.path, call.json) == (sample.method, sample.path, sample.request_json)
    assert str(call) == f"{sample.method} {sample.path}"


# … and what comes back.


@pytest.mark.parametrize(
    ("name", "call", "value"),
    [
        ("submit", SUBMIT, JOB),
        ("submit_all_parameters", api.submit(MODEL, PROMPT, ALL_PARAMETERS), JOB),
        ("status_in_queue", STATUS, api.JobStatus(samples.REQUEST_ID, "IN_QUEUE")),
        ("status_in_progress", STATUS, api.JobStatus(samples.REQUEST_ID, "IN_PROGRESS")),
        ("status_completed", STATUS, api.JobStatus(samples.REQUEST_ID, "COMPLETED")),
        ("status_failed", STATUS, api.JobStatus(samples.REQUEST_ID, "FAILED", "content policy violation")),
        (
            "result_completed",
            RESULT,
            api.Result(
                samples.REQUEST_ID,
                MODEL,
                (f"{CONTENT_PATH}0",),
                {"video_seconds": 8, "video_resolution": "720p", "video_has_audio": True},
            ),
        ),
        (
            "result_completed_two_samples",
            RESULT,
            api.Result(
                samples.REQUEST_ID,
                MODEL,
                (f"{CONTENT_PATH}0", f"{CONTENT_PATH}1"),
                {"video_seconds": 8, "video_resolution": "1080p", "video_has_audio": False},
            ),
        ),
    ],
)
def test_a_printed_answer_is_read_to_its_value(name, call, value):
    assert read_sample(call, name) == value


ERROR_SAMPLES: list[tuple[str, type[api.ModelMaxError], str]] = [
    ("error_400_missing_prompt", api.BadRequestError, "prompt is required"),
    ("error_400_not_a_video_model", api.BadRequestError, "gpt-5 is not a video model"),
    ("error_400_bad_request_id", api.BadRequestError, "bad request id"),
    ("error_400_provider_mismatch", api.BadRequestError, "provider mismatch"),
    ("error_400_bad_content_index", api.BadRequestError, "bad content index"),
    ("error_401", api.UnauthorizedError, "into the password of the ModelMax connection"),
    ("error_402", api.InsufficientBalanceError, "This call was not charged. Top up"),
    ("error_500", api.TemporaryError, "internal error"),
    ("error_502", api.TemporaryError, "the upstream provider failed"),
    ("gateway_429", api.TemporaryError, "429 Too Many Requests"),
    ("gateway_503", api.TemporaryError, "503 Service Unavailable"),
    ("result_in_queue", api.TooEarlyError, "IN_QUEUE"),
    ("result_in_progress", api.TooEarlyError, "IN_PROGRESS"),
    ("result_failed", api.JobFailedError, "content policy violation"),
]


@pytest.mark.parametrize(("name", "error", "words"), ERROR_SAMPLES)
def test_a_printed_error_is_read_to_its_type_and_says_what_to_do(name, error, words):
    with pytest.raises(api.ModelMaxError) as caught:
        read_sample(RESULT, name)
    assert type(caught.value) is error
    assert words in str(caught.value)


def test_every_printed_sample_is_read_by_one_of_these_tests():
    good = {"submit", "submit_all_parameters", "result_completed", "result_completed_two_samples", "content"}
    good |= {f"status_{name}" for name in ("in_queue", "in_progress", "completed", "failed")}
    assert good | {name for name, *_ in ERROR_SAMPLES} == set(samples.names())


def test_an_error_names_call_status_type_and_the_services_sentence():
    with pytest.raises(api.BadRequestError) as caught:
        read_sample(STATUS, "error_400_provider_mismatch")
    assert str(caught.value) == (
        f"GET {JOB_PATH}/status answered 400 bad_request: provider mismatch. "
        "Correct the request; asking again cannot help."
    )
    assert (caught.value.status, caught.value.type, caught.value.retry_after) == (400, "bad_request", None)


@pytest.mark.parametrize(
    ("status", "error", "words"),
    [
        (403, api.ServiceError, "Look at the rights of the API key, and for a firewall"),
        (405, api.ServiceError, "Look for a proxy or gateway between Airflow and ModelMax."),
        (413, api.ServiceError, "Make the image smaller, or raise the limit of the gateway"),
        (404, api.TemporaryError, "if it persists, check the host of the ModelMax connection."),
        (400, api.TemporaryError, "if it persists, check the host of the ModelMax connection."),
        (410, api.TemporaryError, "if it persists, check the host of the ModelMax connection."),
        (408, api.TemporaryError, "Retry later."),
        (425, api.TemporaryError, "Retry later."),
        (429, api.TemporaryError, "Retry later."),
        (500, api.TemporaryError, "Retry later."),
        (599, api.TemporaryError, "Retry later."),
        (301, api.ForeignUrlError, "redirects to no URL"),
        (304, api.ForeignUrlError, "redirects to no URL"),
        (101, api.AnswerError, "answered 101, which is not expected here"),
    ],
)
def test_a_status_that_is_not_documented_is_one_of_the_known_errors(status, error, words):
    with pytest.raises(api.ModelMaxError) as caught:
        read(STATUS, b"<html>gateway</html>", status)
    assert type(caught.value) is error
    assert words in str(caught.value)


@pytest.mark.parametrize("status", [404, 410])
def test_not_found_in_the_services_own_words_is_about_what_was_asked_for(status):
    with pytest.raises(api.NotFoundError, match=r"not_found: no such job\. ModelMax does not know this") as caught:
        read(STATUS, {"error": {"type": "not_found", "message": "no such job"}}, status)
    assert "Check the id, and the host of the ModelMax connection." in str(caught.value)
    assert (caught.value.status, caught.value.type) == (status, "not_found")


@pytest.mark.parametrize(
    ("location", "named"),
    [
        ("https://evil.example/x?sk=1", "to evil.example"),
        ("https://me:pw@evil.example/", "to evil.example"),
        ("/elsewhere?sk=1", "within the same host"),
        ("http://[", "to no URL"),
    ],
)
def test_a_redirect_is_an_error_that_names_the_host_only(location, named):
    with pytest.raises(api.ForeignUrlError) as caught:
        read(STATUS, b"", 302, Location=location)
    assert f"redirects {named}. " in str(caught.value)


@pytest.mark.parametrize("kind", [None, "", " ", {}, 7])
def test_an_error_without_a_type_is_not_in_the_services_own_form(kind):
    with pytest.raises(api.TemporaryError, match="no error object of the service") as caught:
        read(RESULT, {"error": {"type": kind, "message": "no such job"}}, 404)
    assert api.may_have_billed(RESULT, caught.value)


# Answers that the contract does not know


@pytest.mark.parametrize(
    "body",
    [
        b"<html>please sign in</html>",
        b'{"request_id": "Zm9v',
        b"",
        b"[]",
        b'"IN_QUEUE"',
        b"null",
        b"\xff\xfe\x00",
        b"[" * 100_000,
        b'{"a":' * 100_000,
    ],
)
def test_a_body_that_is_no_json_object_is_garbled(body):
    with pytest.raises(api.AnswerError, match="not with a JSON object") as caught:
        read(STATUS, body)
    assert caught.value.garbled
    assert len(str(caught.value)) < 500


@pytest.mark.parametrize("body", [b"[" * 100_000, b'{"error": "no"}', b'{"error": {"type": "x"}}', b"[]", b"null", b""])
def test_an_error_body_that_is_not_the_services_is_of_something_on_the_way(body):
    error = api.error_of(STATUS, 400, {}, body)
    assert isinstance(error, api.TemporaryError)
    assert error.type == ""
    assert "no error object of the service" in str(error)


GOOD: dict[str, tuple[api.Call[Any], dict[str, Any]]] = {
    "submit": (SUBMIT, samples.load("submit").json),
    "status": (STATUS, samples.load("status_in_queue").json),
    "result": (RESULT, samples.load("result_completed").json),
}
NEEDED = {
    "submit": ("request_id",),
    "status": ("request_id", "status"),
    "result": ("data",),
}


@pytest.mark.parametrize("odd", [..., None, "", 7, True, [], {}], ids=repr)
@pytest.mark.parametrize(("name", "field"), [(name, field) for name, fields in NEEDED.items() for field in fields])
def test_a_needed_field_that_is_missing_or_of_another_type_is_named(name, field, odd):
    call, answer = GOOD[name]
    changed = {key: value for key, value in {**answer, field: odd}.items() if value is not ...}
    with pytest.raises(api.AnswerError, match=f"answered 200, but without a usable '{field}'") as caught:
        read(call, changed)
    assert not caught.value.garbled


@pytest.mark.parametrize("odd", [..., None, "", 7, True, [], {}], ids=repr)
@pytest.mark.parametrize("field", ["status_url", "response_url"])
def test_a_submitted_job_is_not_lost_over_its_urls(field, odd):
    answer = {key: value for key, value in {**GOOD["submit"][1], field: odd}.items() if value is not ...}
    assert read(SUBMIT, answer) == read(SUBMIT, GOOD["submit"][1])


@pytest.mark.parametrize("odd", [{}, {"url": ""}, {"url": 3}, {"url": None}, "/v1/x", None])
def test_of_a_paid_result_the_urls_that_can_be_used_are_kept_in_their_place(odd):
    answer = {**GOOD["result"][1], "data": [{"url": "/v1/0"}, odd, {"url": "/v1/2"}]}
    result = read(RESULT, answer)
    assert result.urls == ("/v1/0", "", "/v1/2")
    assert api.Result.from_dict(result.as_dict()) == result


@pytest.mark.parametrize("status", ["COMPLETED", "ARCHIVED", None])
@pytest.mark.parametrize("data", [[{}], [{"url": ""}], [{"url": 3}], ["/v1/x"], [{"url": None}, {}], "/v1/x"])
def test_a_result_without_usable_urls_was_paid_for_in_vain(data, status):
    with pytest.raises(api.UnusableResultError, match="without a usable 'data'") as caught:
        read(RESULT, {**GOOD["result"][1], "data": data, "status": status})
    assert "was paid for and cannot be used; asking again may bill again" in str(caught.value)
    assert not caught.value.garbled


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"error": "filtered: violence"}, "ModelMax said: filtered: violence."),
        ({"error": {"type": "safety", "message": "filtered: 暴力."}}, "ModelMax said: filtered: 暴力."),
        ({"message": "  no video\ncame "}, "ModelMax said: no video came."),
        ({"data": [{"reason": "too dark"}, {"reason": "too dark"}]}, "ModelMax said: too dark."),
        ({"error": "x" * 5000}, f"ModelMax said: {'x' * 1000}…."),
        ({"error": {"code": 7}, "message": 8}, "ModelMax gave no reason."),
    ],
)
def test_the_error_of_a_paid_result_begins_with_what_the_service_said_and_then_billed(more, said):
    usage = GOOD["result"][1]["usage"]
    with pytest.raises(api.UnusableResultError) as caught:
        read(RESULT, {**GOOD["result"][1], "data": [], **more})
    billed = ", ".join(f"{name}={value}" for name, value in usage.items())
    assert str(caught.value).startswith(f"{said} Billed: {billed}. {RESULT} answered 200, but without")
    assert caught.value.usage == usage


@pytest.mark.parametrize("usage", [..., None, "8 s", 7])
def test_the_error_of_a_paid_result_says_so_if_the_service_did_not_say_what_it_billed(usage):
    answer = {
        key: value for key, value in {**GOOD["result"][1], "data": [], "usage": usage}.items() if value is not ...
    }
    with pytest.raises(api.UnusableResultError, match=r"Billed: the service did not say\.") as caught:
        read(RESULT, answer)
    assert caught.value.usage == {}


def test_what_the_service_says_of_a_video_that_did_not_come_is_kept():
    data = [{"url": "/v1/0"}, {"url": None, "error": "filtered"}]
    result = read(RESULT, {**GOOD["result"][1], "data": data})
    assert (result.urls, result.said) == (("/v1/0", ""), "filtered")
    assert api.Result.from_dict(result.as_dict()) == result


def test_a_result_that_cannot_be_used_is_told_at_length():
    with pytest.raises(api.UnusableResultError) as caught:
        read(RESULT, {"status": "COMPLETED", "videos": ["/v1/x" * 1900], "more": "y" * 10_000})
    assert "/v1/x" * 1900 in str(caught.value)
    assert len(str(caught.value)) < 10_500


@pytest.mark.parametrize(
    "odd", [b'"720p\\u0000"', b'"\\ud83d"', b'{"\\ud83d": 1}', b"NaN", b"-Infinity", b"1e999", b'"\xed\xa0\xbd"']
)
def test_whatever_a_paid_result_says_can_be_stored(odd):
    body = json.dumps({**samples.load("result_completed").json, "usage": {"video_seconds": 7}}).encode()
    usage = read(RESULT, body.replace(b"7}", odd + b"}")).usage
    stored = json.dumps(usage, ensure_ascii=False, allow_nan=False).encode()
    assert b"\\u0000" not in stored


@pytest.mark.parametrize(("field", "odd"), [("usage", ...), ("usage", None), ("usage", "8 s"), ("model", ...)])
def test_a_paid_result_is_not_lost_over_model_or_usage(field, odd):
    answer = {key: value for key, value in {**GOOD["result"][1], field: odd}.items() if value is not ...}
    result = read(RESULT, answer)
    assert (result.model, result.urls) == (MODEL, (f"{CONTENT_PATH}0",))
    assert result.usage == ({} if field == "usage" else answer["usage"])


@pytest.mark.parametrize("odd", [..., None, "", 7, True, [], {}], ids=repr)
@pytest.mark.parametrize("field", ["request_id", "status"])
def test_a_paid_result_is_not_lost_over_its_id_or_status(field, odd):
    answer = {key: value for key, value in {**GOOD["result"][1], field: odd}.items() if value is not ...}
    assert read(RESULT, answer) == read(RESULT, GOOD["result"][1])


@pytest.mark.parametrize("status", ["ARCHIVED", "completed"])
def test_a_paid_result_is_not_lost_over_a_status_that_is_new(status):
    assert read(RESULT, {**GOOD["result"][1], "status": status}) == read(RESULT, GOOD["result"][1])


def test_the_status_of_another_job_is_refused():
    with pytest.raises(api.AnswerError, match="for another job than"):
        read(STATUS, {**GOOD["status"][1], "request_id": "other"})


@pytest.mark.parametrize("status", ["COMPLETED", "FAILED", "IN_PROGRESS"])
def test_the_result_of_another_job_cannot_be_used(status):
    with pytest.raises(api.UnusableResultError, match="for another job than") as caught:
        read(RESULT, {**GOOD["result"][1], "request_id": "other", "status": status})
    assert "'other'" in str(caught.value).replace('"', "'")


def test_an_unknown_status_passes_through_status():
    assert read(STATUS, {"request_id": samples.REQUEST_ID, "status": "PAUSED"}).status == "PAUSED"


@pytest.mark.parametrize(
    "answer", [{"request_id": samples.REQUEST_ID, "status": "PAUSED"}, {"error": {"type": "busy", "message": "no"}}, {}]
)
def test_what_is_no_result_may_have_been_billed_and_is_asked_for_again(answer):
    with pytest.raises(api.AnswerError, match="neither with COMPLETED nor with videos") as caught:
        read(RESULT, answer)
    assert not isinstance(caught.value, api.UnusableResultError)
    assert api.may_have_billed(RESULT, caught.value)
    assert [api.retry_delay(RESULT, caught.value, attempt) is None for attempt in (1, 2, 3)] == [False, False, True]


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        ("too dark", "too dark"),
        ("zu dunkel für €", "zu dunkel für €"),
        ({"code": 3, "why": "für"}, '{"code": 3, "why": "für"}'),
        (["a", 1], '["a", 1]'),
        (7, "7"),
        ("x" * 5000, "x" * 1000 + "…"),
        (["x" * 5000], '["' + "x" * 998 + "…"),
        (None, None),
        ("", None),
        ({}, None),
    ],
    ids=lambda value: repr(value)[:30],
)
def test_the_reason_of_a_failed_job_is_told_whatever_its_type_and_at_a_bearable_length(error, reason):
    failed = {"request_id": samples.REQUEST_ID, "status": "FAILED", "error": error}
    assert read(STATUS, failed).error == reason
    with pytest.raises(api.JobFailedError) as caught:
        read(RESULT, failed)
    assert caught.value.reason == (reason or "no reason given")


def test_a_failed_result_without_a_reason_says_so():
    with pytest.raises(api.JobFailedError, match="FAILED: no reason given") as caught:
        read(RESULT, {"request_id": samples.REQUEST_ID, "status": "FAILED"})
    assert caught.value.request_id == samples.REQUEST_ID


def test_what_to_do_about_a_failed_job_is_true_wherever_it_is_said():
    assert str(api.JobFailedError("id", "too dark")) == (
        "The job FAILED: too dark. Nothing is billed for it. Change the prompt or the parameters, then clear the task "
        "that submitted it. Job id."
    )


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
wire_fields = st.sampled_from(["request_id", "status", "status_url", "response_url", "data", "usage", "error", "model"])
near_misses = st.dictionaries(wire_fields, json_values | st.just(samples.REQUEST_ID) | st.just("COMPLETED"))
bodies = st.binary() | json_values.map(lambda value: json.dumps(value).encode())
bodies |= near_misses.map(lambda value: json.dumps(value).encode())
odd_headers = st.dictionaries(st.sampled_from(["Retry-After", "Location", "Content-Type"]), st.text())


@given(call=st.sampled_from([SUBMIT, STATUS, RESULT]), status=st.integers(100, 999), headers=odd_headers, body=bodies)
def test_no_answer_raises_anything_but_our_errors(call, status, headers, body):
    try:
        value = api.read_response(call, status, CaseInsensitiveDict(headers), body)
    except api.ModelMaxError:
        return
    assert 200 <= status < 300
    assert isinstance(value, api.Job | api.JobStatus | api.Result)


# Jobs and results as others hold them


@pytest.mark.parametrize(
    ("job", "words"),
    [
        ("Zm9v", "job is a str ('Zm9v'), but must be the dict"),
        (None, "job is None, but must be"),
        (["x"], "job is a list"),
        ({}, "job has no model (its keys: [])"),
        ({"model": MODEL}, "job has no request_id (its keys: ['model'])"),
        ({"request_id": "x"}, "job has no model"),
        ({"model": MODEL, "request_id": ""}, "job has no request_id"),
        ({"model": MODEL, "request_id": "  "}, "job has no request_id"),
        ({"model": MODEL, "request_id": "None"}, "job has no request_id"),
        ({"model": 3, "request_id": "x"}, "job['model'] is an int ('3'), not a text"),
        ({"model": MODEL, "request_id": 7}, "job['request_id'] is an int ('7'), not a text"),
        ({"model": MODEL, "request_id": "x", "status_url": 7}, "job['status_url'] is an int"),
        ({"model": MODEL, "request_id": "x", "response_url": ["/v1"]}, "job['response_url'] is a list"),
    ],
)
def test_what_is_no_job_is_refused_with_what_to_pass(job, words):
    with pytest.raises(api.InvalidInputError) as caught:
        api.Job.of(job)
    assert words in str(caught.value)
    assert "submit.output" in str(caught.value)


@pytest.mark.parametrize("text", [json.dumps(JOB.as_dict()), f" {JOB.as_dict()!r}\n"], ids=["JSON", "repr"])
def test_a_job_is_also_taken_as_the_text_that_a_template_makes_of_a_dict(text):
    assert api.Job.of(text) == JOB


def test_a_job_survives_the_way_through_xcom():
    assert api.Job.of(json.loads(json.dumps(JOB.as_dict()))) == JOB
    assert api.Job.of(JOB) is JOB
    assert api.Job.of({**JOB.as_dict(), "usage": None}) == JOB


@given(st.lists(st.text(), min_size=1, max_size=4), st.dictionaries(st.text(), st.text() | st.integers()))
def test_a_result_survives_being_kept(urls, usage):
    result = api.Result("id", MODEL, tuple(urls), usage)
    assert api.Result.from_dict(json.loads(json.dumps(result.as_dict()))) == result


def test_an_error_of_any_size_is_told_in_a_line():
    body = json.dumps({"error": {"type": "bad_request" * 1000, "message": "no " * 300_000}}).encode()
    assert len(str(api.error_of(STATUS, 400, {}, body))) < 1500
    answer = {**GOOD["status"][1], "status": "PAUSED" * 1000}
    assert len(read(STATUS, answer).status) <= 100


def test_what_is_said_of_a_call_holds_no_query():
    assert str(api.content("/v1/x.mp4?signature=secret")) == "GET /v1/x.mp4"


# Retry-After


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("0", 0.0),
        ("9" * 400, 86_400.0),
        ("soon", None),
        ("", None),
        ("-5", None),
        ("5.5", None),
        ("²", None),
        ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0),
        ("Wed, 21 Oct 9999 07:28:00 GMT", 86_400.0),
        ("Wed, 21 Oct 99999 07:28:00 GMT", None),
        ("Wed, 21 Oct 99999999999 07:28:00 GMT", None),
        ("Wed, 32 Oct 2026 07:28:00 GMT", None),
        ("Wed, 21 Oct 2026 07:28:00 -0000", None),
    ],
)
def test_retry_after_is_seconds_or_a_date_and_anything_else_is_ignored(value, seconds):
    assert api.error_of(STATUS, 429, CaseInsensitiveDict({"retry-after": value}), b"").retry_after == seconds


def test_retry_after_can_be_a_date_to_come():
    date = format_datetime(datetime.now(timezone.utc) + timedelta(seconds=30), usegmt=True)
    error = api.error_of(STATUS, 503, CaseInsensitiveDict({"Retry-After": date}), b"")
    assert 25 < error.retry_after <= 30
