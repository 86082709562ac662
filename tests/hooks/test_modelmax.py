"""The hook over a real socket: what is sent again, what is not, and what is billed."""

from __future__ import annotations

import asyncio
import gzip
import threading
import time
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ConnectionResult, GetConnection

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.hooks import modelmax
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.parameters import VideoParameters
from airflow_provider_modelmax.simulator import Simulator
from tests.hooks.conftest import NONE, answer

BILL = "asking again may be billed a second time"
SHORT: VideoParameters = {"duration_seconds": 1, "generate_audio": False}


@pytest.fixture
def hook(modelmax_conn, slept) -> ModelMaxHook:
    """Return a hook that does not wait before it sends again."""
    return ModelMaxHook(modelmax_conn)


@pytest.fixture
def job(hook, simulator) -> api.Job:
    """Return a job that is COMPLETED."""
    simulator.settings.run_seconds = 0
    return hook.submit_video("veo-3.1", "a boat", SHORT)


def statuses(simulator: Simulator, call: str) -> list[int | None]:
    return [each.status for each in simulator.ledger.calls(call)]


# The four calls


def test_a_job_goes_its_whole_way(hook, simulator):
    simulator.settings.run_seconds = 0
    job = hook.submit_video("veo-3.1", "a boat", {**SHORT, "sample_count": 2})
    assert hook.get_status(job).status == "COMPLETED"
    result = hook.get_result(job.as_dict())
    assert (len(result.urls), result.usage["video_seconds"]) == (2, 2)
    with hook.stream_content(result.urls[1]) as content:
        video = b"".join(content.chunks)
    assert len(video) == content.size
    assert video[4:8] == b"ftyp"
    assert {call: simulator.ledger.count(call) for call in ("submit", "status", "result", "content")} == {
        "submit": 1,
        "status": 1,
        "result": 1,
        "content": 1,
    }
    assert {call.authorization for call in simulator.ledger.calls()} == {"right"}


@pytest.mark.parametrize(
    "wrong", [("", "x", {}), ("veo-3.1", " ", {}), ("veo-3.1", "x", {"duration_seconds": 9}), ("..", "x", {})]
)
def test_wrong_input_is_refused_before_anything_is_sent(hook, simulator, wrong):
    with pytest.raises(api.InvalidInputError):
        hook.submit_video(*wrong)
    assert simulator.ledger.calls() == []


@pytest.mark.parametrize("wrong", ["id", {"model": "veo-3.1"}, {"model": "veo-3.1", "request_id": ".."}])
@pytest.mark.parametrize("method", ["get_status", "get_result"])
def test_what_is_no_job_is_refused_before_anything_is_sent(hook, simulator, method, wrong):
    with pytest.raises(api.InvalidInputError):
        getattr(hook, method)(wrong)
    assert simulator.ledger.calls() == []


def test_an_unknown_model_is_the_services_to_refuse(hook, simulator):
    with pytest.raises(api.BadRequestError, match=r"veo-9 is not a video model\. Correct the request"):
        hook.submit_video("veo-9", "a boat")
    assert statuses(simulator, "submit") == [400]


def test_the_session_holds_the_key_for_this_host(hook, simulator):
    answered = hook.get_conn().get(f"{simulator.url}/v1/queue/veo-3.1/requests/none/status", timeout=5)
    assert (answered.status_code, simulator.ledger.calls()[0].authorization) == (400, "right")


# No connection


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_missing_connection_says_how_to_make_one(colour):
    hook = ModelMaxHook("nobody")
    with pytest.raises(api.ConnectionSetupError, match="airflow connections add nobody --conn-type modelmax"):
        hook.get_status(NONE) if colour == "sync" else asyncio.run(hook.aget_status(NONE))


def test_a_failing_look_up_of_the_connection_can_pass(monkeypatch, slept):
    def fail(conn_id: str) -> None:
        raise RuntimeError("the API server restarts")

    hook = ModelMaxHook()
    monkeypatch.setattr(hook, "get_connection", fail)
    with pytest.raises(
        api.TransportError, match=r"could not be looked up .RuntimeError: the API server restarts"
    ) as caught:
        hook.get_status(NONE)
    assert not caught.value.reached
    assert len(slept) == 4


