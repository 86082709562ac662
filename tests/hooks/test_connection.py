"""A connection, as people write it, is read to an endpoint; or the message names the field to correct."""

from __future__ import annotations

import json
from types import SimpleNamespace
from urllib.parse import quote

import pytest
from airflow.sdk import Connection

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks.connection import Endpoint, read_connection

KEY = "sk-secret"


def connection(host: str | None = None, password: str | None = KEY, **fields: object) -> Connection:
    return Connection(conn_id="mm", conn_type="modelmax", host=host, password=password, **fields)


@pytest.mark.parametrize(
    ("uri", "base_url"),
    [
        (f"modelmax://:{KEY}@", "https://api.modelmax.io"),
        (f"modelmax://:{KEY}@/", "https://api.modelmax.io"),
        (f"modelmax://:{KEY}@https%3A%2F%2Fgw.example", "https://gw.example"),
        (f"modelmax://:{KEY}@gw.example/https", "https://gw.example"),
        (f"modelmax://:{KEY}@127.0.0.1:8765/http", "http://127.0.0.1:8765"),
        (f"modelmax://https://:{KEY}@gw.example", "https://gw.example"),
        (f"modelmax://http://:{KEY}@127.0.0.1:8765", "http://127.0.0.1:8765"),
        (f"modelmax://:{KEY}@http%3A%2F%2F127.0.0.1%3A8765", "http://127.0.0.1:8765"),
        (f"modelmax://:{KEY}@https%3A%2F%2Fgw.example%3A8443%2Fbase/?timeout=30", "https://gw.example:8443/base"),
    ],
)
def test_a_connection_can_be_a_uri(uri, base_url):
    endpoint = read_connection(Connection.from_uri(uri, conn_id="mm"))
    assert (endpoint.base_url, endpoint.key) == (base_url, KEY)


@pytest.mark.parametrize("host", [None, "https://gw.example:8443/base", "http://127.0.0.1:8765"])
def test_the_uri_that_airflow_makes_of_a_connection_leads_to_the_same_endpoint(host):
    first = connection(
        host, password="sk-+/=@:?#", extra='{"timeout": 5, "verify": false, "proxy": "http://me:pw@p:1"}'
    )
    again = Connection.from_uri(first.get_uri(), conn_id="mm")
    assert read_connection(again) == read_connection(first)


@pytest.mark.parametrize("uri", ["modelmax://https://:sk-secret@gw.example/base", "modelmax://:sk-secret@/https/base"])
def test_a_path_that_airflow_takes_for_a_schema_is_refused_instead_of_dropped(uri):
    with pytest.raises(api.ConnectionSetupError, match=r"schema .* is '.*base'.* write its slashes as %2F") as caught:
        read_connection(Connection.from_uri(uri, conn_id="mm"))
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("uri", [KEY, f"/{KEY}", f"modelmax:///{KEY}", f"{KEY}/more"])
def test_a_bare_key_in_place_of_a_connection_is_not_shown(uri):
    found = Connection.from_uri(uri, conn_id="mm")
    with pytest.raises(
        api.ConnectionSetupError, match=r"password of connection 'mm' is empty.*modelmax://:sk-…@"
    ) as caught:
        read_connection(found)
    assert "secret" not in str(caught.value)


def test_a_connection_can_be_json():
    text = '{"conn_type": "modelmax", "host": "https://gw.example", "password": "sk-1", "extra": {"timeout": 5}}'
    endpoint = read_connection(Connection.from_json(text, conn_id="mm"))
    assert endpoint == Endpoint("https://gw.example", "sk-1", timeout=5)


