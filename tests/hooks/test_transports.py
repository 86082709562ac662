"""How calls travel, in both colours: proxies, certificates, headers, limits. Over real sockets."""

from __future__ import annotations

import asyncio
import json
import socket
import threading
import time
import traceback
from pathlib import Path

import pytest
import requests

from airflow_provider_modelmax import __version__, api
from airflow_provider_modelmax.hooks import aiohttp_transport as async_transport
from airflow_provider_modelmax.hooks import connection as endpoint
from airflow_provider_modelmax.simulator import Simulator
from tests.hooks.conftest import NONE
from tests.stack.listener import answer

pytestmark = pytest.mark.filterwarnings("ignore:Unverified HTTPS request")


def test_the_service_sees_who_asks_and_the_key_and_nothing_odd(ask, connect, listener):
    assert ask(connect(listener.url, "sk-1")).status == "IN_QUEUE"
    lines = listener.requests[0].split("\r\n")
    headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines[1:] if line)}
    assert lines[0] == "GET /v1/queue/veo-3.1/requests/none/status HTTP/1.1"
    assert headers["authorization"] == "Bearer sk-1"
    assert headers["user-agent"] == f"airflow-provider-modelmax/{__version__}"
    assert headers["accept"] == "application/json"
    assert "cookie" not in headers


def test_many_calls_share_one_connection(ask, connect, listener):
    ask(connect(listener.url), *[NONE] * 5)
    assert (len(listener.requests), listener.connections) == (5, 1)


def test_a_base_path_stands_before_every_call(ask, connect, listener):
    ask(connect(f"{listener.url}/gateway/"))
    assert listener.requests[0].startswith("GET /gateway/v1/queue/veo-3.1/requests/none/status ")


@pytest.mark.parametrize(
    "request_id", ["a/b+c==", "a?b#c", "100%", "a b", "ü€", "a..b", "%2e%2e", "%2F", "a\\b", "a~b;c"]
)
def test_an_odd_id_arrives_as_one_segment(ask, connect, listener, request_id):
    job = api.Job.of({"model": "veo-3.1", "request_id": request_id})
    with pytest.raises(api.AnswerError, match="for another job"):
        ask(connect(listener.url), job)
    assert listener.requests[0].startswith(f"GET {job.status_url} HTTP/1.1\r\n")


# Proxies and the environment


def test_the_proxy_of_the_connection_is_used(ask, connect, listener, monkeypatch):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")  # the connection's own wins
    monkeypatch.setenv("no_proxy", "modelmax.invalid")
    assert ask(connect("http://modelmax.invalid", proxy=f"http://me:pw@127.0.0.1:{listener.port}")).status == "IN_QUEUE"
    assert listener.requests[0].startswith("GET http://modelmax.invalid/v1/queue/veo-3.1/requests/none/status ")
    assert "proxy-authorization: basic bwu6chc=" in listener.requests[0].lower()


@pytest.mark.parametrize("variable", ["http_proxy=http://", "http_proxy=", "all_proxy=http://"])
def test_a_proxy_of_the_environment_is_used(ask, connect, listener, monkeypatch, variable):
    name, _, scheme = variable.partition("=")
    monkeypatch.setenv(name, f"{scheme}127.0.0.1:{listener.port}")
    assert ask(connect("http://modelmax.invalid")).status == "IN_QUEUE"
    assert listener.requests[0].startswith("GET http://modelmax.invalid/")


@pytest.mark.parametrize("spared", ["127.0.0.1", "127.0.0.0/8", "*"])
def test_a_proxy_of_the_environment_is_passed_by_where_no_proxy_says_so(ask, connect, listener, monkeypatch, spared):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    monkeypatch.setenv("no_proxy", spared)
    ask(connect(listener.url))
    assert listener.requests[0].startswith("GET /v1/")


def test_a_worker_goes_through_a_socks_proxy(connect, monkeypatch):
    def serve():
        with proxy.accept()[0] as connection:
            for reply in (b"\5\0", b"\5\0\0\1\0\0\0\0\0\0", answer()):  # no password; connected; what the service says
                asked.append(connection.recv(65536))
                connection.sendall(reply)

    asked = []
    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.getsockname()[1]}")
        assert connect("http://modelmax.example").get_status(NONE).status == "IN_QUEUE"
    assert b"modelmax.example" in asked[1]
    assert b"Bearer sk-simulator" in asked[2]