def test_a_connection_is_looked_up_once(hook, job, monkeypatch):
    looked_up = []
    monkeypatch.setattr(ModelMaxHook, "get_connection", lambda self, conn_id: looked_up.append(conn_id))
    for _ in range(3):
        hook.get_status(job)
    assert looked_up == []


# Error answers


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, api.BadRequestError),
        (401, api.UnauthorizedError),
        (402, api.InsufficientBalanceError),
        (404, api.NotFoundError),
    ],
)
def test_a_refusal_is_told_once_and_not_asked_for_again(hook, job, simulator, status, error):
    for call, send in CALLS.items():
        simulator.fault(call, "error", status=status, message="the sentence")
        before = simulator.ledger.count(call)
        with pytest.raises(error, match="the sentence"):
            send(hook, job)
        assert simulator.ledger.count(call) == before + 1, call
    assert simulator.ledger.bills == []


CALLS = {
    "submit": lambda hook, _: hook.submit_video("veo-3.1", "a boat", SHORT),
    "status": lambda hook, job: hook.get_status(job),
    "result": lambda hook, job: hook.get_result(job),
}
FREE = ["submit", "status"]
FAULTS = {
    "500": {"kind": "error", "status": 500},
    "502 of a gateway": {"kind": "error", "status": 502, "html": True},
    "404 of a gateway": {"kind": "error", "status": 404, "html": True},
    "429": {"kind": "error", "status": 429},
    "lost answer": {"kind": "lost_answer"},
    "reset": {"kind": "reset"},
    "cut JSON": {"kind": "cut_json"},
    "HTML": {"kind": "html_200"},
    "cut body": {"kind": "cut_body"},
}
MISSING = {"kind": "missing_field", "field": "request_id"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_free_is_asked_for_again(hook, job, simulator, log, fault):
    for call in FREE:
        simulator.fault(call, times=2, **fault)
        CALLS[call](hook, job)
    assert sum("Asking again in" in line for line in log) == 2 * len(FREE)
    assert not any(BILL in line for line in log)


def test_a_status_without_a_needed_field_is_asked_for_again(hook, job, simulator):
    simulator.fault("status", times=2, **MISSING)
    assert hook.get_status(job).request_id == job.request_id
    assert simulator.ledger.count("status") == 3


def test_a_submit_whose_answer_has_no_id_is_sent_again_since_it_is_free(hook, simulator):
    simulator.fault("submit", "missing_field", field="request_id", times=1)
    assert hook.submit_video("veo-3.1", "a boat", SHORT).request_id in simulator.ledger.jobs
    simulator.fault("submit", "missing_field", field="request_id")
    with pytest.raises(api.AnswerError, match="without a usable 'request_id'"):
        hook.submit_video("veo-3.1", "a boat", SHORT)
    assert simulator.ledger.bills == []


@pytest.mark.parametrize("field", ["status_url", "response_url"])
def test_a_submit_whose_answer_has_an_id_is_sent_once(hook, simulator, field):
    simulator.fault("submit", "missing_field", field=field)
    job = hook.submit_video("veo-3.1", "a boat", SHORT)
    assert list(simulator.ledger.jobs) == [job.request_id]
    assert hook.wait(job, deadline=soon(), poll_interval=0.1).status == api.COMPLETED
    assert hook.get_result(job).urls


@pytest.mark.parametrize("call", FREE)
def test_what_is_free_is_asked_for_five_times_at_most(hook, job, simulator, call):
    simulator.fault(call, "error", status=503)
    before = simulator.ledger.count(call)
    with pytest.raises(api.TemporaryError, match="Ask again later"):
        CALLS[call](hook, job)
    assert simulator.ledger.count(call) == before + 5


def test_a_lost_answer_to_submit_is_asked_for_again_and_costs_nothing(hook, simulator):
    simulator.fault("submit", "lost_answer", times=1)
    job = hook.submit_video("veo-3.1", "a boat", SHORT)
    assert len(simulator.ledger.jobs) == 2
    assert job.request_id in simulator.ledger.jobs
    assert simulator.ledger.bills == []


def test_retry_after_is_waited_for(hook, job, simulator, slept):
    for retry_after in (7, "date+20", 0):
        simulator.fault("status", "error", status=429, retry_after=retry_after, times=1)
    hook.get_status(job)
    assert slept == [7, pytest.approx(19, abs=2), 0.1]


def test_a_long_retry_after_is_left_to_airflow(hook, job, simulator, slept):
    simulator.fault("status", "error", status=503, retry_after=3600)
    with pytest.raises(api.TemporaryError) as caught:
        hook.get_status(job)
    assert (caught.value.retry_after, slept) == (3600, [])


def test_a_slow_answer_is_asked_for_again(connect, simulator, slept):
    hook = connect(simulator.url, timeout=0.1)
    job = hook.submit_video("veo-3.1", "a boat", SHORT)
    simulator.fault("status", "slow_answer", seconds=1, times=1)
    assert hook.get_status(job).request_id == job.request_id
    assert statuses(simulator, "status")[-1] == 200
    assert len(slept) == 1


@pytest.mark.parametrize("pieces", [1, 3])
def test_an_answer_that_is_late_is_taken_when_it_is_whole(connect, listener, slept, monkeypatch, pieces):
    monkeypatch.setattr("airflow_provider_modelmax.hooks.endpoint.CONNECT_TIMEOUT", 0.01)
    head, _, body = answer().partition(b"\r\n\r\n")
    size = len(body) // pieces + 1
    listener.answer = b""
    listener.tail = [(0.3, head + b"\r\n\r\n"), *[(0.4, body[at : at + size]) for at in range(0, len(body), size)]]
    hook = connect(listener.url, timeout=0.5)
    begin = time.monotonic()
    if pieces == 1:
        assert hook.get_status(NONE).status == "IN_QUEUE"
    else:
        monkeypatch.setattr(api, "_ATTEMPTS", 1)
        with pytest.raises(api.TransportError, match=r"the answer took longer than 0\.5 s"):
            hook.get_status(NONE)
    assert time.monotonic() - begin < hook.answer_seconds - api.MAX_RETRY_AFTER


# The call that bills


@pytest.mark.parametrize(
    "fault",
    [{"kind": "lost_answer"}, {"kind": "cut_json"}, {"kind": "html_200", "carry_out": True}, {"kind": "cut_body"}],
    ids=lambda fault: fault["kind"],
)
def test_a_lost_answer_to_result_is_asked_for_again_with_a_warning(hook, job, simulator, log, fault):
    simulator.fault("result", times=1, **fault)
    assert hook.get_result(job).request_id == job.request_id
    assert simulator.ledger.count("result") == 2
    assert len(simulator.ledger.bills) == 2
    assert sum(BILL in line for line in log) == 1


def test_a_lost_answer_to_result_is_asked_for_twice_again_at_most(hook, job, simulator, log):
    simulator.fault("result", "lost_answer")
    with pytest.raises(api.TransportError):
        hook.get_result(job)
    assert simulator.ledger.count("result") == 3
    assert sum(BILL in line for line in log) == 2


@pytest.mark.parametrize(
    ("fault", "error"),
    [
        ({"kind": "missing_field", "field": "data"}, api.UnusableResultError),
        ({"kind": "set_field", "field": "request_id", "value": "other"}, api.UnusableResultError),
        ({"kind": "redirect", "to": "http://127.0.0.1:9/x"}, api.ForeignUrlError),
    ],
)
def test_an_answer_that_a_second_one_would_equal_is_not_paid_for_twice(hook, job, simulator, fault, error):
    simulator.fault("result", **fault)
    with pytest.raises(error):
        hook.get_result(job)
    assert simulator.ledger.count("result") == 1


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "missing_field", "field": "request_id"},
        {"kind": "missing_field", "field": "status"},
        {"kind": "missing_field", "field": "usage"},
        {"kind": "set_field", "field": "status", "value": "ARCHIVED"},
    ],
    ids=lambda fault: "-".join(map(str, fault.values())),
)
def test_a_paid_result_that_can_be_used_is_used(hook, job, simulator, fault):
    simulator.fault("result", **fault)
    result = hook.get_result(job)
    assert (result.request_id, len(result.urls), len(simulator.ledger.bills)) == (job.request_id, 1, 1)


