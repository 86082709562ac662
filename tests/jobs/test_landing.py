"""What is paid for is kept, whatever breaks around the billing call; and one of several makes it."""

from __future__ import annotations

import contextlib
import json
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import (
    BrokenVideoError,
    DestinationError,
    Job,
    KeptNowhereError,
    RefusedError,
    Result,
    StorageError,
    TransportError,
    UnauthorizedError,
    UnusableResultError,
)
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs import lease as asker
from airflow_provider_modelmax.jobs.cancellation import Cancelled
from airflow_provider_modelmax.jobs.fetch import MAX_ATTEMPTS
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import FETCHED, FETCHING, LANDED, SUBMITTED, UNUSABLE, JobRecord
from tests.airflow_versions import AirflowTaskTimeout
from tests.jobs.conftest import ANOTHER, DEAD, ELSEWHERE, TASK, claimed, known, manifest, one_job, state, write
from tests.operators.conftest import Kept

BILLED_TWICE = "may be billed a second time"
STORES = pytest.mark.parametrize("kept", [Kept, lambda: None], ids=["task state", "manifest only"])


# Keeping


def test_the_result_is_kept_in_task_state_and_manifest(completed, tmp_path):
    kept = Kept()
    fetched = one_job(tmp_path, kept).fetch(known(completed))
    assert fetched.phase == FETCHED
    assert state(kept).get() == fetched
    assert manifest(tmp_path) == fetched


def test_a_task_state_that_breaks_after_the_billing_call_leaves_the_manifest(completed, tmp_path, monkeypatch):
    kept = Kept()
    billing = ModelMaxHook.call_once

    def break_after(hook: ModelMaxHook, job: Job, **more: Any) -> Result:
        result = billing(hook, job, **more)
        kept.broken = True
        return result

    monkeypatch.setattr(ModelMaxHook, "call_once", break_after)
    fetched = one_job(tmp_path, kept).fetch(known(completed))
    assert fetched.phase == FETCHED
    assert one_job(tmp_path, None).recall(completed).result == fetched.result


def broken_writes(monkeypatch: pytest.MonkeyPatch, times: int) -> None:
    write, left = Manifest.put, [times]

    def refuse(self: Manifest, record: JobRecord) -> None:
        if left[0] and record.result:
            left[0] -= 1
            raise StorageError("the store is down")
        write(self, record)

    monkeypatch.setattr(Manifest, "put", refuse)


def test_a_store_that_is_down_for_a_moment_after_the_billing_call_costs_nothing(
    simulator, completed, tmp_path, monkeypatch
):
    broken_writes(monkeypatch, times=2)
    assert one_job(tmp_path, None).fetch(known(completed)) == manifest(tmp_path)
    assert simulator.ledger.count("result") == 1


def test_a_result_that_no_place_takes_is_in_the_log_and_no_retry_pays_for_it_again(
    simulator, completed, tmp_path, monkeypatch, caplog
):
    with monkeypatch.context() as broken:
        broken_writes(broken, times=99)
        with pytest.raises(KeptNowhereError, match="is only in the log above"):  # which fails at once
            one_job(tmp_path, None).fetch(known(completed))
    (line,) = [record.getMessage() for record in caplog.records if "This result is paid for" in record.getMessage()]

    (tmp_path / "clip.modelmax.json").write_text(line[line.index("{") :])
    here = one_job(tmp_path, None)
    assert here.download(here.fetch(here.recall())).phase == LANDED
    assert len(simulator.ledger.bills) == 1