def test_in_a_loop_a_socks_proxy_of_the_environment_is_refused_by_name_without_its_password(connect, monkeypatch):
    monkeypatch.setenv("all_proxy", "socks5h://me:s3cret@127.0.0.1:1080")
    hook = connect("http://modelmax.invalid")
    with pytest.raises(api.ConnectionSetupError, match=r"the kind socks5h://, .* deferrable=False") as raised:
        asyncio.run(hook.aget_status(NONE))
    assert "s3cret" not in str(raised.value)


def test_https_goes_through_a_tunnel_and_the_proxy_never_sees_the_key(ask, connect, listener):
    listener.answer = answer(b"no", "403 Forbidden")
    with pytest.raises(api.TransportError):
        ask(connect("https://modelmax.invalid", "sk-1", proxy=listener.url))
    assert listener.requests[0].startswith("CONNECT modelmax.invalid:443 ")
    assert "sk-1" not in "".join(listener.requests)


@pytest.mark.parametrize("host", ["https://modelmax.invalid", "http://modelmax.invalid"])
def test_a_proxy_that_refuses_its_password_does_not_make_it_known(ask, connect, listener, host):
    listener.answer = answer(b"no", "407 Proxy Authentication Required")
    key, proxy = "sk-12345", f"http://me:s3cr%21t@127.0.0.1:{listener.port}"
    with pytest.raises(api.ModelMaxError) as caught:
        ask(connect(host, key, proxy=proxy))
    shown = "".join(traceback.format_exception(caught.value))
    assert not any(secret in shown for secret in ("s3cr", "bWU6", key))


def test_netrc_does_not_replace_the_key(ask, connect, listener, monkeypatch, tmp_path):
    (tmp_path / ".netrc").write_text("machine 127.0.0.1 login me password other\n")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
    ask(connect(listener.url, "sk-1"))
    assert "Authorization: Bearer sk-1\r\n" in listener.requests[0]


# Certificates


@pytest.fixture(scope="module")
def secure(certificate):
    with Simulator(tls=(certificate.chain, certificate.key)) as simulator:
        yield simulator


def test_an_unknown_ca_is_refused_with_advice(ask, connect, secure):
    with pytest.raises(api.ConnectionSetupError, match="certificate was not accepted") as caught:
        ask(connect(secure.url))
    assert api.CA_ADVICE in str(caught.value)
    assert "certificate verify failed: " in str(caught.value)  # and why
    assert secure.ledger.calls() == []


@pytest.mark.parametrize("verify", ["path", False, "false"])
def test_a_ca_of_our_own_is_accepted_when_it_is_named_or_nothing_is_verified(ask, connect, secure, certificate, verify):
    with pytest.raises(api.BadRequestError, match="no such request"):
        ask(connect(secure.url, verify=certificate.ca if verify == "path" else verify))


def test_a_folder_of_certificates_is_accepted(ask, connect, secure, certificate, tmp_path):
    import subprocess

    Path(tmp_path / "ca.pem").write_bytes(Path(certificate.ca).read_bytes())
    command = ["openssl", "x509", "-hash", "-noout", "-in", certificate.ca]
    try:
        name = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
    except FileNotFoundError:
        pytest.skip("there is no openssl to name the link")
    (tmp_path / f"{name}.0").symlink_to(tmp_path / "ca.pem")
    with pytest.raises(api.BadRequestError, match="no such request"):
        ask(connect(secure.url, verify=str(tmp_path)))