def test_before_each_attempt_the_caller_hears_what_the_last_one_ended_in(hook, job, simulator):
    heard = []
    simulator.fault("result", "lost_answer", times=1)
    simulator.fault("result", "error", status=502, times=1)
    hook.get_result(job, before_each=lambda previous: heard.append((previous, simulator.ledger.count("result"))))
    assert [(type(previous), sent) for previous, sent in heard] == [
        (type(None), 0),
        (api.TransportError, 1),
        (api.TemporaryError, 2),
    ]


@pytest.mark.parametrize("refusal", [api.TransportError("no claim"), OSError("no disk"), KeyboardInterrupt()])
def test_a_caller_that_raises_before_an_attempt_is_heard_and_nothing_is_sent(hook, job, simulator, refusal):
    def refuse(_: object) -> None:
        raise refusal

    with pytest.raises(type(refusal)) as caught:
        hook.get_result(job, before_each=refuse)
    assert caught.value is refusal
    assert simulator.ledger.count("result") == 0


def test_without_a_connection_no_attempt_is_announced(monkeypatch, slept):
    announced = []
    with pytest.raises(api.ConnectionSetupError):
        ModelMaxHook("nobody").get_result(NONE, before_each=announced.append)
    assert announced == []


def test_an_attempt_and_the_pause_after_it_take_so_long_at_most(connect, listener):
    assert connect(listener.url, timeout=5).answer_seconds == 5 + 2 * 5 + api.MAX_RETRY_AFTER