def test_where_nothing_else_keeps_a_paid_result_yet_the_log_does(completed, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(Manifest, "put", lambda *_: pytest.fail("killed here"))
    with caplog.at_level("INFO"), pytest.raises(pytest.fail.Exception):
        one_job(tmp_path, None).fetch(known(completed))
    (line,) = [record.getMessage() for record in caplog.records if "the result is only here: " in record.getMessage()]
    assert json.loads(line.partition("the result is only here: ")[2])["phase"] == "fetched"


def test_a_result_that_only_task_state_takes_is_retried(completed, tmp_path, monkeypatch):
    kept = Kept()
    broken_writes(monkeypatch, times=99)
    with pytest.raises(StorageError):
        one_job(tmp_path, kept).fetch(known(completed))
    assert state(kept).get().result


@STORES
def test_a_kept_result_is_not_asked_for_again(simulator, completed, tmp_path, kept):
    kept = kept()
    one_job(tmp_path, kept).fetch(known(completed))
    here = one_job(tmp_path, kept)
    here.fetch(here.recall())
    here.fetch(known(completed))  # what an execution knows that began to wait before
    assert simulator.ledger.count("result") == 1


def test_what_has_landed_is_kept_as_landed(completed, tmp_path):
    kept = Kept()
    here = one_job(tmp_path, kept)
    landed = here.download(here.fetch(known(completed)))
    assert landed.phase == LANDED
    assert state(kept).get() == landed == manifest(tmp_path)


# One of several


@STORES
def test_of_many_executions_at_once_one_asks(simulator, completed, tmp_path, kept):
    kept = kept()
    one_job(tmp_path, kept)  # or skip, which a thread cannot
    simulator.fault("result", "slow_answer", seconds=0.3)
    results = []
    threads = [
        threading.Thread(target=lambda: results.append(one_job(tmp_path, kept).fetch(known(completed))))
        for _ in range(8)
    ]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert [each.result for each in results] == [results[0].result] * 8
    assert len(simulator.ledger.bills) == 1


def test_a_second_execution_waits_for_the_first_ones_billing_call(simulator, completed, tmp_path, monkeypatch):
    first = write(tmp_path, claimed(completed, ELSEWHERE))

    def the_other_finishes(*_: object) -> None:
        result = ModelMaxHook("modelmax_default").get_result(completed)
        write(tmp_path, first.fetched(result))

    here = one_job(tmp_path, None)
    monkeypatch.setattr(here.cancel, "pause", the_other_finishes)
    assert here.fetch(first).result
    assert simulator.ledger.count("result") == 1


def test_a_result_in_the_task_state_is_not_asked_for_again_at_another_destination(simulator, completed, tmp_path):
    kept = Kept()
    result = one_job(tmp_path, kept).fetch(known(completed)).result
    (tmp_path / "elsewhere").mkdir()
    assert one_job(tmp_path / "elsewhere", kept).fetch(known(completed)).result == result
    assert simulator.ledger.count("result") == 1


def test_who_waits_for_another_execution_finds_its_result_in_the_task_state(
    simulator, completed, tmp_path, monkeypatch
):
    kept = Kept()
    here = one_job(tmp_path, kept)
    first = here.store.put(claimed(completed, ELSEWHERE))

    def the_other_finishes(*_: object) -> None:  # but its manifest cannot be written
        here.store.state.put(first.fetched(ModelMaxHook("modelmax_default").get_result(completed)))

    monkeypatch.setattr(here.cancel, "pause", the_other_finishes)
    assert here.fetch(known(completed)).result
    assert simulator.ledger.count("result") == 1


def test_who_took_over_a_claim_leaves_it_to_who_asks_already(completed, tmp_path):
    write(tmp_path, known(completed))
    here = one_job(tmp_path, Kept())
    asking = known(completed).requesting(DEAD, expires=time.time() + 60, busy_until=time.time() + 60)
    other = here.store.state.put(claimed(completed, ELSEWHERE))
    assert here.store.acquire(known(completed), asking) == other == manifest(tmp_path)


def test_who_waits_is_told_once_although_the_manifest_says_that_the_call_is_over(
    simulator, completed, tmp_path, caplog
):
    here = one_job(tmp_path, Kept())
    here.store.state.put(claimed(completed, ELSEWHERE, seconds=1))  # its end stands in the manifest only
    write(tmp_path, known(completed, attempts=1, phase=FETCHING))
    with caplog.at_level("INFO"):
        here.fetch(here.recall(completed))
    said = [record.getMessage() for record in caplog.records]
    assert sum("Another process" in each for each in said) == 1
    assert sum(BILLED_TWICE in each for each in said) <= 2


def test_who_adopts_a_job_leaves_its_result_in_the_task_state(simulator, completed, tmp_path):
    kept = Kept()
    first, second = one_job(tmp_path, kept), one_job(tmp_path, kept)
    began = known(completed, order="one")
    with asker.new_owner() as name:
        asking = first.store.acquire(
            began, began.requesting(name, expires=time.time() + 60, busy_until=time.time() + 60)
        )
        first.store.state.put(asking.fetched(ModelMaxHook("modelmax_default").get_result(completed)))
        mine = known(Job.of({"model": "veo-3.1", "request_id": "the second's"}), order="one")
        found = second.store.acquire(mine, mine.requesting("me", expires=time.time() + 60, busy_until=time.time() + 60))
    assert second.fetch(found).job == completed
    assert simulator.ledger.count("result") == 1


@pytest.mark.parametrize(
    "place", ["another-boot pid:[4026531836]", "pid:[4026531836]"], ids=["another machine", "another container"]
)
def test_a_process_of_another_machine_of_this_name_is_not_looked_for_here(place):
    until = time.time() + 60
    assert asker.is_alive(f"{DEAD.split()[0]} {place}:4194305:12345678", until)
    assert not asker.is_alive(DEAD, until)


@pytest.mark.parametrize(
    ("who", "seconds"), [(DEAD, 60), (ELSEWHERE, -1), ("", 60)], ids=["dead", "out of time", "lost its answer"]
)
def test_a_billing_call_that_is_over_without_an_answer_is_made_again_with_a_warning(
    completed, tmp_path, caplog, who, seconds
):
    over = write(tmp_path, claimed(completed, who, seconds))
    assert one_job(tmp_path, Kept()).fetch(over).attempts == 2
    assert BILLED_TWICE in caplog.text


def test_of_two_that_take_over_one_asks(simulator, completed, tmp_path):
    over = write(tmp_path, claimed(completed, DEAD))
    simulator.fault("result", "slow_answer", seconds=0.3)
    threads = [threading.Thread(target=one_job(tmp_path, None).fetch, args=(over,)) for _ in range(4)]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    assert len(simulator.ledger.bills) == 1
    assert manifest(tmp_path).result


def test_a_task_that_is_killed_while_it_waits_asks_no_more(simulator, completed, tmp_path):
    here = one_job(tmp_path, Kept())
    here.cancel.cancel()
    with pytest.raises(Cancelled):
        here.fetch(known(completed))
    assert simulator.ledger.count("result") == 0
    assert manifest(tmp_path) == known(completed)


# Answers that do not come


@STORES
def test_a_refused_billing_call_does_not_count(simulator, completed, tmp_path, caplog, kept):
    kept = kept()
    simulator.settings.key = "sk-another"
    for _ in range(MAX_ATTEMPTS + 1):
        here = one_job(tmp_path, kept)
        with pytest.raises(UnauthorizedError):
            here.fetch(here.recall(completed) or known(completed))
    assert manifest(tmp_path) == known(completed)
    assert BILLED_TWICE not in caplog.text


@STORES
def test_a_lost_answer_is_remembered_with_its_job(simulator, completed, tmp_path, caplog, short_pauses, kept):
    kept = kept()
    simulator.fault("result", "lost_answer")
    with pytest.raises(TransportError):
        one_job(tmp_path, kept).fetch(known(completed))
    assert manifest(tmp_path) == replace(known(completed), phase=FETCHING, attempts=3)
    simulator.clear_faults()

    here = one_job(tmp_path, kept)
    assert here.fetch(here.recall()).result
    assert simulator.ledger.count("submit") == 1
    assert BILLED_TWICE in caplog.text


def test_one_lost_answer_costs_one_more_call(simulator, completed, tmp_path, short_pauses):
    simulator.fault("result", "lost_answer", times=1)
    assert one_job(tmp_path, Kept()).fetch(known(completed)).attempts == 2
    assert simulator.ledger.count("result") == 2


def test_the_billing_call_is_not_begun_for_ever(simulator, completed, tmp_path):
    with pytest.raises(RefusedError, match="not requested again"):
        one_job(tmp_path, Kept()).fetch(known(completed, attempts=MAX_ATTEMPTS))
    assert simulator.ledger.count("result") == 0


def test_no_try_begins_more_billing_calls_than_there_may_be(simulator, completed, tmp_path, short_pauses):
    simulator.fault("result", "lost_answer")
    begun = write(tmp_path, replace(known(completed), phase=FETCHING, attempts=MAX_ATTEMPTS - 1))
    with pytest.raises(TransportError):
        one_job(tmp_path, None).fetch(begun)
    assert simulator.ledger.count("result") == 1
    assert manifest(tmp_path).attempts == MAX_ATTEMPTS


# execution_timeout


@contextlib.contextmanager
def execution_timeout(seconds: float) -> Iterator[None]:
    """Do what Airflow does in a task's process."""

    def ring(*_: object) -> None:
        raise AirflowTaskTimeout

    before = signal.signal(signal.SIGALRM, ring)
    signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


@STORES
def test_a_timeout_while_the_billing_call_is_answered_comes_when_the_result_is_kept(
    simulator, completed, tmp_path, kept
):
    simulator.fault("result", "slow_answer", seconds=0.5, times=1)
    store = kept()
    with pytest.raises(AirflowTaskTimeout), execution_timeout(0.2):
        one_job(tmp_path, store).fetch(known(completed))
    assert manifest(tmp_path).result
    assert one_job(tmp_path, store).recall(completed).result
    assert simulator.ledger.count("result") == 1


def test_a_timeout_while_a_paid_result_is_written_comes_when_it_is_kept(completed, tmp_path, monkeypatch):
    write_manifest, slow = Manifest.put, threading.Event()

    def written_slowly(self: Manifest, record: JobRecord) -> None:
        slow.wait(0.3 if record.result else 0)
        write_manifest(self, record)

    monkeypatch.setattr(Manifest, "put", written_slowly)
    with pytest.raises(AirflowTaskTimeout), execution_timeout(0.2):
        one_job(tmp_path, None).fetch(known(completed))
    assert manifest(tmp_path).result


def test_a_timeout_between_two_billing_calls_comes_before_the_second(simulator, completed, tmp_path, monkeypatch):
    monkeypatch.setattr(api, "retry_delay", lambda *_: float(threading.Event().wait(0.4)))
    simulator.fault("result", "lost_answer")
    with pytest.raises(AirflowTaskTimeout), execution_timeout(0.2):
        one_job(tmp_path, None).fetch(known(completed))
    assert simulator.ledger.count("result") == 1
    assert (manifest(tmp_path).attempts, manifest(tmp_path).owner) == (1, "")


@STORES
def test_a_timeout_in_the_pause_after_a_refused_billing_call_comes_then_and_counts_no_call(
    simulator, completed, tmp_path, caplog, kept
):
    kept, begin = kept(), time.monotonic()
    simulator.fault("result", "error", status=429, retry_after=30)
    for _ in range(2):
        here = one_job(tmp_path, kept)
        with pytest.raises(AirflowTaskTimeout), execution_timeout(0.3):
            here.fetch(here.recall(completed) or known(completed))
    assert time.monotonic() - begin < 10
    assert manifest(tmp_path) == known(completed)
    assert BILLED_TWICE not in caplog.text


def test_a_kill_in_the_pause_after_a_refused_billing_call_ends_it_and_counts_no_call(simulator, completed, tmp_path):
    simulator.fault("result", "error", status=429, retry_after=30)
    here, begin = one_job(tmp_path, None), time.monotonic()
    threading.Timer(0.3, here.cancel.cancel).start()
    with pytest.raises(Cancelled):
        here.fetch(known(completed))
    assert time.monotonic() - begin < 10
    assert manifest(tmp_path) == known(completed)
    assert simulator.ledger.count("result") == 1


@STORES
def test_in_the_pause_after_a_refused_billing_call_it_is_claimed_and_not_counted(
    simulator, completed, tmp_path, monkeypatch, kept
):
    """Who is killed there by SIGKILL leaves that."""
    simulator.fault("result", "error", status=429, times=1)
    here, seen = one_job(tmp_path, kept()), []

    def look(seconds: float) -> None:
        if seconds:
            there = manifest(tmp_path)
            seen.append((there.phase, there.attempts, here.store.lease.is_held(there)))

    monkeypatch.setattr(here.cancel, "pause", look)
    assert here.fetch(known(completed)).attempts == 1
    assert set(seen) == {(FETCHING, 0, True)}


def test_after_as_many_refusals_as_there_may_be_calls_the_result_is_asked_for(simulator, completed, tmp_path):
    simulator.fault("result", "error", status=429, retry_after=30, times=MAX_ATTEMPTS + 1)
    for _ in range(MAX_ATTEMPTS + 1):
        here = one_job(tmp_path, None)
        with pytest.raises(AirflowTaskTimeout), execution_timeout(0.2):
            here.fetch(here.recall(completed) or known(completed))
    here = one_job(tmp_path, None)
    assert here.fetch(here.recall(completed)).result
    assert len(simulator.ledger.bills) == 1


def test_a_timeout_while_the_manifest_is_claimed_is_no_call_whose_answer_is_lost(
    simulator, completed, tmp_path, monkeypatch
):
    create = Manifest.create

    def created_slowly(self: Manifest, record: JobRecord) -> bool:
        done = create(self, record)
        threading.Event().wait(0.4)
        return done

    monkeypatch.setattr(Manifest, "create", created_slowly)
    with pytest.raises(AirflowTaskTimeout), execution_timeout(0.2):
        one_job(tmp_path, None).fetch(known(completed))
    assert manifest(tmp_path) == known(completed)
    assert simulator.ledger.count("result") == 0


@pytest.mark.parametrize("there", [True, False], ids=["taken over", "created"])
def test_a_claim_that_the_task_state_does_not_take_is_no_call_whose_answer_is_lost(completed, tmp_path, there):
    if there:
        write(tmp_path, known(completed))
    kept = Kept()
    kept.broken = True
    for _ in range(MAX_ATTEMPTS + 1):
        here = one_job(tmp_path, kept)
        with pytest.raises(ConnectionError):
            here.fetch(here.recall(completed) or known(completed))
    assert manifest(tmp_path) == known(completed)
    kept.broken = False
    assert one_job(tmp_path, kept).fetch(known(completed)).attempts == 1


# Results that cannot be used


@STORES
@pytest.mark.parametrize("fault", [{"field": "data", "value": []}, {"field": "request_id", "value": "other"}])
def test_a_result_that_cannot_be_used_is_kept_and_not_asked_for_again(simulator, completed, tmp_path, kept, fault):
    kept = kept()
    simulator.fault("result", "set_field", **fault)
    copyable = json.dumps({"model": completed.model, "request_id": completed.request_id})
    with pytest.raises(UnusableResultError, match=r"What came: .* The result is not requested again") as caught:
        one_job(tmp_path, kept).fetch(known(completed))
    assert str(caught.value).endswith(f"job={copyable}")
    simulator.clear_faults()
    assert manifest(tmp_path).phase == UNUSABLE
    assert "What came: " in manifest(tmp_path).reason

    for record in (one_job(tmp_path, kept).recall(), known(completed)):
        with pytest.raises(UnusableResultError, match="The result is not requested again") as again:
            one_job(tmp_path, kept).fetch(record)
        assert str(again.value) == str(caught.value)
        assert again.value.usage == caught.value.usage == manifest(tmp_path).billed
        assert again.value.usage["video_seconds"] == 1
    assert simulator.ledger.count("result") == 1


def test_of_a_result_with_a_bad_url_the_other_videos_land_and_the_lost_one_is_named(simulator, tmp_path, modelmax_conn):
    simulator.settings.run_seconds = 0
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a boat", {"duration_seconds": 1, "sample_count": 3})
    simulator.fault("result", "set_field", field="data.1", value={"url": None, "error": "filtered: 暴力"})
    for _ in range(2):  # a clear finds it so
        here = one_job(tmp_path, None)
        begin = r"^ModelMax said: filtered: 暴力\. Billed: video_seconds=3, .*\. "
        with pytest.raises(UnusableResultError, match=begin + r"2 of 3 videos .* no usable URL for .*/clip-1\.mp4"):
            here.download(here.fetch(here.recall(job) or JobRecord(job)))
    assert {path.name for path in tmp_path.glob("*.mp4")} == {"clip-0.mp4", "clip-2.mp4"}
    assert (simulator.ledger.count("result"), simulator.ledger.count("content")) == (1, 2)


def test_fewer_videos_than_were_asked_for_are_told(simulator, completed, tmp_path, caplog):
    one_job(tmp_path, None).fetch(known(completed, samples=3))
    assert "3 videos were asked for, and 1 came." in caplog.text


@pytest.mark.parametrize("samples", [1, None])
def test_as_many_videos_as_were_asked_for_are_nothing_to_tell(simulator, completed, tmp_path, caplog, samples):
    one_job(tmp_path, None).fetch(known(completed, samples=samples))
    assert "were asked for" not in caplog.text


# Whose the destination is


def test_a_sample_that_is_gone_does_not_keep_the_others_from_landing(simulator, tmp_path, modelmax_conn):
    simulator.settings.run_seconds = 0
    order = {"duration_seconds": 1, "generate_audio": False, "sample_count": 3}
    job = ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a lighthouse", order)
    here = one_job(tmp_path, None)
    fetched = here.fetch(JobRecord(job))
    simulator.fault("content", "error", status=400, type="bad_request", times=1)
    with pytest.raises(RefusedError, match="does not have the video"):
        here.download(fetched)
    there = sorted(path.name for path in tmp_path.glob("*.mp4"))
    assert len(there) == 2
    assert [video.uri.rpartition("/")[2] for video in manifest(tmp_path).videos] == there
    again = one_job(tmp_path, None)
    assert len(again.download(again.recall(job)).videos) == 3  # it is there again: the other two are not fetched anew
    assert simulator.ledger.count("content") == 4


@STORES
@pytest.mark.parametrize(
    ("fault", "says"),
    [
        ({"kind": "cut_body", "times": 4}, "no whole answer"),
        ({"kind": "error", "status": 503, "times": 4}, "answered 503"),
        ({"kind": "error", "status": 402, "type": "insufficient_balance"}, "This call was not charged"),
        ({"kind": "not_a_video", "times": 4}, "this is no MP4"),
        ({"kind": "redirect", "to": "https://evil.example/"}, "redirects to evil.example"),
        (
            {"kind": "error", "status": 403, "html": True},
            "If the URL has expired, no retry helps. A new URL may come with",
        ),
    ],
    ids=lambda value: value["kind"] if isinstance(value, dict) else "",
)
def test_what_keeps_a_paid_video_from_landing_names_it_and_what_it_costs(
    simulator, completed, tmp_path, short_pauses, kept, fault, says
):
    here = one_job(tmp_path, kept())
    fetched = here.fetch(known(completed))
    simulator.fault("content", **fault)
    with pytest.raises((api.ModelMaxError, BrokenVideoError)) as caught:
        here.download(fetched)
    message, _, uri = str(caught.value).rpartition(" Not stored: ")  # after the facts: a log line shows 100 characters
    assert uri == f"{tmp_path}/clip.mp4"
    assert says in str(caught.value)
    assert ". The video is paid for, and its URL is stored" in str(caught.value)
    where = "" if here.store.state.has_store else ", with the same destination,"
    free = message.endswith(f": a retry or clear of this task{where} fetches it, free of charge.")
    assert free is (fault["kind"] != "redirect" and fault.get("status") != 403)
    assert caught.value.__cause__ is None


def test_a_video_that_comes_to_be_there_later_than_its_result_lands(simulator, completed, tmp_path, short_pauses):
    simulator.fault("content", "error", status=404, type="not_found", times=3)
    here = one_job(tmp_path, None)
    assert here.download(here.fetch(known(completed))).phase == LANDED


def test_another_task_that_came_first_has_the_destination_before_anything_is_paid(simulator, completed, tmp_path):
    write(tmp_path, claimed(replace(completed, request_id="other"), ELSEWHERE), ANOTHER)
    with pytest.raises(DestinationError, match="taken by job other"):
        one_job(tmp_path, Kept()).fetch(known(completed))
    assert simulator.ledger.bills == []


def test_a_paid_result_whose_video_has_not_landed_yet_keeps_its_place(simulator, completed, tmp_path):
    one_job(tmp_path, Kept(), task=ANOTHER).fetch(known(completed, task=ANOTHER))
    with pytest.raises(DestinationError, match="is taken by job"):
        one_job(tmp_path, Kept()).store.check(None, 1)
    one_job(tmp_path, Kept(), overwrite=True).store.check(None, 1)


@pytest.mark.parametrize("samples", [2, None])
@pytest.mark.parametrize("name", ["clip.mp4", "clip-0.mp4", "clip-1.mp4"])
def test_any_video_in_the_way_is_refused(tmp_path, modelmax_conn, name, samples):
    (tmp_path / name).write_bytes(b"mine")
    with pytest.raises(DestinationError, match=f"{name} is taken by something else"):
        one_job(tmp_path, Kept()).store.check(None, samples)


@pytest.mark.parametrize("name", ["clip.mp4", "clip-0.mp4"])
def test_what_came_to_stand_in_the_way_while_the_job_ran_is_refused_before_anything_is_paid(
    simulator, completed, tmp_path, name
):
    here = one_job(tmp_path, Kept())
    here.store.check(completed.request_id, 2)
    (tmp_path / name).write_bytes(b"another's")
    with pytest.raises(DestinationError, match=f"{name} is taken by something else"):
        here.fetch(known(completed, samples=2))
    assert (tmp_path / name).read_bytes() == b"another's"
    assert simulator.ledger.bills == []
    assert one_job(tmp_path, Kept(), overwrite=True).fetch(known(completed, samples=2)).result


def test_what_a_killed_try_has_landed_is_not_in_its_own_way(simulator, completed, tmp_path):
    write(tmp_path, claimed(completed, DEAD, -1))
    (tmp_path / "clip.mp4").write_bytes(b"landed")
    assert one_job(tmp_path, Kept()).fetch(known(completed)).result


def test_a_folder_in_the_way_is_refused_even_with_overwrite(tmp_path, modelmax_conn):
    (tmp_path / "clip.mp4").mkdir()
    with pytest.raises(DestinationError, match="in the way"):
        one_job(tmp_path, Kept(), overwrite=True).store.check(None, 1)


def test_another_jobs_video_of_the_same_size_is_not_taken_for_ours(simulator, completed, tmp_path):
    kept = Kept()
    here = one_job(tmp_path, kept)
    landed = here.download(here.fetch(known(completed)))
    write(tmp_path, replace(landed, job=replace(completed, request_id="other")), ANOTHER)
    video = tmp_path / "clip.mp4"
    whole = video.read_bytes()
    video.write_bytes(whole[::-1])

    with pytest.raises(DestinationError, match="taken by job other"):
        here.download(landed)
    assert simulator.ledger.count("content") == 1
    ours = one_job(tmp_path, kept, overwrite=True)
    assert ours.download(landed) == manifest(tmp_path)
    assert simulator.ledger.count("content") == 2
    assert video.read_bytes() == whole


def test_a_landed_task_whose_manifest_was_deleted_writes_it_again_and_downloads_nothing(simulator, completed, tmp_path):
    """The service may have deleted the video by now."""
    kept = Kept()
    here = one_job(tmp_path, kept)
    landed = here.download(here.fetch(known(completed)))
    (tmp_path / "clip.modelmax.json").unlink()
    assert one_job(tmp_path, kept).download(landed) == landed == manifest(tmp_path)
    assert simulator.ledger.count("content") == 1


def test_what_stands_where_a_paid_video_is_to_land_is_left_as_it_is(simulator, completed, tmp_path):
    fetched = one_job(tmp_path, None).fetch(known(completed))
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "clip.mp4").write_bytes(b"mine")
    with pytest.raises(DestinationError, match=r"clip\.mp4 is taken by something else, and was left as it is"):
        one_job(elsewhere, None).download(fetched)
    assert (elsewhere / "clip.mp4").read_bytes() == b"mine"
    assert one_job(elsewhere, None, overwrite=True).download(fetched).phase == LANDED
    assert simulator.ledger.count("result") == 1


