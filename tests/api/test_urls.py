"""Where calls go: on the connection's own origin, whatever an id or URL of the service holds."""

from __future__ import annotations

from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from airflow_provider_modelmax import api

HOME = "https://api.modelmax.io"
MODEL = "veo-3.1"
JOB_PATH = "/v1/queue/veo-3.1/requests/Zm9v%2FYmFy%2BcXV4L3Jlc3Q9MQ%3D%3D"


@pytest.mark.parametrize(
    ("base", "url", "absolute"),
    [
        (HOME, "/v1/x", f"{HOME}/v1/x"),
        (HOME, f"{JOB_PATH}/status", f"{HOME}{JOB_PATH}/status"),
        (HOME, "/v1/x?a=b%20c&d=1", f"{HOME}/v1/x?a=b%20c&d=1"),
        (HOME, "v1/x", f"{HOME}/v1/x"),
        (HOME, "v1/a//b==/status", f"{HOME}/v1/a//b==/status"),
        (HOME, "/v1/a//b==/status", f"{HOME}/v1/a//b==/status"),
        (HOME, f"{HOME}/v1/x", f"{HOME}/v1/x"),
        (HOME, "https://api.modelmax.io:443/v1/x", "https://api.modelmax.io:443/v1/x"),
        (HOME, "https://API.modelmax.io/v1/x", "https://API.modelmax.io/v1/x"),
        ("http://[::1]:8765", "/v1/x", "http://[::1]:8765/v1/x"),
        ("https://gw.example/modelmax", "/v1/x", "https://gw.example/modelmax/v1/x"),
        ("https://gw.example/modelmax", "/modelmax/v1/x", "https://gw.example/modelmax/v1/x"),
        ("https://gw.example/modelmax", "/modelmaxed/x", "https://gw.example/modelmax/modelmaxed/x"),
        ("https://gw.example/modelmax", "v1/x", "https://gw.example/modelmax/v1/x"),
        ("https://gw.example/modelmax", "https://gw.example/modelmax/v1/x", "https://gw.example/modelmax/v1/x"),
    ],
)
def test_a_url_of_the_service_stays_at_home(base, url, absolute):
    assert api.resolve(base, url) == absolute


@pytest.mark.parametrize(
    "url",
    [
        "https://evil/x",
        "//evil/x",
        "http://api.modelmax.io/x",
        "https://api.modelmax.io:8443/x",
        "https://api.modelmax.io@evil/",
        "https://api.modelmax.io:443@evil/",
        "https://api.modelmax.io.evil/",
        "https://api.modelmax.io./",
        "https://me:pw@api.modelmax.io/x",
        "ftp://api.modelmax.io/x",
        "file:///etc/passwd",
        "javascript:alert(1)",
    ],
)
@pytest.mark.parametrize("base", [HOME, f"{HOME}/base"])
def test_a_url_on_another_origin_is_foreign(base, url):
    with pytest.raises(api.ForeignUrlError, match="The key is not sent there"):
        api.resolve(base, url)


@pytest.mark.parametrize(
    "url",
    [
        "https://evil\\@api.modelmax.io/x",
        "/\\evil/x",
        "\\\\evil\\x",
        "/v1/a\r\nHost: evil",
        "/v1/\x00",
        "/v1/\x7f",
        "/v1/\u202e",
        "//[",
        "https://[::1/x",
        "https://api.modelmax.io:99999/x",
        "https://api.modelmax.io:x/",
    ],
)
def test_a_url_that_clients_read_in_different_ways_is_none(url):
    with pytest.raises(api.ForeignUrlError, match="gave an invalid URL") as caught:
        api.resolve(HOME, url)
    assert not caught.value.reached


def test_what_no_url_can_hold_is_quoted_and_the_rest_sent_as_it_came():
    assert api.resolve(HOME, "/v1/a b/ü+c%20d==?x=%2F") == f"{HOME}/v1/a%20b/%C3%BC+c%20d==?x=%2F"


@given(st.text(alphabet="/\\@:?#.[]%ahtpsevil\t ", max_size=20) | st.text(max_size=20))
def test_no_url_leaves_the_origin_for_any_client(url):
    from urllib3.util import parse_url
    from yarl import URL

    try:
        absolute = api.resolve(HOME, url)
    except api.AnswerError:
        return
    assert (parse_url(absolute).scheme, parse_url(absolute).host) == ("https", "api.modelmax.io")
    assert URL(absolute, encoded=True).host == "api.modelmax.io"


# Ids


@pytest.mark.parametrize(
    "request_id", ["a/b+c==", "a?b#c", "100%", "a&b", "a b", "ü€", "a..b", "...", "%2e%2e", "a\\b"]
)
def test_an_id_is_one_quoted_segment_of_the_path(request_id):
    job = api.Job.of({"model": MODEL, "request_id": request_id})
    *_, segment = job.response_url.split("/")
    assert unquote(segment) == request_id
    assert job.status_url == f"{job.response_url}/status"
    assert api.resolve(HOME, job.response_url) == f"{HOME}/v1/queue/veo-3.1/requests/{segment}"


@given(st.text(min_size=1).filter(lambda text: text.strip() not in {"", "None"} and text not in {".", ".."}))
def test_every_id_comes_out_as_it_went_in(request_id):
    path = api.Job.of({"model": MODEL, "request_id": request_id}).response_url
    absolute = api.resolve(HOME, path)
    assert absolute == f"{HOME}{path}"
    assert unquote(absolute.rpartition("/")[2]) == request_id


@pytest.mark.parametrize("value", [".", ".."])
@pytest.mark.parametrize("name", ["model", "request_id"])
def test_an_id_that_would_change_the_path_is_refused(name, value):
    with pytest.raises(api.InvalidInputError, match=f"{name} '{value}' is not an id"):
        api.Job.of({"model": MODEL, "request_id": "x", name: value})


def test_an_unknown_model_is_passed_through():
    assert api.submit("veo/9 new", "x").path == "/v1/queue/veo%2F9%20new"


def test_a_foreign_url_is_named_without_its_credentials():
    with pytest.raises(api.ForeignUrlError, match=r"another host \(evil:8080\)"):
        api.resolve(HOME, "https://user:secret@evil:8080/x")