def test_a_429_to_result_bills_nothing_and_is_asked_for_again_without_alarm(hook, job, simulator, log):
    simulator.fault("result", "error", status=429, times=4)
    hook.get_result(job)
    assert len(simulator.ledger.bills) == 1
    assert not any(BILL in line for line in log)


def test_nobody_listening_to_result_is_no_second_bill(connect, slept, log, free_port):
    with pytest.raises(api.TransportError, match="Connection refused"):
        connect(f"http://127.0.0.1:{free_port}").get_result(NONE)
    assert len(slept) == 4
    assert not any(BILL in line for line in log)


def test_a_result_that_is_not_there_yet_is_asked_for_again_unbilled(hook, job, simulator, log):
    simulator.fault("result", "set_field", field="status", value="IN_PROGRESS", times=1)
    assert hook.get_result(job).urls
    assert not any(BILL in line for line in log)


def test_the_result_of_a_failed_job_costs_nothing(hook, simulator):
    simulator.settings.run_seconds = 0
    simulator.fault("submit", "fail_job", error="too dark")
    failed = hook.submit_video("veo-3.1", "a boat", SHORT)
    with pytest.raises(api.JobFailedError, match="FAILED: too dark"):
        hook.get_result(failed)
    assert simulator.ledger.bills == []


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
    with pytest.raises(api.ForeignUrlError, match="so that the key stays at home"):
        ask(hook)
    with pytest.raises(api.ForeignUrlError), hook.stream_content("/v1/queue/veo-3.1/requests/x/content/0"):
        pass
    assert other.headers_seen == []
    assert other.ledger.calls() == []


# Downloads


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
    with pytest.raises(api.ServiceError, match="answered 206"), connect(listener.url).stream_content("/v1/x"):
        pass


# Waiting in line


def soon(seconds: float = 30) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


def test_waiting_in_line_ends_when_the_job_is_completed(modelmax_conn, simulator, log):
    hook = ModelMaxHook(modelmax_conn)
    job = hook.submit_video("veo-3.1", "a boat", SHORT)
    wait = hook.wait(job, deadline=soon(), poll_interval=0.02)
    assert wait.status == "COMPLETED"
    assert simulator.ledger.count("status") > 2
    assert simulator.ledger.count("result") == 0
    assert sum("IN_PROGRESS" in line for line in log) < 3


def test_waiting_in_line_goes_on_with_the_key_that_the_connection_holds_by_now(connect, simulator):
    hook = connect(simulator.url, simulator.key)
    job = hook.submit_video("veo-3.1", "a boat", SHORT)
    simulator.settings.key = "sk-rotated"
    connect(simulator.url, "sk-rotated")
    assert hook.wait(job, deadline=soon(), poll_interval=0.02).status == "COMPLETED"
    assert hook.get_result(job).urls


def test_a_key_that_is_refused_is_looked_up_once_more_and_no_more(connect, simulator):
    hook = connect(simulator.url, "sk-wrong")
    before = simulator.ledger.count("submit")
    with pytest.raises(api.UnauthorizedError):
        hook.submit_video("veo-3.1", "a boat")
    assert simulator.ledger.count("submit") == before + 1


def test_waiting_in_line_ends_when_the_job_failed(hook, simulator):
    simulator.settings.run_seconds = 0
    simulator.fault("submit", "fail_job", error="too dark")
    with pytest.raises(api.JobFailedError, match="too dark"):
        hook.wait(hook.submit_video("veo-3.1", "a boat"), deadline=soon())