# What was kept elsewhere


def test_a_discarded_task_state_leaves_the_manifest(simulator, completed, tmp_path):
    here = one_job(tmp_path, Kept())
    landed = here.download(here.fetch(known(completed)))
    assert one_job(tmp_path, Kept()).recall() == landed
    assert one_job(tmp_path, Kept(), max_tries=1).recall() == landed  # cleared, with the same order


def test_a_manifest_of_another_task_or_another_order_is_not_recalled(completed, tmp_path):
    one_job(tmp_path, None, task=ANOTHER).fetch(known(completed, task=ANOTHER))
    assert one_job(tmp_path, None).recall() is None
    mine = one_job(tmp_path, None, task=ANOTHER, max_tries=1)
    assert mine.recall(order="something else") is None
    mine.store.state.max_tries = 0  # a retry: the template renders differently each time
    assert mine.recall(order="something else")


@pytest.mark.parametrize(("order", "found"), [("what it was", True), ("something else", False)])
def test_a_run_that_was_deleted_and_made_anew_finds_its_videos_only_for_the_same_order(
    completed, tmp_path, order, found
):
    before = one_job(tmp_path, None)
    before.fetch(replace(known(completed), order="what it was"))
    anew = one_job(tmp_path, None)
    anew.store.state = state(None, try_number=1)
    assert bool(anew.recall(order=order)) is found