@pytest.mark.parametrize(
    ("host", "fields", "base_url"),
    [
        (None, {}, "https://api.modelmax.io"),
        ("", {}, "https://api.modelmax.io"),
        ("  ", {}, "https://api.modelmax.io"),
        ("https://gw.example/", {}, "https://gw.example"),
        (" https://gw.example// ", {}, "https://gw.example"),
        ("HTTPS://GW.Example", {}, "https://gw.example"),
        ("https://gw.example:8443", {}, "https://gw.example:8443"),
        ("https://gw.example", {"port": 8443}, "https://gw.example:8443"),
        ("https://gw.example:8443", {"port": 1}, "https://gw.example:8443"),
        ("https://gw.example/base/path/", {}, "https://gw.example/base/path"),
        ("https://gw.example/base", {"port": 8443}, "https://gw.example:8443/base"),
        ("http://[::1]:8765", {}, "http://[::1]:8765"),
        ("http://[::1]", {"port": 8765}, "http://[::1]:8765"),
        ("gw.example", {"schema": "https"}, "https://gw.example"),
        ("gw.example/base", {"schema": "http", "port": 80}, "http://gw.example:80/base"),
    ],
)
def test_a_host_is_read_to_a_base_url(host, fields, base_url):
    assert read_connection(connection(host, **fields)).base_url == base_url


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("api.modelmax.io", "has no scheme: write the base URL, for example https://api.modelmax.io"),
        ("127.0.0.1:8765", "has no scheme"),
        ("localhost:8765", "has no scheme"),
        ("ftp://gw.example", "has no scheme"),
        ("https://", "has no scheme"),
        ("https:///v1", "has no scheme"),
        ("https://gw.example:99999", "is not a URL"),
        ("https://gw.example:port", "is not a URL"),
        ("https://[::1", "is not a URL"),
        ("https://me:sk-secret/999@gw.example", "is not a URL"),
        ("https://user@gw.example", "must be a base URL"),
        ("https://:sk-secret@gw.example", "must be a base URL"),
        ("https://gw.example?key=sk-secret", "must be a base URL"),
        ("https://gw.example#x", "must be a base URL"),
        ("https://gw example", "must be a base URL"),
        ("https://evil\\gw.example", "must be a base URL"),
        ("https://gw.example/a\nb", "must be a base URL"),
        ("https://api.modelmax.io/v1", "must end before /v1"),
        ("https://gw.example/base/v1/", "must end before /v1"),
        ("https://api.modelmax.io/v1/queue", "must end before /v1"),
        ("http://api.modelmax.io", "would send the key unencrypted: write https://api.modelmax.io"),
        ("HTTP://API.ModelMax.io:80", "would send the key unencrypted"),
    ],
)
def test_a_host_that_is_no_base_url_is_refused(host, words):
    with pytest.raises(api.ConnectionSetupError) as caught:
        read_connection(connection(host))
    assert words in str(caught.value)
    assert "The host of connection 'mm'" in str(caught.value)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("password", [None, "", "  ", "\n"])
def test_a_connection_without_a_key_is_refused(password):
    with pytest.raises(api.ConnectionSetupError, match="The password of connection 'mm' is empty"):
        read_connection(connection(password=password))


@pytest.mark.parametrize("password", ["sk-se\ncret", "sk-se cret", "sk-sécret", "sk-\x00cret", "sk-se\r\nHost: x"])
def test_a_key_that_no_header_can_carry_is_refused_and_not_shown(password):
    with pytest.raises(
        api.ConnectionSetupError, match="is no API key: it has spaces, line breaks or accents in it"
    ) as caught:
        read_connection(connection(password=password))
    assert "cret" not in str(caught.value)


def test_white_space_around_the_key_is_a_slip_of_the_mouse():
    assert read_connection(connection(password=f" {KEY}\n")).key == KEY


@pytest.mark.parametrize(
    ("extra", "field", "value"),
    [
        ({}, "timeout", 60.0),
        ({"timeout": None}, "timeout", 60.0),
        ({"timeout": ""}, "timeout", 60.0),
        ({"timeout": "7.5"}, "timeout", 7.5),
        ({"timeout": 3600}, "timeout", 3600.0),
        ({}, "verify", True),
        ({"verify": ""}, "verify", True),
        ({"verify": "False"}, "verify", False),
        ({"verify": " true "}, "verify", True),
        ({"verify": False}, "verify", False),
        ({"verify": "/etc/ca.pem"}, "verify", "/etc/ca.pem"),
        ({}, "proxy", None),
        ({"proxy": ""}, "proxy", None),
        ({"proxy": "http://me:pw@proxy:3128"}, "proxy", "http://me:pw@proxy:3128"),
        ({"somebody": "else's"}, "proxy", None),
    ],
)
def test_an_extra_is_read(extra, field, value):
    endpoint = read_connection(SimpleNamespace(**vars(FIELDS), extra_dejson=extra))
    assert getattr(endpoint, field) == value


FIELDS = SimpleNamespace(
    conn_id="mm", conn_type="modelmax", host=None, port=None, schema=None, password=KEY, extra=None
)


