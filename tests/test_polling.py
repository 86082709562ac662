"""When to ask again and when to give up, with a made-up clock."""

from __future__ import annotations

import json
from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.polling import AskAgain, Over, Wait

START = datetime(2026, 5, 1, 12, 0, tzinfo=timezone.utc)
SILENCE = polling.SILENCE_LIMIT.total_seconds()
UNKNOWN = polling.UNKNOWN_STATUS_LIMIT.total_seconds()
HOUR = 3600
BUSY = api.TemporaryError("busy.", status=503)
AWAY = api.TemporaryError("503.", status=503, retry_after=3000)
RESET = api.TransportError("reset.")
JOB = api.Job.of({"model": "veo-3", "request_id": "id"})


def at(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


def begin(deadline: float = HOUR, poll_interval: float = 5) -> Wait:
    return Wait.begin("id", deadline=at(deadline), poll_interval=poll_interval, now=START)


def after(*events: tuple[float, str | api.ModelMaxError], deadline: float = HOUR, poll_interval: float = 5) -> Wait:
    """Return what is known after so many answers (a status, or ``FAILED: reason``) and errors."""
    wait = begin(deadline, poll_interval)
    for seconds, event in events:
        if isinstance(event, str):
            status, _, reason = event.partition(": ")
            wait = wait.answered(api.JobStatus("id", status, reason or None), at(seconds))
        else:
            wait = wait.failed(event, at(seconds))
    return wait


@pytest.mark.parametrize(
    ("wait", "now", "asks_at"),
    [
        (begin(), 0, 5),
        (begin(poll_interval=30), 0, 30),
        (after((1, "IN_QUEUE")), 1, 6),
        (after((1, "IN_QUEUE")), 1.5, 6.5),
        (after((1, "IN_PROGRESS")), 1, 6),
        (after((1, "IN_QUEUE")), HOUR - 3, HOUR),
        (after((1, "IN_QUEUE"), poll_interval=7200), 1, HOUR),
        (after((1, "PAUSED")), 1, 6),
        (after((1, "PAUSED")), UNKNOWN, UNKNOWN + 5),
        (after((1, "IN_QUEUE"), (2, BUSY)), 2, 7),
        (after((1, "IN_QUEUE"), (2, RESET)), SILENCE, SILENCE + 5),
        (after((1, api.AnswerError("html", garbled=True))), 1, 6),
        (after((1, api.ServiceError("404", status=404))), 1, 6),
        (after((1, api.TemporaryError("429", status=429, retry_after=40))), 1, 41),
        (after((1, api.TemporaryError("429", status=429, retry_after=2))), 1, 6),
        (after((1, api.TemporaryError("429", status=429, retry_after=60))), 1, 61),
        (after((1, api.TemporaryError("429", status=429, retry_after=61))), 1, 61),
        (after((1, api.TemporaryError("429", status=429, retry_after=1e6))), 1, 61),
        (after((1, api.TemporaryError("429", status=429, retry_after=1e12))), 1, 61),
        (after((1, api.TemporaryError("429", status=429, retry_after=float("inf")))), 1, 61),
        (after((1, api.TemporaryError("429", status=429, retry_after=1e6)), poll_interval=300), 1, 301),
        (after((1, api.ForeignUrlError("a redirect", reached=True))), 1, 6),
        (after((1, api.UnauthorizedError("a gateway", status=401, documented=False))), 1, 6),
        (after((1, api.InsufficientBalanceError("a gateway", status=402, documented=False))), 1, 6),
        (after((1, api.BadRequestError("a gateway", status=400, type="invalid", documented=False))), 1, 6),
        (after((1, api.NotFoundError("no", status=404, type="not_found"))), 1, 6),
    ],
)
def test_a_job_that_is_not_over_is_asked_for_again(wait, now, asks_at):
    assert wait.next_step(at(now)) == AskAgain(at(asks_at))


def test_the_last_question_before_the_deadline_is_asked_at_the_deadline():
    wait = after((1, "IN_PROGRESS"), deadline=3)
    assert wait.next_step(at(1)) == AskAgain(at(3))
    assert wait.answered(api.JobStatus("id", "COMPLETED"), at(3.1)).next_step(at(3.1)) == Over()


@pytest.mark.parametrize("now", [1, HOUR, 2 * HOUR])
def test_a_completed_job_is_over_also_after_the_deadline(now):
    assert after((now, "COMPLETED")).next_step(at(now)) == Over()


@pytest.mark.parametrize(
    ("event", "reason"),
    [("FAILED: content policy violation", "content policy violation"), ("FAILED", "no reason given")],
)
def test_a_failed_job_ends_the_wait_with_its_reason(event, reason):
    step = after((1, "IN_QUEUE"), (2, event)).next_step(at(2))
    assert isinstance(step.error, api.JobFailedError)
    assert (step.error.request_id, step.error.reason) == ("id", reason)


@pytest.mark.parametrize(
    "error",
    [
        api.BadRequestError("400", status=400),
        api.UnauthorizedError("401", status=401),
        api.InsufficientBalanceError("402", status=402),
        api.ForeignUrlError("evil"),
    ],
)
def test_what_asking_again_cannot_mend_ends_the_wait_at_once(error):
    assert after((1, "IN_QUEUE"), (2, error)).next_step(at(2)) == Over(error)


@pytest.mark.parametrize(
    ("wait", "now", "timed_out", "words"),
    [
        (begin(), HOUR, True, "has passed; no status was seen."),
        (after((1, "IN_QUEUE")), HOUR, True, "2026-05-01 13:00:00 UTC, has passed; its last status was IN_QUEUE."),
        (after((HOUR - 60, "IN_PROGRESS"), (HOUR - 5, BUSY)), HOUR, True, "its last status was IN_PROGRESS (busy.)."),
        (
            after((1, BUSY)),
            SILENCE + 1,
            False,
            "gave no usable answer for 15 minutes; no status was seen. The last error: busy.",
        ),
        (
            after((1, "IN_QUEUE"), (2, RESET)),
            SILENCE + 2,
            False,
            "its last status was IN_QUEUE. The last error: reset.",
        ),
        (
            after((1, "PAUSED")),
            UNKNOWN + 1,
            False,
            "its status has been unknown for 2 minutes. It is 'PAUSED', not one of",
        ),
        (after((1, "PAUSED"), (60, "PAUSED")), UNKNOWN + 1, False, "COMPLETED, FAILED, IN_PROGRESS, IN_QUEUE"),
    ],
)
def test_a_wait_without_hope_of_an_end_is_given_up(wait, now, timed_out, words):
    assert isinstance(wait.next_step(at(now - 0.1)), AskAgain)
    error = wait.next_step(at(now)).error
    assert isinstance(error, api.JobNotOverError)
    assert error.timed_out is timed_out
    assert words in error.why
    assert "The job may still be running" in str(error)
    assert "clear or retry this task (Airflow 3.3 and later), or use a ModelMaxDownloadVideoOperator" in str(error)
    assert str(error).endswith(" Job id.")


def test_a_wait_is_not_given_up_before_the_time_at_which_the_service_asks_to_be_called_again():
    wait = after((1, "IN_QUEUE"), (2, AWAY), (SILENCE, AWAY))
    assert isinstance(wait.next_step(at(SILENCE + 3)), AskAgain)
    assert isinstance(wait.failed(BUSY, at(SILENCE + 60)).next_step(at(SILENCE + 60)).error, api.JobNotOverError)


def test_a_redirect_that_lasts_is_named_when_the_wait_is_given_up():
    redirect = api.ForeignUrlError("redirects to maintenance.example.", reached=True)
    error = after((1, "IN_QUEUE"), (2, redirect)).next_step(at(SILENCE + 2)).error
    assert isinstance(error, api.JobNotOverError)
    assert "The last error: redirects to maintenance.example." in error.why


def test_any_answer_ends_the_silence():
    wait = after((1, RESET), (SILENCE - 1, "IN_QUEUE"), (SILENCE, RESET))
    assert isinstance(wait.next_step(at(2 * SILENCE - 1)), AskAgain)
    assert isinstance(wait.next_step(at(2 * SILENCE)), Over)


def test_a_silence_begins_with_the_first_call_that_has_no_answer():
    wait = after((1, "IN_QUEUE"), (2 * SILENCE, RESET), deadline=9 * HOUR, poll_interval=2 * SILENCE)
    assert wait.next_step(at(2 * SILENCE)) == AskAgain(at(4 * SILENCE))
    assert isinstance(wait.failed(RESET, at(4 * SILENCE)).next_step(at(4 * SILENCE)), Over)


def test_the_patience_with_unknown_statuses_is_for_all_of_them_together():
    wait = after((1, "IN_QUEUE"), (2, "PAUSED"), (UNKNOWN, "WARMING_UP"))
    assert isinstance(wait.next_step(at(UNKNOWN + 1)), AskAgain)
    assert "It is 'WARMING_UP', not one of" in wait.next_step(at(UNKNOWN + 2)).error.why


def test_a_known_status_starts_the_patience_with_unknown_ones_anew():
    wait = after((1, "PAUSED"), (UNKNOWN, "IN_PROGRESS"), (UNKNOWN + 5, "PAUSED"))
    assert isinstance(wait.next_step(at(2 * UNKNOWN + 4)), AskAgain)
    assert isinstance(wait.next_step(at(2 * UNKNOWN + 5)), Over)


def test_an_answer_after_trouble_clears_the_trouble():
    assert after((1, BUSY), (2, "COMPLETED")).next_step(at(2)) == Over()


def test_a_silence_can_be_taken_over_from_another_process():
    kept = json.loads(json.dumps(after((1, "IN_QUEUE"), (2, RESET)).kept()))
    wait = Wait.begin("id", deadline=at(2 * HOUR), poll_interval=5, now=at(SILENCE)).taken_over(kept)
    wait = wait.failed(RESET, at(SILENCE))
    assert isinstance(wait.next_step(at(SILENCE + 1)), AskAgain)
    assert "its last status was IN_QUEUE. The last error: reset." in wait.next_step(at(SILENCE + 2)).error.why


def test_a_patience_with_an_unknown_status_can_be_taken_over_from_another_process():
    kept = json.loads(json.dumps(after((1, "PAUSED")).kept()))
    wait = begin().taken_over(kept).answered(api.JobStatus("id", "PAUSED"), at(UNKNOWN + 1))
    assert "'PAUSED'" in wait.next_step(at(UNKNOWN + 1)).error.why


@pytest.mark.parametrize(
    ("wait", "doubt"),
    [
        (after((1, "IN_QUEUE")), False),
        (after((1, "COMPLETED")), False),
        (after((1, "PAUSED")), True),
        (after((1, RESET)), True),
        (after((1, "IN_QUEUE"), (2, RESET)), True),
        (after((1, RESET), (2, "IN_QUEUE")), False),
    ],
)
def test_only_what_is_odd_is_in_doubt(wait, doubt):
    assert wait.in_doubt is doubt


@pytest.mark.parametrize(
    ("events", "event", "now", "line"),
    [
        ([], "IN_QUEUE", 1, ""),
        ([], "IN_PROGRESS", 1, "Job id is IN_PROGRESS."),
        ([(1, "IN_QUEUE")], "IN_QUEUE", 6, ""),
        ([(1, "IN_QUEUE")], "IN_PROGRESS", 7, "Job id: IN_QUEUE -> IN_PROGRESS after 7 s."),
        ([(1, "IN_QUEUE"), (7, "IN_PROGRESS")], "COMPLETED", 97, "Job id: IN_PROGRESS -> COMPLETED after 90 s."),
        ([(1, "IN_QUEUE")], RESET, 6, "No usable answer for job id: reset. Retrying until 2026-05-01 12:15:06 UTC."),
        ([(1, "IN_QUEUE")], AWAY, 6, "No usable answer for job id: 503. Retrying until 2026-05-01 12:50:06 UTC."),
        ([(1, "IN_QUEUE")], api.UnauthorizedError("401", status=401), 6, "No usable answer for job id: 401"),
        ([(1, "IN_QUEUE"), (6, RESET)], BUSY, 11, ""),
        ([(1, "IN_QUEUE"), (6, RESET)], "IN_QUEUE", 11, "ModelMax answers again for job id."),
        ([(1, "IN_QUEUE"), (6, RESET)], "IN_PROGRESS", 11, "Job id: IN_QUEUE -> IN_PROGRESS after 11 s."),
        ([(1, RESET)], "IN_QUEUE", 6, "ModelMax answers again for job id."),
    ],
)
def test_only_what_changed_is_news(events, event, now, line):
    before = after(*events)
    known = before.failed(event, at(now)) if isinstance(event, Exception) else after(*events, (now, event))
    assert known.news(before, at(now)) == line


def test_the_patience_is_told_in_utc_whatever_zone_the_deadline_has():
    deadline = at(60).astimezone(timezone(timedelta(hours=5)))
    before = Wait.begin("id", deadline=deadline, poll_interval=5, now=START)
    assert "until 2026-05-01 12:01:00 UTC" in before.failed(RESET, START).news(before, START)


@pytest.mark.parametrize(
    ("events", "times"),
    [
        ([], (None, None)),
        ([(1, "IN_QUEUE")], (None, None)),
        ([(1, "IN_QUEUE"), (4, "IN_PROGRESS")], (4, 0)),
        ([(1, "IN_QUEUE"), (4, "IN_PROGRESS"), (9, "IN_PROGRESS"), (14, RESET)], (4, 5)),
        ([(1, "IN_QUEUE"), (4, "IN_PROGRESS"), (20, "COMPLETED")], (4, 16)),
        ([(1, "IN_QUEUE"), (4, "COMPLETED")], (None, None)),
        ([(1, "IN_PROGRESS"), (5, RESET), (20, "FAILED: no")], (None, 19)),
        ([(1, "IN_PROGRESS"), (6, "COMPLETED")], (None, 5)),
        ([(0, "COMPLETED")], (None, None)),
        ([(3, RESET), (8, "COMPLETED")], (None, None)),
        ([(1, "IN_QUEUE"), (2, RESET), (600, "IN_PROGRESS"), (620, "COMPLETED")], (None, 20)),
        ([(1, "IN_QUEUE"), (4, "IN_PROGRESS"), (9, RESET), (600, "COMPLETED")], (None, None)),
    ],
)
def test_times_in_queue_and_at_work_are_those_that_were_seen(events, times):
    wait = after(*events)
    assert (wait.seconds_in_queue, wait.seconds_running) == times


@pytest.mark.parametrize(
    ("seen", "answers", "times"),
    [
        ((0, "IN_QUEUE"), [(12, "IN_PROGRESS"), (30, "COMPLETED")], (12, 18)),
        ((0, "IN_QUEUE"), [(12, "COMPLETED")], (None, None)),
        ((0, "IN_PROGRESS"), [(12, "COMPLETED")], (None, 12)),
        ((0, "IN_QUEUE"), [(600, "IN_PROGRESS"), (620, "COMPLETED")], (None, 20)),  # the triggerer was away
        ((0, RESET), [(12, "COMPLETED")], (None, None)),
    ],
)
def test_what_another_process_saw_counts(seen, answers, times):
    kept = json.loads(json.dumps(after(seen).kept()))
    wait = Wait.begin("id", deadline=at(HOUR), poll_interval=5, now=at(9)).taken_over(kept)
    for seconds, status in answers:
        wait = wait.answered(api.JobStatus("id", status), at(seconds))
    assert (wait.seconds_in_queue, wait.seconds_running) == times


def test_being_killed_says_what_goes_on_and_what_it_costs():
    running, paid = polling.on_kill_message(JOB), polling.on_kill_message(JOB, paid=True)
    assert "The job goes on at ModelMax, which has no call to cancel it. It costs nothing" in running
    assert "retry or clear this task (Airflow 3.3 and later), or use a ModelMaxDownloadVideoOperator" in running
    assert running.endswith(' job={"model": "veo-3", "request_id": "id"}')
    assert "while downloading. The result is paid for and stored" in paid
    assert "costs nothing" not in paid
    assert "Nothing is billed" in polling.on_kill_message(None)


def test_being_killed_once_the_result_was_asked_for_says_that_it_may_be_billed_and_names_no_other_way_to_it():
    asked = polling.on_kill_message(JOB, asked=True)
    assert "the result may be billed. Retry or clear this task" in asked
    assert asked.endswith(" Job id.")
    assert "costs nothing" not in asked
    assert "ModelMaxDownload" not in asked
    assert polling.on_kill_message(JOB, asked=True, paid=True) == polling.on_kill_message(JOB, paid=True)
