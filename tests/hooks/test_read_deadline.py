"""An answer that trickles in is given up: over TLS, through proxies, and while a proxy makes its tunnel."""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from airflow_provider_modelmax import api
from tests.hooks.conftest import NONE
from tests.stack.listener import answer

DROPS = [(0.1, b"X")] * 200
"""20 s of an answer."""


def give_up(hook: Any) -> float:
    """Return the seconds until one attempt is given up."""
    begun = time.monotonic()
    with pytest.raises(api.TransportError) as caught:
        hook.call_once(api.status(api.Job.of(NONE)))
    assert "took longer than 0.3 s" in str(caught.value)
    return time.monotonic() - begun


@pytest.mark.parametrize("interim", [b"HTTP/1.1 103 Early Hints\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n"])
def test_endless_announcements_of_an_answer_are_given_up(connect, listener, interim):
    listener.answer, listener.tail = interim, [(0.05, interim)] * 200
    assert give_up(connect(listener.url, timeout=0.3)) < 3


def test_an_endless_header_is_given_up(connect, listener):
    listener.answer, listener.tail = b"HTTP/1.1 200 OK\r\n", [(0.05, b"X-More: yes\r\n")] * 200
    assert give_up(connect(listener.url, timeout=0.3)) < 3


def test_a_trickling_answer_through_a_proxy_is_given_up(connect, listener):
    listener.answer, listener.tail = b"HTTP/1.1 200 OK\r\nX-", DROPS
    assert give_up(connect("http://modelmax.invalid", proxy=listener.url, timeout=0.3)) < 3


def test_a_trickling_answer_through_a_socks_proxy_is_given_up(connect, monkeypatch):
    def serve() -> None:
        with proxy.accept()[0] as connection:
            for reply in (b"\5\0", b"\5\0\0\1\0\0\0\0\0\0", b"HTTP/1.1 200 OK\r\nX-"):
                connection.recv(65536)
                connection.sendall(reply)
            trickle(connection)

    with socket.create_server(("127.0.0.1", 0)) as proxy:
        threading.Thread(target=serve, daemon=True).start()
        monkeypatch.setenv("ALL_PROXY", f"socks5h://127.0.0.1:{proxy.getsockname()[1]}")
        assert give_up(connect("http://modelmax.example", timeout=0.3)) < 3


def test_a_proxy_that_trickles_while_it_makes_a_tunnel_is_given_up(connect, listener):
    listener.answer, listener.tail = b"HTTP/1.1 200 OK\r\nX-", DROPS
    begun = time.monotonic()
    with pytest.raises(api.TransportError, match=r"took longer than 0\.3 s"):
        connect("https://modelmax.invalid", proxy=listener.url, timeout=0.3).call_once(api.status(api.Job.of(NONE)))
    assert time.monotonic() - begun < 3


@pytest.fixture
def tls_server(certificate) -> Iterator[Callable[[bytes], str]]:
    """Serve one answer over TLS, and then trickle."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate.chain, certificate.key)
    with socket.create_server(("127.0.0.1", 0)) as server:

        def begin(begun: bytes) -> str:
            def serve() -> None:
                with context.wrap_socket(server.accept()[0], server_side=True) as connection:
                    connection.recv(65536)
                    connection.sendall(begun)
                    trickle(connection)

            threading.Thread(target=serve, daemon=True).start()
            return f"https://127.0.0.1:{server.getsockname()[1]}"

        yield begin


def trickle(connection: socket.socket) -> None:
    try:
        for pause, drop in DROPS:
            time.sleep(pause)
            connection.sendall(drop)
    except OSError:
        pass  # the client has given up


@pytest.mark.parametrize(
    "begun", [b"HTTP/1.1 200 OK\r\nX-", b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1;"]
)
def test_a_trickling_answer_over_tls_is_given_up(connect, tls_server, certificate, begun):
    assert give_up(connect(tls_server(begun), verify=certificate.ca, timeout=0.3)) < 3


def test_a_trickling_video_over_tls_is_given_up(connect, tls_server, certificate):
    url = tls_server(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n" + bytes(100_000))
    begun = time.monotonic()
    with (
        connect(url, verify=certificate.ca, timeout=0.3).stream_content("/v1/x") as content,
        pytest.raises(api.TransportError, match=r"fewer than 16,384 bytes came within 0\.3 s"),
    ):
        list(content.chunks)
    assert time.monotonic() - begun < 3


def test_what_a_user_reads_with_the_session_takes_the_time_that_it_takes(connect, listener):
    whole = answer(b"x" * 12)
    listener.answer, listener.tail = whole[:-12], [(0.1, b"x")] * 12
    assert connect(listener.url).get_conn().get(listener.url, timeout=0.3).content == b"x" * 12