@pytest.mark.parametrize("after", [0, 0.2], ids=["has fetched it", "is fetching it"])
def test_another_execution_that_pays_for_the_same_order_by_another_job_is_waited_for(
    simulator, completed, tmp_path, after
):
    there = write(tmp_path, replace(claimed(completed, ELSEWHERE, seconds=0.5), order="one"))
    fetched = there.fetched(Result(completed.request_id, completed.model, ("/v1/x",), {}))
    threading.Timer(after, write, [tmp_path, fetched]).start()
    late = one_job(tmp_path, None)
    found = late.fetch(known(Job.of({"model": "veo-3.1", "request_id": "late"}), order="one"))
    assert found.job == completed
    assert simulator.ledger.count("result") == 0


@STORES
def test_an_execution_that_was_cleared_and_lives_on_takes_the_later_ones_result(simulator, completed, tmp_path, kept):
    later = replace(known(completed, order="one", max_tries=3, try_number=3), phase=FETCHED)
    write(tmp_path, later.fetched(Result(completed.request_id, completed.model, ("/v1/x",), {})))
    earlier = one_job(tmp_path, kept(), max_tries=2, regenerates=True)
    job = Job.of({"model": "veo-3.1", "request_id": "earlier"})
    assert earlier.fetch(known(job, order="one", max_tries=2)).job == completed
    assert simulator.ledger.count("result") == 0
    assert manifest(tmp_path).job == completed