def test_waiting_in_line_ends_at_the_deadline(modelmax_conn, simulator):
    simulator.settings.run_seconds = 60
    hook = ModelMaxHook(modelmax_conn)
    with pytest.raises(api.JobNotOverError, match="has passed; its last status was IN_PROGRESS") as caught:
        hook.wait(hook.submit_video("veo-3.1", "a boat"), deadline=soon(0.1), poll_interval=0.02)
    assert caught.value.timed_out


def test_waiting_in_line_waits_out_what_passes(modelmax_conn, simulator, log):
    simulator.settings.run_seconds = 0
    hook = ModelMaxHook(modelmax_conn)
    job = hook.submit_video("veo-3.1", "a boat")
    for fault in FAULTS.values():
        simulator.fault("status", times=1, **fault)
    assert hook.wait(job, deadline=soon(), poll_interval=0.01).status == "COMPLETED"
    assert simulator.ledger.count("status") >= len(FAULTS)
    assert sum("No usable answer" in line for line in log) == 1


def test_waiting_in_line_pauses_as_the_caller_wants_and_ends_when_that_raises(hook, simulator):
    simulator.settings.run_seconds = 60
    pauses = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            raise KeyboardInterrupt

    job = hook.submit_video("veo-3.1", "a boat")
    with pytest.raises(KeyboardInterrupt):
        hook.wait(job, deadline=soon(), poll_interval=7, pause=pause)
    assert pauses == [pytest.approx(7, abs=0.5)] * 3
    assert simulator.ledger.count("status") == 3


@pytest.mark.parametrize(("deadline", "interval"), [(soon(-1), 5), (soon(), 0), (datetime.now(), 5)])  # noqa: DTZ005 - that is the point
def test_waiting_in_line_needs_a_deadline_to_come_and_an_interval(hook, job, simulator, deadline, interval):
    with pytest.raises(api.InvalidInputError):
        hook.wait(job, deadline=deadline, poll_interval=interval)
    assert simulator.ledger.count("status") == 0


def test_a_look_without_a_connection_is_no_silence():
    now = soon(0)
    wait = polling.Wait.begin("none", deadline=soon(), poll_interval=5, now=now)
    with pytest.raises(api.ConnectionSetupError):
        ModelMaxHook("nobody").look(wait, api.Job.of(NONE))


# Testing the connection


def test_a_good_key_is_told_free_of_charge(hook, simulator):
    assert hook.test_connection() == (True, "ModelMax answered and accepted the API key.")
    assert [call.call for call in simulator.ledger.calls()] == ["status"]
    assert simulator.ledger.jobs == {}
    assert simulator.ledger.bills == []


def test_a_wrong_key_is_told(connect, simulator):
    good, message = connect(simulator.url, "sk-wrong").test_connection()
    assert not good
    assert "Put a valid API key into the password" in message
    assert "sk-wrong" not in message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "error", "status": 404, "html": True}, "check the host of the ModelMax connection"),
        ({"kind": "error", "status": 503, "html": True}, "answered 503"),
        ({"kind": "error", "status": 500}, "answered 500"),
        ({"kind": "html_200"}, "not with a JSON object"),
        ({"kind": "redirect", "to": "https://login.example/"}, "redirects to login.example"),
    ],
)
def test_a_gateway_is_no_good_connection(hook, simulator, fault, words):
    simulator.fault("any", **fault)
    good, message = hook.test_connection()
    assert not good
    assert words in message
    assert len(simulator.ledger.calls()) == 1


def test_an_answer_to_the_test_is_good_whatever_it_says_of_the_job(connect, listener):
    listener.answer = answer(b'{"request_id": "connection-test", "status": "FAILED"}')
    assert connect(listener.url).test_connection()[0]


def test_a_host_where_nobody_listens_is_no_good_connection(connect, slept, free_port):
    good, message = connect(f"http://127.0.0.1:{free_port}").test_connection()
    assert not good
    assert slept == []
    assert "Connection refused" in message


@pytest.mark.parametrize(("host", "password"), [("modelmax", "sk-1"), ("https://gw.example", "")])
def test_a_connection_that_cannot_be_used_is_no_good_one(connect, host, password):
    good, message = connect(host, password).test_connection()
    assert not good
    assert "modelmax_default" in message


