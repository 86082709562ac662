"""The billing call: one of several processes makes it, and its answer is stored whatever breaks around it."""

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
from airflow_provider_modelmax.jobs.record import FETCHED, FETCHING, LANDED, UNUSABLE, JobRecord
from tests.airflow_versions import AirflowTaskTimeout
from tests.jobs.conftest import DEAD, ELSEWHERE, claimed, known, manifest, one_job, state, write
from tests.operators.conftest import Kept

BILLED_TWICE = "may be billed a second time"
STORES = pytest.mark.parametrize("kept", [Kept, lambda: None], ids=["task state", "manifest only"])


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
    assert sum(BILLED_TWICE in each for each in said) == 1


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


def test_fewer_videos_than_were_asked_for_are_told(simulator, completed, tmp_path, caplog):
    one_job(tmp_path, None).fetch(known(completed, samples=3))
    assert "3 videos were asked for, and 1 came." in caplog.text


@pytest.mark.parametrize("samples", [1, None])
def test_as_many_videos_as_were_asked_for_are_nothing_to_tell(simulator, completed, tmp_path, caplog, samples):
    one_job(tmp_path, None).fetch(known(completed, samples=samples))
    assert "were asked for" not in caplog.text
