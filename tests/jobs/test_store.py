"""What is stored of a job, in task state and manifest: whose the destination is, and which record is found again."""

from __future__ import annotations

import threading
from dataclasses import replace

import pytest

from airflow_provider_modelmax.api import (
    DestinationError,
    Job,
    Result,
)
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import FETCHED, LANDED, JobRecord
from tests.jobs.conftest import ANOTHER, DEAD, ELSEWHERE, TASK, claimed, known, manifest, one_job, state, write
from tests.operators.conftest import Kept

STORES = pytest.mark.parametrize("kept", [Kept, lambda: None], ids=["task state", "manifest only"])


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