def test_an_execution_after_a_clear_takes_what_the_one_before_has_paid_for_meanwhile(simulator, completed, tmp_path):
    earlier = replace(known(completed, order="one"), phase=FETCHED)
    write(tmp_path, earlier.fetched(Result(completed.request_id, completed.model, ("/v1/x",), {})))
    later = one_job(tmp_path, None, max_tries=1)
    job = Job.of({"model": "veo-3.1", "request_id": "later"})
    assert later.fetch(known(job, order="one", max_tries=1)).job == completed
    assert simulator.ledger.count("result") == 0


def test_a_clear_for_a_fresh_generation_pays_whatever_the_execution_before_has_paid_for(simulator, completed, tmp_path):
    before = Job.of({"model": "veo-3.1", "request_id": "before"})
    write(tmp_path, JobRecord(before, order="one").fetched(Result("before", "veo-3.1", ("/v1/x",), {})))
    later = one_job(tmp_path, None, max_tries=1, regenerates=True)
    assert later.fetch(known(completed, order="one", max_tries=1)).job == completed
    assert simulator.ledger.count("result") == 1


def test_what_another_execution_has_paid_for_is_kept_as_ones_own(completed, tmp_path):
    there = one_job(tmp_path, None)
    there.download(there.fetch(known(completed, order="one")))
    kept = Kept()
    late = one_job(tmp_path, kept)
    late.download(late.fetch(known(Job.of({"model": "veo-3.1", "request_id": "late"}), order="one")))
    assert late.store.state.get().job == completed