@pytest.mark.parametrize(
    ("extra", "words"),
    [
        *(({"timeout": value}, "extra 'timeout'") for value in (0, -1, "soon", True, [5], "nan", "inf", 3601)),
        *(({"verify": value}, "extra 'verify'") for value in (0, 1, ["/ca"], {})),
        *(
            ({"proxy": value}, "extra 'proxy'")
            for value in (
                "proxy:3128",
                "socks5://p:1",
                "http://",
                "http://[",
                "http://p:x",
                "http://me:pw@",
                3128,
                True,
            )
        ),
        *((value, "extra of connection 'mm' must be a JSON object") for value in (["pw"], "pw", 5)),
    ],
)
def test_an_extra_that_cannot_be_used_is_refused_and_named(extra, words):
    with pytest.raises(api.ConnectionSetupError) as caught:
        read_connection(SimpleNamespace(**vars(FIELDS), extra_dejson=extra))
    assert words in str(caught.value)
    assert "'mm'" in str(caught.value)
    assert "pw" not in str(caught.value)


@pytest.mark.parametrize("extra", ['{"verify": false', "timeout=30", "{'proxy': 'http://me:pw@p:1'}"])
def test_an_extra_that_is_not_json_is_refused_instead_of_ignored(extra):
    with pytest.raises(api.ConnectionSetupError, match="extra of connection 'mm' must be a JSON object") as caught:
        read_connection(connection(extra=extra))
    assert "pw" not in str(caught.value)


def test_what_the_form_saves_is_read():
    empty = connection(extra='{"timeout": null, "verify": null, "proxy": null}')
    assert read_connection(empty) == Endpoint("https://api.modelmax.io", KEY)
    filled = connection(extra='{"timeout": 30, "verify": "false", "proxy": "http://p:1"}')
    assert read_connection(filled) == Endpoint("https://api.modelmax.io", KEY, 30, verify=False, proxy="http://p:1")


ECHO = b'{"url": "/v1/queue/veo-3.1", "sent": "Bearer sk-secret"}'


@pytest.mark.parametrize(
    ("key", "status", "left"),
    [
        ("sk-secret", 200, b'{"url": "/v1/queue/veo-3.1", "sent": "Bearer ***"}'),
        ("sk-secret", 502, b'{"url": "/v1/queue/veo-3.1", "sent": "Bearer ***"}'),
        ("veo", 200, ECHO),
        ("veo", 299, ECHO),
        ("veo", 404, b'{"url": "/v1/queue/***-3.1", "sent": "Bearer sk-secret"}'),
        ("veo", 302, b'{"url": "/v1/queue/***-3.1", "sent": "Bearer sk-secret"}'),
    ],
)
def test_the_key_is_taken_out_of_answers_but_an_ordinary_word_not_out_of_good_ones(key, status, left):
    assert Endpoint("https://gw.example", key).without_key(status, ECHO) == left


ODD_KEY = 'sk-ab/cd+ef=="gh\\i'


@pytest.mark.parametrize(
    "spelled",
    [
        ODD_KEY,
        json.dumps(ODD_KEY)[1:-1],
        json.dumps(ODD_KEY)[1:-1].replace("/", "\\/").replace("+", "\\u002B"),
        "".join(f"\\u{ord(char):04x}" for char in ODD_KEY),
        quote(ODD_KEY, safe=""),
        quote(ODD_KEY, safe="").lower().replace("%5ci", "%5Ci"),
    ],
)
def test_the_key_is_taken_out_of_answers_however_json_or_a_url_spells_it(spelled):
    left = Endpoint("https://gw.example", ODD_KEY).without_key(400, f'{{"sent": "Bearer {spelled}!\\n"}}'.encode())
    assert left == b'{"sent": "Bearer ***!\\n"}'


@pytest.mark.parametrize(("timeout", "seconds"), [(60, 130), (5, 15)])
def test_an_attempt_takes_so_long_at_most(timeout, seconds):
    assert Endpoint("https://gw.example", KEY, timeout=timeout).answer_seconds == seconds


def test_neither_key_nor_proxy_is_shown():
    shown = repr(Endpoint("https://gw.example", KEY, proxy="http://me:pw@proxy:3128"))
    assert "https://gw.example" in shown
    assert KEY not in shown
    assert "pw" not in shown
