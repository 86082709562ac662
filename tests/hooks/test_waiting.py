"""Waiting in line with the hook."""

from __future__ import annotations

from datetime import datetime

import pytest

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.hooks.conftest import FAULTS, NONE, SHORT, soon


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


@pytest.mark.parametrize(
    ("fault", "longest"),
    [
        ({"kind": "error", "status": 429, "retry_after": 999_999}, 60),
        ({"kind": "error", "status": 503, "retry_after": 30}, 30),
        ({"kind": "redirect", "to": "http://127.0.0.1:9/maintenance"}, 5),
        ({"kind": "error", "status": 401, "html": True}, 5),
    ],
)
def test_one_odd_answer_neither_ends_a_wait_nor_stops_it(hook, job, simulator, fault, longest):
    simulator.fault("status", times=1, **fault)
    pauses = []
    assert hook.wait(job, deadline=soon(3600), pause=pauses.append).status == "COMPLETED"
    assert pauses == [pytest.approx(longest, abs=0.5)]


def test_a_connection_that_cannot_be_used_for_a_moment_does_not_end_a_wait(hook, simulator, monkeypatch):
    simulator.settings.run_seconds = 60
    job = hook.submit_video("veo-3.1", "a boat")
    wait = hook.look(polling.Wait.begin(job.request_id, deadline=soon(), poll_interval=5, now=soon(0)), job)
    again = ModelMaxHook("nobody").look(wait, job)
    assert isinstance(again.trouble, api.ConnectionSetupError)
    assert isinstance(again.next_step(soon(0)), polling.AskAgain)


def test_a_job_that_is_over_is_over_also_after_the_deadline(hook, job, simulator):
    assert hook.wait(job, deadline=soon(-60)).status == "COMPLETED"
    simulator.fault("status", "set_field", field="status", value="IN_PROGRESS")
    with pytest.raises(api.JobNotOverError, match="has passed; its last status was IN_PROGRESS"):
        hook.wait(job, deadline=soon(-60))
    assert simulator.ledger.count("status") == 2


@pytest.mark.parametrize(("deadline", "interval"), [(soon(), 0), (datetime.now(), 5)])  # noqa: DTZ005 - that is the point
def test_waiting_in_line_needs_a_deadline_with_a_time_zone_and_an_interval(hook, job, simulator, deadline, interval):
    with pytest.raises(api.InvalidInputError):
        hook.wait(job, deadline=deadline, poll_interval=interval)
    assert simulator.ledger.count("status") == 0


def test_a_look_without_a_connection_is_no_silence():
    now = soon(0)
    wait = polling.Wait.begin("none", deadline=soon(), poll_interval=5, now=now)
    with pytest.raises(api.ConnectionSetupError):
        ModelMaxHook("nobody").look(wait, api.Job.of(NONE))