# Whose order it is


def test_a_download_that_rescues_a_job_at_its_own_place_leaves_the_task_its_order(simulator, completed, tmp_path):
    own = one_job(tmp_path, Kept(), max_tries=2)
    own.store.state.put(own.store.state.stamped(known(completed, order="one", submitted_at=1.0)))
    rescue = one_job(tmp_path, None, task=ANOTHER)
    rescue.download(rescue.fetch(known(completed, task=ANOTHER)))
    found = own.recall()
    assert (found.phase, found.order, found.max_tries, found.submitted_at) == (LANDED, "one", 2, 1.0)
    assert own.store.state.get() == found
    own.store.check(completed.request_id, 1)
    assert own.download(own.fetch(found)).order == "one"
    assert (simulator.ledger.count("result"), simulator.ledger.count("content")) == (1, 1)


@pytest.mark.parametrize("asked", [True, False], ids=["paid for", "claimed"])
def test_who_only_lands_a_job_leaves_its_manifest_to_the_task_that_ordered_it(completed, tmp_path, asked):
    own = one_job(tmp_path, None, max_tries=2)
    begun = known(completed, order="one", request={"prompt": "a lighthouse"}, submitted_at=1.0)
    if asked:
        own.fetch(begun)
    else:
        own.store.release(begun)
    rescue = one_job(tmp_path, None, task=ANOTHER)
    fetched = rescue.fetch(rescue.recall(completed) if asked else known(completed, task=ANOTHER))
    one_job(tmp_path, None, task=ANOTHER).download(fetched)  # in a later try, which has it from the task state
    left = Manifest(f"{tmp_path}/clip.modelmax.json").get()
    assert (left.task, left.request, left.order) == (TASK, {"prompt": "a lighthouse"}, "one")
    assert one_job(tmp_path, None).recall(completed).phase == LANDED


