"""The content of a result: whole, or an error; and the key stays at its host."""

from __future__ import annotations

import gzip
import time

import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.simulator import Simulator
from tests.hooks.conftest import SHORT, statuses
from tests.stack.listener import answer


@pytest.fixture
def url(hook, job) -> str:
    """Return the address of a video."""
    return hook.get_result(job).urls[0]


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "error", "status": 500}, api.TemporaryError),
        ({"kind": "error", "status": 401}, api.UnauthorizedError),
        ({"kind": "html_200"}, api.AnswerError),
        ({"kind": "reset"}, api.TransportError),
    ],
)
def test_a_video_that_is_none_is_told_before_the_first_byte(hook, url, simulator, fault, error):
    simulator.fault("content", **fault)
    with pytest.raises(error), hook.stream_content(url):
        pass
    assert simulator.ledger.count("content") == 1


def test_a_video_is_fetched_with_the_key_that_the_connection_holds_by_now(connect, hook, url, simulator):
    simulator.settings.key = "sk-new"
    connect(simulator.url, "sk-new")
    with hook.stream_content(url) as content:
        assert len(b"".join(content.chunks)) == content.size
    assert statuses(simulator, "content") == [401, 200]


@pytest.mark.parametrize("kind", ["cut_body", "cut_chunked", "reset_after"])
def test_a_video_that_stops_early_is_an_error_while_it_is_read(hook, url, simulator, kind):
    simulator.fault("content", kind)
    with hook.stream_content(url) as content, pytest.raises(api.TransportError, match="no whole answer"):
        list(content.chunks)


def test_a_video_of_unknown_length_is_read_to_its_end(connect, listener):
    listener.answer = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\n\0\0\0\x18\r\n0\r\n\r\n"
    with connect(listener.url).stream_content("/v1/x") as content:
        assert (content.size, list(content.chunks)) == (None, [b"\0\0\0\x18"])
    assert "Accept-Encoding: identity\r\n" in listener.requests[0]
    assert "Accept: video/mp4\r\n" in listener.requests[0]


@pytest.mark.parametrize("size", [10, 3_000_000])
def test_a_video_that_came_packed_is_unpacked(connect, listener, size):
    video = bytes(range(256)) * (size // 256 + 1)
    listener.answer = answer(gzip.compress(video), kind="video/mp4", headers="Content-Encoding: gzip\r\n")
    with connect(listener.url).stream_content("/v1/x") as content:
        assert content.size is None
        assert b"".join(content.chunks) == video


def head_of(size: int) -> bytes:
    return f"HTTP/1.1 200 OK\r\nContent-Type: video/mp4\r\nContent-Length: {size}\r\n\r\n".encode()


def test_a_slow_video_is_seen_while_it_comes(connect, simulator, hook, url):
    simulator.settings.filler_bytes = 400_000
    simulator.fault("content", "slow_body", bytes_per_second=200_000)
    begin = time.monotonic()
    with connect(simulator.url).stream_content(url) as content:
        first = next(content.chunks)
        assert time.monotonic() - begin < 1
        assert len(first) + sum(map(len, content.chunks)) == content.size > 400_000


@pytest.mark.parametrize("sent", [0, 20_000, 5_000_000])
@pytest.mark.parametrize("chunked", [False, True])
def test_a_video_that_trickles_is_given_up_after_the_timeout(connect, listener, sent, chunked):
    drop = b"7\r\ntrickle\r\n" if chunked else b"trickle"
    listener.answer = head_of(10_000_000) + bytes(sent)
    if chunked:
        head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
        listener.answer = head + (b"%x\r\n%b\r\n" % (sent, bytes(sent)) if sent else b"")
    listener.tail = [(0.02, drop)] * 200
    begin = time.monotonic()
    with (
        connect(listener.url, timeout=0.3).stream_content("/v1/x") as content,
        pytest.raises(api.TransportError, match=r"fewer than 16,384 bytes came within 0\.3 s"),
    ):
        list(content.chunks)
    assert time.monotonic() - begin < 2


def test_a_reader_that_takes_its_time_is_not_taken_for_a_slow_service(connect, listener):
    listener.answer = head_of(40_000) + bytes(20_000)
    listener.tail = [(0.4, b""), *[(0.005, bytes(1000))] * 20]
    got = 0
    with connect(listener.url, timeout=0.3).stream_content("/v1/x") as content:
        for chunk in content.chunks:
            got += len(chunk)
            if got == len(chunk):
                time.sleep(0.4)
    assert got == 40_000


@pytest.mark.parametrize("size", [16_383, 70_000, 3_000_000])
def test_a_video_that_is_cut_anywhere_is_an_error(connect, listener, size):
    listener.answer = answer(bytes(size), kind="video/mp4", headers="Connection: close\r\n").replace(
        f"Content-Length: {size}".encode(), f"Content-Length: {size + 1}".encode()
    )
    listener.closes = True
    with (
        connect(listener.url).stream_content("/v1/x") as content,
        pytest.raises(api.TransportError, match="no whole answer"),
    ):
        list(content.chunks)


def test_a_partial_answer_that_nobody_asked_for_is_no_video(connect, listener):
    listener.answer = answer(b"x", "206 Partial Content", "video/mp4")
    with (
        pytest.raises(api.AnswerError, match=r"answered 206, which is not expected here\.$"),
        connect(listener.url).stream_content("/v1/x"),
    ):
        pass


# The key stays at home


@pytest.fixture
def other():
    """Run a second service: another host, as far as the key is concerned."""
    with Simulator() as simulator:
        yield simulator


FOREIGN = [
    "http://{other}/x",
    "//{other}/x",
    "http://{home}@{other}/x",
    "http://{other}\\@{home}/x",
    "http://{other}#@{home}/",
]


@pytest.mark.parametrize("url", FOREIGN)
def test_a_url_on_another_host_is_never_asked(ask, connect, simulator, other, url):
    home, foreign = simulator.url.removeprefix("http://"), other.url.removeprefix("http://")
    hook = connect(simulator.url)
    simulator.fault("submit", "set_field", field="status_url", value=url.format(home=home, other=foreign))
    job = hook.submit_video("veo-3.1", "a boat", SHORT)
    with pytest.raises(api.AnswerError):
        ask(hook, job)
    with pytest.raises(api.AnswerError), hook.stream_content(job.status_url):
        pass
    assert other.ledger.calls() == []


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_to_another_host_is_not_followed(ask, connect, simulator, other, status):
    simulator.fault("any", "redirect", to=f"{other.url}/x", status=status)
    hook = connect(simulator.url)
    with pytest.raises(api.ForeignUrlError, match="so that the key is sent nowhere else"):
        ask(hook)
    with pytest.raises(api.ForeignUrlError), hook.stream_content("/v1/queue/veo-3.1/requests/x/content/0"):
        pass
    assert other.headers_seen == []
    assert other.ledger.calls() == []
