"""Who may make the billing call, and until when: renewed while it works, taken over when it has expired."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_modelmax.jobs import lease
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import LANDED, JobRecord
from tests.jobs.conftest import DEAD, ELSEWHERE, TASK, OneJob, claimed, known, manifest, one_job, write
from tests.operators.conftest import Kept


@pytest.fixture
def short_lease(monkeypatch: pytest.MonkeyPatch) -> None:
    from airflow_provider_modelmax.jobs import fetch

    for module in (lease, fetch):
        monkeypatch.setattr(module, "RENEW_SECONDS", 0.2)
        monkeypatch.setattr(module, "LEASE_SECONDS", 0.6)


def as_seen_elsewhere(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let no process be looked for: in Kubernetes each task runs on a machine of its own."""
    monkeypatch.setattr(lease, "is_alive", lambda owner, expires: bool(owner) and time.time() < expires)


def both_fetch(simulator: Any, tmp_path: Path, record: JobRecord) -> tuple[OneJob, OneJob]:
    """Let one process begin a call of 2 s, and another ask for the same result after 0.5 s."""
    simulator.fault("result", "slow_answer", seconds=2, times=1)
    first, second = one_job(tmp_path, None), one_job(tmp_path, None)
    thread = threading.Thread(target=first.fetch, args=(record,))
    thread.start()
    time.sleep(0.5)
    assert second.fetch(manifest(tmp_path)).result
    thread.join()
    return first, second


def test_a_lease_lasts_for_30_seconds_and_is_renewed_every_10():
    assert (lease.LEASE_SECONDS, lease.RENEW_SECONDS) == (30, 10)


def test_a_call_that_takes_longer_than_its_lease_is_not_taken_over(
    simulator, completed, tmp_path, monkeypatch, short_lease
):
    as_seen_elsewhere(monkeypatch)
    first, second = both_fetch(simulator, tmp_path, known(completed))
    assert simulator.ledger.count("result") == 1
    assert second.download(manifest(tmp_path)).phase == LANDED
    first.download(manifest(tmp_path))
    assert list(tmp_path.glob("*.claim-*")) == []


def test_a_process_that_died_elsewhere_is_waited_for_until_its_lease_expires_and_no_longer(completed, tmp_path):
    until = time.time() + 1
    write(tmp_path, known(completed).requesting(ELSEWHERE, expires=until, busy_until=until + 600))
    here = one_job(tmp_path, Kept())
    assert here.fetch(here.recall(completed)).attempts == 2
    assert until - 0.1 < time.time() < until + 5  # as it is rounded


def test_a_call_of_0_1_0_which_renews_nothing_is_waited_for_until_it_is_over_at_the_latest(completed, tmp_path):
    document = {**Manifest("x").document(claimed(completed, ELSEWHERE, seconds=1)), "task": TASK}
    del document["lease_expires"]
    (tmp_path / "clip.modelmax.json").write_text(json.dumps(document))
    here, began = one_job(tmp_path, None), time.time()
    assert here.fetch(here.recall(completed)).attempts == 2
    assert time.time() - began > 0.8


def test_0_1_0_finds_the_process_and_the_end_of_its_call_under_the_names_that_it_knows(simulator, completed, tmp_path):
    seen: dict[str, Any] = {}
    simulator.fault("result", "slow_answer", seconds=0.5, times=1)
    here = one_job(tmp_path, None)
    thread = threading.Thread(target=here.fetch, args=(known(completed),))
    thread.start()
    deadline = time.monotonic() + 5
    while not seen.get("asker") and time.monotonic() < deadline:
        if (tmp_path / "clip.modelmax.json").exists():
            seen = json.loads((tmp_path / "clip.modelmax.json").read_text())
    thread.join()
    assert seen["asker"]
    assert seen["busy_until"] > time.time() + here.hook.answer_seconds - 10
    assert seen["lease_expires"] < time.time() + 31


def test_a_renewal_that_the_store_refuses_fails_nothing(simulator, completed, tmp_path, monkeypatch, short_lease):
    from airflow_provider_modelmax.api import StorageError

    def refuse(uri: str, document: Any) -> None:
        raise StorageError("the store is down")

    monkeypatch.setattr(lease, "save_json", refuse)
    simulator.fault("result", "slow_answer", seconds=0.5, times=1)
    assert one_job(tmp_path, None).fetch(known(completed)).result
    assert simulator.ledger.count("result") == 1


@pytest.mark.parametrize(
    "place", ["another-boot pid:[4026531836]", "pid:[4026531836]"], ids=["another machine", "another container"]
)
def test_a_process_of_another_machine_of_this_name_is_not_looked_for_here(place):
    until = time.time() + 60
    assert lease.is_alive(f"{DEAD.split()[0]} {place}:4194305:12345678", until)
    assert not lease.is_alive(DEAD, until)


def test_a_lease_is_renewed_also_beside_a_manifest_that_was_deleted_since(
    simulator, completed, tmp_path, monkeypatch, short_lease
):
    as_seen_elsewhere(monkeypatch)
    both_fetch(simulator, tmp_path, known(completed, generation=3))
    assert simulator.ledger.count("result") == 1


def test_a_renewal_that_fails_is_followed_by_the_next(simulator, completed, tmp_path, monkeypatch, short_lease):
    as_seen_elsewhere(monkeypatch)
    save, failures = lease.save_json, [RuntimeError("no such connection")]

    def save_or_fail(*given: Any) -> None:
        if failures:
            raise failures.pop()
        save(*given)

    monkeypatch.setattr(lease, "save_json", save_or_fail)
    both_fetch(simulator, tmp_path, known(completed))
    assert (simulator.ledger.count("result"), failures) == (1, [])