def test_who_lands_a_job_for_another_task_does_not_replace_what_that_one_has_paid_for_since(completed, tmp_path):
    own = one_job(tmp_path, None)
    own.store.release(known(completed, order="one", submitted_at=1.0))
    rescue = one_job(tmp_path, None, task=ANOTHER)
    found = rescue.recall(completed)
    since = known(Job.of({"model": "veo-3.1", "request_id": "since"}), order="two")
    write(tmp_path, since.fetched(Result("since", "veo-3.1", ("/v1/x",), {})))
    with pytest.raises(DestinationError, match="is taken by job since"):
        rescue.fetch(found)
    with pytest.raises(DestinationError, match="is taken by job since"):
        rescue.download(found.fetched(Result(completed.request_id, completed.model, ("/v1/x",), {})))
    assert manifest(tmp_path).job.request_id == "since"


def test_a_job_that_failed_after_its_result_was_claimed_stays_failed(completed, tmp_path):
    here = one_job(tmp_path, Kept())
    here.store.put(known(completed))
    here.store.state.put(known(completed).failed("content policy violation"))
    assert here.recall().is_failed


def test_a_service_that_wants_more_than_a_minute_is_left_to_airflows_retry(simulator, completed, tmp_path):
    here = one_job(tmp_path, None)
    fetched = here.fetch(known(completed))
    simulator.fault("content", "error", status=429, retry_after=61)
    with pytest.raises(api.TemporaryError):
        here.download(fetched)
    assert simulator.ledger.count("content") == 1


def test_a_killed_download_leaves_nothing_half_written(simulator, completed, tmp_path):
    simulator.settings.filler_bytes = 64 * 1024 * 1024
    here = one_job(tmp_path, Kept())
    fetched = here.fetch(known(completed))
    here.cancel.cancel()
    with pytest.raises(Cancelled):
        here.download(fetched)
    assert [file.name for file in tmp_path.iterdir()] == ["clip.modelmax.json"]
    assert fetched.phase != SUBMITTED
