"""The hook over a real socket: what is sent again, what is not, and what is billed."""

from __future__ import annotations

import asyncio
import json
import time
from pathlib import Path

import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.hooks.conftest import FAULTS, NONE, SHORT, soon, statuses
from tests.stack.listener import answer

BILL = "asking again may be billed a second time"


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


@pytest.mark.parametrize("wrong", [{"duration": 4}, {"duration_second": 4}, {"prompt": "a boat"}])
def test_a_parameter_whose_name_is_a_mistake_is_refused_before_anything_is_sent(hook, simulator, wrong):
    with pytest.raises(api.InvalidInputError):
        hook.submit_video("veo-3.1", "a boat", wrong)
    assert simulator.ledger.calls() == []


def test_unknown_parameters_are_sent_with_one_warning(hook, simulator, capsys):
    hook.submit_video("veo-3.1", "a boat", {**SHORT, "seed": 7, "duration": 4}, allow_unknown_parameters=True)
    assert statuses(simulator, "submit") == [202]
    (warning,) = [line for line in capsys.readouterr().out.splitlines() if "warning" in line]
    assert "'seed' (the nearest known: " in warning
    assert "'duration' (the nearest known: duration_seconds)" in warning


def test_numbers_and_flags_of_a_form_are_sent_as_what_they_are(hook, simulator):
    job = hook.submit_video("veo-3.1", "a boat", '{"duration_seconds": "1", "generate_audio": "false"}')
    simulator.settings.run_seconds = 0
    hook.wait(job, deadline=soon())
    assert hook.get_result(str(job.as_dict())).usage["video_seconds"] == 1


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
MISSING = {"kind": "missing_field", "field": "request_id"}


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS)
def test_what_is_free_is_asked_for_again(hook, job, simulator, log, fault):
    for call in FREE:
        simulator.fault(call, times=2, **fault)
        CALLS[call](hook, job)
    assert sum("; the next one is in" in line for line in log) == 2 * len(FREE)
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
    with pytest.raises(api.TemporaryError, match="Retry later"):
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
    monkeypatch.setattr("airflow_provider_modelmax.hooks.connection.CONNECT_TIMEOUT", 0.01)
    head, _, body = answer().partition(b"\r\n\r\n")
    size = len(body) // pieces + 1
    listener.answer = b""
    listener.tail = [(0.3, head + b"\r\n\r\n"), *[(0.4, body[at : at + size]) for at in range(0, len(body), size)]]
    hook = connect(listener.url, timeout=0.5)
    begin = time.monotonic()
    if pieces == 1:
        assert hook.get_status(NONE).status == "IN_QUEUE"
    else:
        monkeypatch.setattr("airflow_provider_modelmax.api.retry.MAX_ATTEMPTS", 1)
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


def test_a_caller_may_do_something_before_and_after_each_attempt_of_a_call(hook, job, simulator):
    heard = []
    simulator.fault("result", "lost_answer", times=1)
    simulator.fault("result", "error", status=502, times=1)

    def hear(what: object) -> None:
        heard.append((what, simulator.ledger.count("result")))

    call = api.result(job)
    for attempt in (1, 2, 3):
        hear("before")
        try:
            hook.call_once(call)
        except api.ModelMaxError as error:
            hear((type(error), api.delay_after(call, error, attempt, hook.log) is not None))
    assert heard == [
        *(("before", 0), ((api.TransportError, True), 1)),
        *(("before", 1), ((api.TemporaryError, True), 2)),
        ("before", 2),
    ]


@pytest.mark.parametrize("endpoint", ["submit", "status", "result"])
def test_a_pause_that_raises_ends_the_attempts(hook, job, simulator, endpoint):
    def killed(_: float) -> None:
        raise KeyboardInterrupt

    simulator.fault(endpoint, "error", status=503)
    sent = simulator.ledger.count(endpoint)
    ask = {
        "submit": lambda: hook.submit_video("veo-3.1", "a boat", pause=killed),
        "status": lambda: hook.get_status(job, pause=killed),
        "result": lambda: hook.get_result(job, pause=killed),
    }
    with pytest.raises(KeyboardInterrupt):
        ask[endpoint]()
    assert simulator.ledger.count(endpoint) == sent + 1


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


TWO_LENGTHS = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}"


@pytest.mark.parametrize("said", [b"", TWO_LENGTHS], ids=["nothing", "two lengths"])
@pytest.mark.parametrize("through", ["a proxy", "no proxy"])
def test_whatever_lies_between_a_lost_answer_to_result_may_be_paid_for(connect, listener, slept, log, through, said):
    listener.answer, listener.closes = said, True
    hook = connect("http://modelmax.invalid", proxy=listener.url) if through == "a proxy" else connect(listener.url)
    with pytest.raises(api.TransportError) as raised:
        hook.get_result(NONE)
    assert raised.value.reached
    assert len(listener.requests) == api.ATTEMPTS_WHEN_IT_MAY_BILL
    assert sum(BILL in line for line in log) == api.ATTEMPTS_WHEN_IT_MAY_BILL - 1


def test_a_proxy_that_is_not_there_or_makes_no_tunnel_is_no_second_bill(connect, listener, slept, log, free_port):
    listener.answer = b"HTTP/1.1 403 Forbidden\r\nContent-Length: 0\r\n\r\n"
    for proxy in (listener.url, f"http://127.0.0.1:{free_port}"):
        with pytest.raises(api.TransportError) as raised:
            connect("https://modelmax.invalid", proxy=proxy).get_result(NONE)
        assert not raised.value.reached
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


@pytest.mark.parametrize("image", ["/pictures/boat.png", b"bytes", Path("boat.png")])
def test_an_image_that_is_not_base64_is_refused_before_anything_is_sent(hook, simulator, image):
    with pytest.raises(api.InvalidInputError, match="must be Base64 of an image here"):
        hook.submit_video("veo-3.1", "a boat", {"image": image})
    assert simulator.ledger.calls() == []


def test_a_subclass_sends_any_call_from_an_event_loop(modelmax_conn, simulator):
    class OursHook(ModelMaxHook):
        async def asubmit(self, prompt: str) -> api.Job:
            return await self._asend(api.submit("veo-3.1", prompt, SHORT))

    async def submit() -> api.Job:
        hook = OursHook(modelmax_conn)
        try:
            return await hook.asubmit("a boat")
        finally:
            await hook.aclose()

    job = asyncio.run(submit())
    assert list(simulator.ledger.jobs) == [job.request_id]


def test_a_call_is_sent_as_it_is_without_another_check(connect, listener):
    listener.answer = answer(b'{"request_id": "j"}')
    parameters = {"duration_seconds": "1", "image": "checked already"}
    assert connect(listener.url).call(api.submit("veo-3.1", "a boat", parameters)).request_id == "j"
    body = listener.requests[0].partition("\r\n\r\n")[2]
    assert json.loads(body) == {"prompt": "a boat", "parameters": parameters}