@pytest.mark.parametrize("variable", ["REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_a_ca_bundle_of_the_environment_is_accepted(ask, connect, secure, certificate, monkeypatch, variable):
    monkeypatch.delenv("REQUESTS_CA_BUNDLE", raising=False)
    monkeypatch.setenv("CURL_CA_BUNDLE", "/nowhere/ca.pem")  # REQUESTS_CA_BUNDLE wins
    monkeypatch.setenv(variable, certificate.ca)
    with pytest.raises(api.BadRequestError, match="no such request"):
        ask(connect(secure.url))


def test_a_ca_bundle_of_the_environment_does_not_replace_the_connections_own(
    ask, connect, secure, certificate, monkeypatch
):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    for verify in (certificate.ca, False):
        with pytest.raises(api.BadRequestError, match="no such request"):
            ask(connect(secure.url, verify=verify))


def test_a_ca_bundle_of_the_environment_that_is_not_there_is_named(ask, connect, secure, monkeypatch):
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", "/nowhere/ca.pem")
    with pytest.raises(api.ConnectionSetupError, match=r"/nowhere/ca\.pem"):
        ask(connect(secure.url))


def test_without_a_bundle_both_colours_trust_the_one_of_requests(ask, connect, secure, certificate, monkeypatch):
    assert requests.certs.where() == async_transport.DEFAULT_CA_BUNDLE_PATH
    for variable in ("REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"):
        monkeypatch.delenv(variable, raising=False)
    for module in (requests.adapters, async_transport):
        monkeypatch.setattr(module, "DEFAULT_CA_BUNDLE_PATH", certificate.ca)
    with pytest.raises(api.BadRequestError, match="no such request"):
        ask(connect(secure.url))


@pytest.mark.parametrize("content", [None, b"", b"no certificate"], ids=["missing", "empty", "text"])
def test_a_ca_file_that_cannot_be_used_names_the_extra(ask, connect, secure, tmp_path, content):
    path = tmp_path / "ca.pem"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(api.ConnectionSetupError, match="Correct the extra 'verify' of the connection"):
        ask(connect(secure.url, verify=str(path)))


def test_a_server_that_speaks_no_tls_is_a_transport_error(ask, connect, simulator):
    with pytest.raises(api.TransportError, match="no whole answer"):
        ask(connect(simulator.url.replace("http:", "https:"), verify=False))


# Limits


def test_an_answer_that_does_not_come_is_given_up_after_the_timeout(ask, connect, simulator):
    simulator.fault("status", "slow_answer", seconds=5)
    begin = time.monotonic()
    with pytest.raises(api.TransportError, match="no whole answer"):
        ask(connect(simulator.url, timeout=0.05))
    assert time.monotonic() - begin < 3


def test_a_trickling_answer_is_given_up_after_the_timeout(ask, connect, simulator):
    hook = connect(simulator.url, timeout=0.2)
    job = hook.submit_video("veo-3.1", "a boat")
    simulator.fault("status", "slow_body", bytes_per_second=20)
    begin = time.monotonic()
    with pytest.raises(api.TransportError):
        ask(hook, job)
    assert time.monotonic() - begin < 2.5  # up to five attempts; a whole answer takes 3.5 s each


@pytest.mark.parametrize("status", ["200 OK", "500 Internal Server Error"])
def test_an_endless_answer_is_not_read_to_its_end(ask, connect, listener, status, monkeypatch):
    monkeypatch.setattr(endpoint, "MAX_ANSWER", 1000)
    listener.answer = answer(b"x" * 5000, status)
    with pytest.raises(api.AnswerError, match="answered with more than 1,000 bytes") as caught:
        ask(connect(listener.url))
    assert caught.value.garbled


def test_an_answer_that_is_paid_for_is_read_however_long_it_is(connect, listener, monkeypatch):
    monkeypatch.setattr(endpoint, "MAX_ANSWER", 1000)
    padded = {"status": "COMPLETED", "data": [{"url": "/v1/video"}], "usage": {}, "more": "x" * 5000}
    listener.answer = answer(json.dumps(padded).encode())
    assert connect(listener.url).get_result(NONE).urls == ("/v1/video",)
    assert len(listener.requests) == 1


@pytest.mark.parametrize("interim", ["103 Early Hints", "102 Processing", "100 Continue"])
@pytest.mark.parametrize("times", [1, 3])
def test_what_only_announces_an_answer_is_not_taken_for_it(ask, connect, listener, interim, times):
    listener.answer = f"HTTP/1.1 {interim}\r\nLink: </x>; rel=preload\r\n\r\n".encode() * times + answer()
    hook = connect(listener.url)
    assert ask(hook, NONE, NONE).status == "IN_QUEUE"
    assert (listener.connections, len(listener.requests)) == (1, 2)


@pytest.mark.parametrize("status", ["200 OK", "400 Bad Request", "500 Oops"])
def test_a_body_that_echoes_the_key_does_not_show_it_in_the_error(ask, connect, listener, status):
    listener.answer = answer(b"<html>Authorization: Bearer sk-12345 was sent</html>", status, "text/html")
    with pytest.raises(api.ModelMaxError, match=r"Bearer \*\*\* was sent") as caught:
        ask(connect(listener.url, "sk-12345"))
    assert "sk-12345" not in repr(caught.value)
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None or caught.value.__suppress_context__


def test_a_key_that_is_an_ordinary_word_does_not_spoil_a_good_answer(ask, connect, listener):
    assert ask(connect(listener.url, "QUEUE")).status == "IN_QUEUE"


def test_a_key_that_is_an_ordinary_word_is_not_shown_by_an_error_page(ask, connect, listener):
    listener.answer = answer(b"<html>Bearer veo was sent</html>", "400 Bad Request", "text/html")
    with pytest.raises(api.TemporaryError, match=r"Bearer \*\*\* was sent"):
        ask(connect(listener.url, "veo"))


def test_a_redirect_is_not_followed_even_at_home(ask, connect, listener):
    listener.answer = answer(headers="Location: /x\r\n", status="307 Temporary Redirect")
    with pytest.raises(api.ForeignUrlError, match="redirects within the same host") as caught:
        ask(connect(listener.url))
    assert "check the host" not in str(caught.value)
    assert len(listener.requests) == 1


def test_the_body_of_a_redirect_is_read_no_further_than_that_of_another_answer(connect, listener):
    listener.answer = answer(status="302 Found", headers="Location: /x\r\n").replace(b"Length: 44", b"Length: 999")
    listener.tail = [(0.2, b".")] * 200
    hook, begun = connect(listener.url, timeout=0.5), time.monotonic()
    with pytest.raises(api.TransportError, match="took longer than"):
        hook._open().send(api.status(api.Job.of(NONE)))
    assert time.monotonic() - begun < 20  # the tail takes 40 s


@pytest.mark.parametrize(
    "begun",
    [b"HTTP/1.1 200 OK\r\n", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"],
    ids=["head", "length of a chunk"],
)
def test_an_answer_that_trickles_in_does_not_hold_the_worker(connect, listener, begun):
    listener.answer, listener.tail = begun, [(0.2, b"X")] * 200
    hook, start = connect(listener.url, timeout=0.5), time.monotonic()
    with pytest.raises(api.TransportError, match="took longer than"):
        hook._open().send(api.status(api.Job.of(NONE)))
    assert time.monotonic() - start < 25  # the tail takes 40 s


def test_a_big_image_may_take_longer_to_send_than_a_connection_to_come_about(connect, listener):
    listener.answer, listener.pause = answer(b'{"request_id": "j", "status_url": "/s", "response_url": "/r"}'), 0.012
    order = api.submit("veo-3.1", "a boat", {"image": "A" * 18_000_000})
    assert connect(listener.url, timeout=2)._open().send(order).request_id == "j"
    assert "Content-Type: application/json\r\n" in listener.requests[0]


@pytest.mark.parametrize("location", ["http://[bad", "\xff\xfe", ""])
def test_a_redirect_to_nowhere_is_a_redirect(ask, connect, listener, location):
    listener.answer = answer(status="302 Found", headers=f"Location: {location}\r\n").replace(
        location.encode(), location.encode("latin-1")
    )
    with pytest.raises(api.ForeignUrlError, match="redirects to no URL"):
        ask(connect(listener.url))


@pytest.mark.parametrize("host", ["http://" + "a" * 70 + ".example", "http://modelmax..example"])
def test_a_host_that_is_no_name_is_a_clear_error(ask, connect, host):
    with pytest.raises((api.ConnectionSetupError, api.TransportError)):
        ask(connect(host))


def test_nobody_listening_is_known_to_have_reached_nobody(connect, slept, free_port):
    with pytest.raises(api.TransportError, match="Connection refused") as caught:
        connect(f"http://127.0.0.1:{free_port}").get_status(NONE)
    assert not caught.value.reached
    assert len(slept) == 4


@pytest.mark.parametrize(
    ("what", "closes", "words"),
    [
        (b"", True, "the connection was closed"),
        (b"garbage\r\n\r\n", True, "not an HTTP answer"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nabc", True, "the answer was cut off"),
        (b"", False, "timed out"),
    ],
)
def test_an_answer_that_does_not_come_is_told_in_words_and_not_as_objects(connect, listener, ask, what, closes, words):
    listener.answer, listener.closes = what, closes
    with pytest.raises(api.TransportError) as caught:
        ask(connect(listener.url, timeout=0.3))
    assert f"no whole answer ({words})." in str(caught.value)


@pytest.mark.parametrize("proxy", [True, False])
def test_a_host_where_nobody_listens_is_told_in_words(connect, ask, free_port, proxy):
    hook = connect("http://gw.example" if proxy else f"http://127.0.0.1:{free_port}")
    if proxy:
        hook = connect("http://gw.example", proxy=f"http://127.0.0.1:{free_port}")
    with pytest.raises(
        api.TransportError, match=r"no whole answer \(Connection refused\)\. Check the host and the proxy"
    ):
        ask(hook)


def test_attempts_carry_their_number(hook, simulator, log):
    simulator.fault("submit", "error", status=500, times=2)
    hook.submit_video("veo-3.1", "a boat")
    assert [line.partition("; ")[0][-14:] for line in log if "; the next one is in" in line] == [
        "Attempt 1 of 5",
        "Attempt 2 of 5",
    ]