def test_a_missing_connection_is_no_good_one():
    assert ModelMaxHook("nobody").test_connection()[0] is False


# In an event loop


def test_in_a_loop_the_connection_is_looked_up_once_and_a_call_is_made_once(modelmax_conn, simulator, looked_up):
    async def ask() -> None:
        hook = ModelMaxHook(modelmax_conn)
        for _ in range(3):
            with pytest.raises(api.BadRequestError):
                await hook.aget_status(NONE)
        simulator.fault("status", "error", status=503)
        with pytest.raises(api.TemporaryError):
            await hook.aget_status(NONE)
        await hook.aclose()
        await hook.aclose()

    asyncio.run(ask())
    assert looked_up == ["modelmax_default"]
    assert statuses(simulator, "status") == [400, 400, 400, 503]


def test_in_a_loop_the_job_that_is_asked_for_is_the_one_in_the_dict_at_that_moment(hook):
    async def ask() -> tuple[list[api.Job], list[str]]:
        jobs = [await asyncio.to_thread(hook.submit_video, "veo-3.1", prompt) for prompt in ("a boat", "a pier")]
        asked: dict[str, str] = {}
        answered = []
        for job in (*jobs, jobs[0]):
            asked.update(job.as_dict())
            answered.append((await hook.aget_status(asked)).request_id)
        answered.append((await hook.aget_status(jobs[1])).request_id)
        await hook.aclose()
        return jobs, answered

    (boat, pier), answered = asyncio.run(ask())
    assert answered == [boat.request_id, pier.request_id, boat.request_id, pier.request_id]


def test_a_key_that_was_changed_while_waiting_is_taken_up(connect, simulator):
    hook = connect(simulator.url, "sk-old")
    simulator.settings.key = "sk-old"

    async def ask() -> str:
        job = await asyncio.to_thread(hook.submit_video, "veo-3.1", "a boat")
        await hook.aget_status(job)
        simulator.settings.key = "sk-new"
        connect(simulator.url, "sk-new")
        answered = await hook.aget_status(job)
        await hook.aclose()
        return answered.request_id

    assert asyncio.run(ask()) in simulator.ledger.jobs
    assert statuses(simulator, "status") == [200, 401, 200]


def test_a_key_that_is_refused_and_was_not_changed_is_asked_with_once(connect, simulator):
    async def ask() -> None:
        hook = connect(simulator.url, "sk-revoked")
        try:
            await hook.aget_status(NONE)
        finally:
            await hook.aclose()

    with pytest.raises(api.UnauthorizedError):
        asyncio.run(ask())
    assert statuses(simulator, "status") == [401]


def test_in_a_loop_secrets_are_masked_from_another_thread(connect, simulator, monkeypatch):
    threads = []
    monkeypatch.setattr(modelmax, "mask_secret", lambda _: threads.append(threading.get_ident()))
    hook = connect(simulator.url, "sk-simulator", proxy="http://127.0.0.1:9")

    async def look_up() -> int:
        await hook._aendpoint()
        return threading.get_ident()

    assert asyncio.run(look_up()) not in threads
    assert len(threads) == 2  # key and proxy; what Airflow masks by itself in the loop before 3.3 is not ours


def test_a_connection_of_the_database_is_found_where_dag_test_runs_the_trigger(simulator, monkeypatch):
    rest = dict.fromkeys(("login", "schema", "port", "extra"))
    about = {"conn_id": "stored", "conn_type": "modelmax", "host": simulator.url, "password": simulator.key}
    found = ConnectionResult(**about, **rest)
    inline = SimpleNamespace(send=lambda message: found if isinstance(message, GetConnection) else None)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", inline, raising=False)
    with pytest.raises(api.BadRequestError, match="no such request"):
        asyncio.run(ModelMaxHook("stored").aget_status(NONE))


def test_key_and_proxy_are_masked_in_logs(connect, simulator, monkeypatch):
    masked = []
    monkeypatch.setattr(modelmax, "mask_secret", masked.append)
    with pytest.raises(api.TransportError):
        asyncio.run(connect(simulator.url, "sk-1", proxy="http://me:p%40w@127.0.0.1:9").aget_status(NONE))
    assert masked == ["sk-1", "http://me:p%40w@127.0.0.1:9", "p%40w", "p@w"]
