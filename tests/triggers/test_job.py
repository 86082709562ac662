"""The trigger over a real socket: one event at the end, status calls only, nothing that should not be seen."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from collections import defaultdict
from datetime import datetime, timedelta, timezone
from types import SimpleNamespace
from typing import Any

import msgspec
import pytest
from airflow.triggers.base import TriggerEvent

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.poll_schedule import ModelStats
from airflow_provider_modelmax.simulator import Simulator
from airflow_provider_modelmax.triggers import job as module
from airflow_provider_modelmax.triggers.job import FIRST_EVENT, JobEvent, ModelMaxJobTrigger
from tests.airflow_versions import deserialize, encode_trigger, serialize, smart_decode_trigger_kwargs
from tests.stack.listener import Listener

PROMPT = "a very secret boat"


@pytest.fixture(autouse=True)
def spread(monkeypatch: pytest.MonkeyPatch) -> list[tuple[float, float]]:
    """Fire as soon as there is something to say (two tests put the wait back); return how the start was spread."""
    spreads: list[tuple[float, float]] = []
    monkeypatch.setattr(module, "FIRST_EVENT", timedelta(0))
    monkeypatch.setattr(module, "_stats", defaultdict(ModelStats))
    monkeypatch.setattr(module, "random", SimpleNamespace(uniform=lambda *ends: spreads.append(ends) or 0.0))
    return spreads


@pytest.fixture
def job(modelmax_conn: str, simulator: Simulator) -> api.Job:
    return ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT, {"duration_seconds": 1})


def trigger(job: api.Job, seconds: float = 30, poll_interval: float = 0.02) -> ModelMaxJobTrigger:
    deadline = datetime.now(timezone.utc) + timedelta(seconds=seconds)
    return ModelMaxJobTrigger.waiting_for(
        job, conn_id="modelmax_default", deadline=deadline, poll_interval=poll_interval
    )


async def events_of(waiting: ModelMaxJobTrigger) -> list[TriggerEvent]:
    return [event async for event in waiting.run()]


def fire(waiting: ModelMaxJobTrigger) -> JobEvent:
    """Run a trigger to its only event, over the way that events take to the worker."""
    (event,) = asyncio.run(events_of(waiting))
    return JobEvent.from_dict(json.loads(event.model_dump_json())["payload"])


# The way to the triggerer


@pytest.mark.parametrize("zone", [timezone.utc, timezone(timedelta(hours=5, minutes=30))])
def test_a_trigger_arrives_in_the_triggerer_as_it_was_sent(job, zone):
    waiting = trigger(job)
    waiting.deadline = waiting.deadline.astimezone(zone)
    path, kwargs = waiting.serialize()
    assert path == "airflow_provider_modelmax.triggers.job.ModelMaxJobTrigger"
    stored = json.loads(json.dumps(serialize(kwargs)))
    arrived = ModelMaxJobTrigger(
        **{key: smart_decode_trigger_kwargs(each) for key, each in deserialize(stored).items()}
    )
    assert arrived.serialize() == waiting.serialize()
    assert arrived.deadline == waiting.deadline


def test_a_trigger_passes_airflows_own_encoder(job):
    path, kwargs = trigger(job).serialize()
    encoded = encode_trigger({"classpath": path, "kwargs": kwargs})
    assert json.loads(json.dumps(encoded))["kwargs"]["request_id"] == job.request_id


def test_what_the_database_and_the_log_see_holds_ids_and_times_only(job, simulator):
    waiting = trigger(job)
    seen = repr(waiting) + json.dumps(serialize(waiting.serialize()[1]))
    assert job.request_id in seen
    assert simulator.key not in seen
    assert PROMPT not in seen
    assert set(waiting.serialize()[1]) == {
        *(
            "modelmax_conn_id",
            "model",
            "request_id",
            "status_url",
            "deadline",
            "poll_interval",
            "submitted",
            "ask_from",
        ),
        "seen",
    }


# When it asks


def test_a_trigger_asks_when_the_call_after_that_of_the_worker_is_due(job, simulator):
    waiting = trigger(job, seconds=2)
    waiting.ask_from = datetime.now(timezone.utc) + timedelta(seconds=0.5)
    fire(waiting)
    assert simulator.ledger.calls("status")[0].time >= waiting.ask_from.timestamp() - waiting.poll_interval


def known_to_take(seconds: float, jobs: int = 100) -> None:
    for _ in range(jobs):
        module._stats["veo-3.1"].add(age=seconds, running=None)


def test_a_job_is_left_alone_while_others_of_its_model_were_never_over(modelmax_conn, simulator):
    simulator.settings.queue_seconds, simulator.settings.run_seconds = 0, 2
    known_to_take(2)
    waiting = trigger(ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT), poll_interval=0.2)
    waiting.submitted = datetime.now(timezone.utc)
    assert fire(waiting).outcome == "completed"
    assert simulator.ledger.count("status") <= 6  # of 10


def test_a_job_of_which_nobody_knows_the_age_is_asked_for_each_interval(modelmax_conn, simulator):
    simulator.settings.queue_seconds, simulator.settings.run_seconds = 0, 2
    known_to_take(2)
    fire(trigger(ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT), poll_interval=0.2))
    assert simulator.ledger.count("status") >= 9


def test_a_job_that_is_over_teaches_how_old_it_was_when_it_still_ran(modelmax_conn, simulator):
    simulator.settings.queue_seconds = simulator.settings.run_seconds = 0.5
    waiting = trigger(ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT), poll_interval=0.1)
    waiting.submitted = datetime.now(timezone.utc) - timedelta(seconds=100)
    fire(waiting)
    (whole,), (running,) = module._stats["veo-3.1"].whole.sorted, module._stats["veo-3.1"].running.sorted
    assert 100.7 < whole < 101.2
    assert 0.2 < running < 0.6


def test_a_wait_that_gave_up_teaches_nothing(job):
    fire(trigger(job, seconds=0.1))
    assert not module._stats["veo-3.1"].whole.sorted


# How a wait ends


def test_a_completed_job_ends_in_one_event_and_nothing_was_fetched(job, simulator):
    event = fire(trigger(job))
    assert (event.request_id, event.outcome, event.message) == (job.request_id, "completed", "")
    assert event.raise_for_outcome() is None
    assert simulator.ledger.count("status") > 2
    assert simulator.ledger.count("result") == simulator.ledger.count("content") == 0
    assert simulator.ledger.bills == []


def test_the_times_in_queue_and_at_work_are_told(modelmax_conn, simulator):
    simulator.settings.queue_seconds = simulator.settings.run_seconds = 0.3
    waiting = trigger(ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT))
    event = fire(waiting)
    assert event.queued_seconds == pytest.approx(0.3, abs=0.2)
    assert event.generating_seconds == pytest.approx(0.3, abs=0.2)


def test_a_job_that_was_over_at_the_first_call_has_no_times_and_the_log_names_none(modelmax_conn, simulator):
    simulator.settings.queue_seconds = simulator.settings.run_seconds = 0
    event = fire(trigger(ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT)))
    assert (event.queued_seconds, event.generating_seconds) == (None, None)
    assert str(event) == f"Job {event.request_id} is COMPLETED."


def test_what_the_worker_saw_is_counted_by_the_trigger(modelmax_conn, simulator, log):
    simulator.settings.queue_seconds, simulator.settings.run_seconds = 0.5, 0.6
    hook = ModelMaxHook(modelmax_conn)
    job, deadline = hook.submit_video("veo-3.1", PROMPT), datetime.now(timezone.utc) + timedelta(seconds=30)
    now = datetime.now(timezone.utc)
    seen = hook.look(polling.Wait.begin(job.request_id, deadline=deadline, poll_interval=0.05, now=now), job)
    time.sleep(0.7)
    _path, kwargs = ModelMaxJobTrigger.waiting_for(
        job, conn_id=modelmax_conn, deadline=deadline, poll_interval=0.05, seen=seen
    ).serialize()
    assert kwargs["seen"]["status"] == "IN_QUEUE"
    stored = json.loads(json.dumps(serialize(kwargs)))
    event = fire(
        ModelMaxJobTrigger(**{key: smart_decode_trigger_kwargs(each) for key, each in deserialize(stored).items()})
    )
    assert 0.6 < event.queued_seconds < 2
    assert event.generating_seconds is not None
    assert any("IN_QUEUE -> IN_PROGRESS" in line for line in log)


def test_a_trigger_that_0_1_0_stored_is_carried_through(job):
    stored = {key: each for key, each in trigger(job).serialize()[1].items() if key != "seen"}
    assert fire(ModelMaxJobTrigger(**stored)).outcome == "completed"


def test_the_times_of_an_event_of_0_1_0_are_read():
    event = {
        "request_id": "id",
        "outcome": "completed",
        "message": "",
        "queued_seconds": 3.0,
        "generating_seconds": 0.0,
        "status": 0,
    }
    assert str(JobEvent.from_dict(event)) == "Job id is COMPLETED: seen 3 s in queue, 0 s generating."


def test_a_failed_job_ends_in_its_reason(modelmax_conn, simulator):
    simulator.fault("submit", "fail_job", error="content policy violation")
    event = fire(trigger(ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT)))
    assert (event.outcome, event.message) == ("failed", "content policy violation")
    with pytest.raises(api.JobFailedError, match="FAILED: content policy violation") as caught:
        event.raise_for_outcome()
    assert caught.value.request_id == event.request_id


def test_a_deadline_ends_the_wait_after_a_last_look(modelmax_conn, simulator):
    simulator.settings.run_seconds = 60
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT)
    event = fire(trigger(job, seconds=0.3, poll_interval=10))
    assert event.outcome == "timed_out"
    with pytest.raises(api.JobNotOverError, match="has passed; its last status was IN_PROGRESS") as caught:
        event.raise_for_outcome()
    assert caught.value.timed_out
    assert simulator.ledger.count("status") <= 2


@pytest.mark.parametrize(
    ("fault", "error", "words"),
    [
        ({"kind": "error", "status": 400, "message": "bad request id"}, api.BadRequestError, "bad request id"),
        ({"kind": "error", "status": 401}, api.UnauthorizedError, "Put a valid API key into the password"),
        ({"kind": "error", "status": 402}, api.InsufficientBalanceError, "Top up"),
    ],
)
def test_what_asking_again_cannot_mend_ends_the_wait_at_once(job, simulator, fault, error, words):
    simulator.fault("status", **fault)
    event = fire(trigger(job))
    assert event.outcome == "refused"
    with pytest.raises(error, match=words):
        event.raise_for_outcome()
    assert simulator.ledger.count("status") == 1


def test_a_status_url_on_another_host_ends_the_wait_and_the_key_stays_at_home(job):
    with Simulator() as other:
        foreign = api.Job(job.request_id, job.model, f"{other.url}/x", job.response_url)
        assert fire(trigger(foreign)).outcome == "refused"
        assert other.ledger.calls() == []


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ({"kind": "error", "status": 503}, "gave no usable answer for"),
        ({"kind": "reset"}, "gave no usable answer for"),
        ({"kind": "unknown_status", "value": "PAUSED"}, "It is 'PAUSED', not one of"),
    ],
)
def test_a_service_that_cannot_be_understood_is_given_up(job, simulator, monkeypatch, fault, words):
    monkeypatch.setattr(polling, "SILENCE_LIMIT", timedelta(seconds=0.2))
    monkeypatch.setattr(polling, "UNKNOWN_STATUS_LIMIT", timedelta(seconds=0.2))
    simulator.fault("status", **fault)
    event = fire(trigger(job))
    assert event.outcome == "gave_up"
    with pytest.raises(api.JobNotOverError, match=words) as caught:
        event.raise_for_outcome()
    assert not caught.value.timed_out
    assert simulator.ledger.count("status") > 1


TRANSIENT: list[dict[str, Any]] = [
    {"kind": "error", "status": 500},
    {"kind": "error", "status": 429, "retry_after": 0},
    {"kind": "error", "status": 404, "html": True},
    {"kind": "reset"},
    {"kind": "cut_json"},
    {"kind": "html_200"},
    {"kind": "cut_body"},
    {"kind": "missing_field", "field": "status"},
    {"kind": "redirect", "to": "http://127.0.0.1:9/maintenance"},
    {"kind": "redirect", "to": "/maintenance", "status": 307},
    {"kind": "error", "status": 401, "html": True},
    {"kind": "error", "status": 402, "html": True},
    {"kind": "error", "status": 403, "html": True},
    {"kind": "error", "status": 404, "message": "no such route"},
    {"kind": "error", "status": 410, "html": True},
    {"kind": "set_field", "field": "request_id", "value": "another"},
    {"kind": "unknown_status"},
    {"kind": "set_field", "field": "status", "value": "completed"},
]


def test_what_passes_is_waited_out(job, simulator, log):
    for fault in TRANSIENT:
        simulator.fault("status", times=1, **fault)
    assert fire(trigger(job)).outcome == "completed"
    assert simulator.ledger.count("status") >= len(TRANSIENT)
    assert sum("No usable answer for job" in line for line in log) == 1


def test_retry_after_counts_from_the_answer_however_long_that_took(job, monkeypatch):
    asked, answered = [], []

    async def slowly(*_: object) -> api.JobStatus:
        asked.append(time.monotonic())
        if len(asked) > 1:
            return api.JobStatus(job.request_id, api.COMPLETED)
        await asyncio.sleep(0.35)
        answered.append(time.monotonic())
        raise api.TemporaryError("busy", status=503, retry_after=1.0)

    monkeypatch.setattr(ModelMaxHook, "aget_status", slowly)
    assert fire(trigger(job, poll_interval=0.8)).outcome == "completed"
    assert asked[1] - answered[0] >= 1.0


def test_retry_after_is_honoured(job, simulator):
    simulator.fault("status", "error", status=429, retry_after=1, times=1)
    begin = time.monotonic()
    assert fire(trigger(job)).outcome == "completed"
    assert time.monotonic() - begin > 0.9
    assert simulator.ledger.count("status") == 2


@pytest.mark.parametrize("asked", ["999999", "Fri, 31 Dec 9999 23:59:59 GMT"])
def test_one_answer_does_not_make_a_wait_sleep_until_its_deadline(job, monkeypatch, asked):
    """``Retry-After`` of a status call is capped, as on workers."""
    monkeypatch.setattr(polling, "MAX_RETRY_AFTER", 0.5)
    busy = b"HTTP/1.1 429 Too Many Requests\r\nRetry-After: %s\r\nContent-Length: 0\r\n\r\n" % asked.encode()
    done = json.dumps({"request_id": job.request_id, "status": "COMPLETED"}).encode()
    with Listener(busy) as service:
        connection = {"conn_type": "modelmax", "host": service.url, "password": "sk-1"}
        monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(connection))
        threading.Timer(
            0.3, setattr, (service, "answer", OK + JSON + b"Content-Length: %d\r\n\r\n" % len(done) + done)
        ).start()
        begun = time.monotonic()
        assert fire(trigger(job, seconds=60)).outcome == "completed"
    assert time.monotonic() - begun < 20
    assert len(service.requests) == 2


def test_a_redirect_that_lasts_is_given_up_and_named_and_the_key_stays_at_home(job, simulator, monkeypatch):
    monkeypatch.setattr(polling, "SILENCE_LIMIT", timedelta(seconds=0.3))
    with Simulator() as other:
        simulator.fault("status", "redirect", to=f"{other.url}/maintenance")
        event = fire(trigger(job))
        assert other.headers_seen == []
    assert event.outcome == "gave_up"
    with pytest.raises(api.JobNotOverError, match=r"redirects to 127\.0\.0\.1"):
        event.raise_for_outcome()
    assert simulator.ledger.count("status") > 1


def test_a_missing_connection_ends_in_an_event_that_names_it(monkeypatch, job):
    monkeypatch.delenv("AIRFLOW_CONN_MODELMAX_DEFAULT")
    event = fire(trigger(job, seconds=0.2))
    assert event.outcome == "timed_out"
    assert "Airflow did not find connection 'modelmax_default'" in event.message


@pytest.mark.parametrize("request_id", ["..", ""])
def test_an_error_of_our_own_ends_in_an_event_too(modelmax_conn, simulator, request_id):
    event = fire(trigger(api.Job(request_id, "veo-3.1", "/v1/x", "")))
    assert event.outcome == "error"
    assert event.message.startswith("InvalidInputError: ")
    with pytest.raises(api.ModelMaxError, match="InvalidInputError"):
        event.raise_for_outcome()
    assert simulator.ledger.calls() == []


OK, JSON = b"HTTP/1.1 200 OK\r\n", b"Content-Type: application/json\r\n"
UNSTORABLE = {
    "reason": (OK + JSON, b'{"request_id": "id", "status": "FAILED", "error": "cut \\ud83d, \\u0000"}', "cut ?, ?"),
    "raw bytes": (OK + JSON, b'{"request_id": "id", "status": "FAILED", "error": "cut \xed\xa0\xbd"}', "cut \ufffd"),
    "any JSON": (
        OK + JSON,
        b'{"request_id": "id", "status": "FAILED", "error": {"\\u0000": ["\\ud83d"]}}',
        '{"?": ["?"]}',
    ),
    "a status": (OK + JSON, b'{"request_id": "id", "status": "\\ud83d\\u0000"}', "'??'"),
    "a sentence": (
        b"HTTP/1.1 401 No\r\n" + JSON,
        b'{"error": {"type": "unauthorized", "message": "\\ud83d\\u0000"}}',
        "unauthorized: ??",
    ),
    "a redirect": (b"HTTP/1.1 302 Found\r\nLocation: http://b\xfccher.example/\r\n", b"", "redirects to b"),
    "a type": (OK + b"Content-Type: text/\xfc\r\n", b"hello", "(text/"),
}


@pytest.mark.parametrize("case", UNSTORABLE)
def test_whatever_the_service_says_the_event_can_be_sent_and_stored(monkeypatch, case):
    """Else the whole triggerer dies, and again whenever it is started (seen on Airflow 3.3.2)."""
    head, body, said = UNSTORABLE[case]
    monkeypatch.setattr(polling, "SILENCE_LIMIT", timedelta(seconds=0.1))
    monkeypatch.setattr(polling, "UNKNOWN_STATUS_LIMIT", timedelta(seconds=0.1))
    with Listener(head + b"Content-Length: %d\r\n\r\n" % len(body) + body) as service:
        connection = {"conn_type": "modelmax", "host": service.url, "password": "sk-1"}
        monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(connection))
        (event,) = asyncio.run(events_of(trigger(api.Job.of({"model": "veo-3.1", "request_id": "id"}))))
    assert said in event.payload["message"]
    assert b"\0" not in msgspec.msgpack.encode(event.payload["message"])


def test_an_event_of_an_error_of_our_own_can_be_sent_and_stored():
    now = datetime.now(timezone.utc)
    wait = polling.Wait.begin("id", deadline=now, poll_interval=1, now=now)
    assert JobEvent.of(wait, ValueError("\ud83d\0")).message == "ValueError: ??"


@pytest.mark.parametrize("event", [None, {}, [], {"request_id": "id"}, {"outcome": "completed"}])
def test_a_worker_without_an_event_that_it_can_read_says_so(event):
    with pytest.raises(api.ModelMaxError, match="The event of the trigger cannot be read"):
        JobEvent.from_dict(event).raise_for_outcome()


def test_an_event_of_a_newer_triggerer_is_read_as_far_as_it_is_known():
    JobEvent.from_dict({"request_id": "id", "outcome": "completed", "more": 1}).raise_for_outcome()
    with pytest.raises(api.ModelMaxError, match="ended in 'paused'"):
        JobEvent.from_dict({"request_id": "id", "outcome": "paused", "more": 1}).raise_for_outcome()


# What it does while it waits


def test_no_event_comes_sooner_than_airflow_can_take_it(job, simulator, monkeypatch):
    assert timedelta(seconds=8) <= FIRST_EVENT
    monkeypatch.setattr(module, "FIRST_EVENT", timedelta(seconds=0.5))
    simulator.settings.run_seconds = 0
    begin = time.monotonic()
    assert fire(trigger(job)).outcome == "completed"
    assert time.monotonic() - begin > 0.5


def test_a_clock_that_is_set_back_keeps_no_event_back(job, simulator, monkeypatch):
    simulator.settings.run_seconds = 0
    slept, clock, back = [], time.time, [0.0]

    async def sleep(seconds: float) -> None:
        slept.append(seconds)
        back[0] = 3600.0

    monkeypatch.setattr(module, "time", SimpleNamespace(time=lambda: clock() - back[0], monotonic=time.monotonic))
    monkeypatch.setattr(module, "_now", lambda: datetime.fromtimestamp(clock() - back[0], timezone.utc))
    monkeypatch.setattr(module, "asyncio", SimpleNamespace(sleep=sleep))
    assert fire(trigger(job)).outcome == "completed"
    assert max(slept) < 10


def test_an_error_comes_no_sooner_than_airflow_can_take_it(job, simulator, monkeypatch):
    monkeypatch.setattr(module, "FIRST_EVENT", timedelta(seconds=0.5))
    simulator.settings.key = "sk-another"
    begin = time.monotonic()
    assert fire(trigger(job)).outcome == "refused"
    assert time.monotonic() - begin > 0.5


def test_a_deadline_that_has_passed_already_is_told_no_sooner_either(job, simulator, monkeypatch):
    simulator.settings.run_seconds = 60
    monkeypatch.setattr(module, "FIRST_EVENT", timedelta(seconds=0.3))
    begin = time.monotonic()
    fire(trigger(job, seconds=-1))
    assert time.monotonic() - begin > 0.3


@pytest.mark.parametrize(("poll_interval", "spread_over"), [(0.02, 0.02), (5, 5), (60, 5)])
def test_the_start_is_spread_over_one_poll(job, simulator, spread, poll_interval, spread_over):
    simulator.settings.run_seconds = 0
    fire(trigger(job, seconds=0.3, poll_interval=poll_interval))
    assert spread == [(0, spread_over)]


def test_trouble_is_kept_without_the_frames_it_came_through(job, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", "modelmax://:key@127.0.0.1:1?timeout=1")
    kept: list[api.ModelMaxError] = []
    failed = polling.Wait.failed
    monkeypatch.setattr(polling.Wait, "failed", lambda self, error, now: kept.append(error) or failed(self, error, now))
    assert fire(trigger(job, seconds=0.3)).outcome == "timed_out"
    assert kept
    assert {each.__traceback__ or each.__context__ or each.__cause__ for each in kept} == {None}


def test_changes_are_logged_once_and_polls_are_not(modelmax_conn, simulator, log):
    simulator.settings.queue_seconds, simulator.settings.run_seconds = 0.2, 0.2
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT)
    fire(trigger(job))
    about = [line.replace(job.request_id, "ID") for line in log if job.request_id in line]
    assert simulator.ledger.count("status") > 5
    assert [line.partition(" after")[0] for line in about] == [
        "Job ID: IN_QUEUE -> IN_PROGRESS",
        "Job ID: IN_PROGRESS -> COMPLETED",
    ]


def test_the_connection_is_looked_up_once(job, monkeypatch):
    looked_up = []
    look_up = ModelMaxHook.aget_connection

    async def counted(conn_id: str) -> object:
        looked_up.append(conn_id)
        return await look_up(conn_id)

    monkeypatch.setattr(ModelMaxHook, "aget_connection", staticmethod(counted))
    fire(trigger(job))
    assert looked_up == ["modelmax_default"]


def test_many_triggers_share_one_loop(modelmax_conn, simulator):
    hook = ModelMaxHook(modelmax_conn)
    waiting = [trigger(hook.submit_video("veo-3.1", PROMPT)) for _ in range(20)]

    async def all_of_them() -> list[list[TriggerEvent]]:
        return await asyncio.gather(*map(events_of, waiting))

    events = asyncio.run(all_of_them())
    assert {event.payload["outcome"] for (event,) in events} == {"completed"}
    assert {event.payload["request_id"] for (event,) in events} == set(simulator.ledger.jobs)


def test_the_loop_is_not_held_while_the_service_thinks(job, simulator):
    simulator.fault("status", "slow_answer", seconds=0.8, times=1)

    async def worst_gap() -> float:
        gaps, running = [0.0], asyncio.ensure_future(events_of(trigger(job)))
        while not running.done():
            begin = time.monotonic()
            await asyncio.sleep(0.005)
            gaps.append(time.monotonic() - begin)
        return max(gaps)

    assert asyncio.run(worst_gap()) < 0.6
    assert simulator.ledger.calls("status")[0].fault == "slow_answer"


def test_a_trigger_that_is_cancelled_closes_its_session(modelmax_conn, simulator, monkeypatch):
    simulator.settings.run_seconds = 60
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1", PROMPT)
    closed = []
    close = ModelMaxHook.aclose

    async def noted(hook: ModelMaxHook) -> None:
        await close(hook)
        closed.append(hook._session)

    monkeypatch.setattr(ModelMaxHook, "aclose", noted)

    async def cancel() -> None:
        running = asyncio.ensure_future(events_of(trigger(job)))
        while not simulator.ledger.count("status"):  # noqa: ASYNC110 - it runs in a thread
            await asyncio.sleep(0.01)
        running.cancel()
        with pytest.raises(asyncio.CancelledError):
            await running

    asyncio.run(cancel())
    assert closed == [None]


def test_being_killed_says_what_goes_on(job, log):
    asyncio.run(trigger(job).on_kill())
    assert log[:2] == ["Killed while waiting.", "The job goes on at ModelMax, which has no call to cancel it."]
    assert log[-1] == f'job={{"model": "{job.model}", "request_id": "{job.request_id}"}}'


@pytest.mark.parametrize("fault", [{"kind": "error", "status": 401}, {"kind": "html_200"}, {"kind": "reset"}, None])
def test_neither_event_nor_log_holds_key_or_prompt(job, simulator, log, fault):
    if fault:
        simulator.fault("status", **fault)
    (event,) = asyncio.run(events_of(trigger(job, seconds=0.3)))
    seen = repr(event) + str(event.payload) + "".join(log)
    assert job.request_id in seen
    assert simulator.key not in seen
    assert PROMPT not in seen
