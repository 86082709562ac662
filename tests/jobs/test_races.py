"""Several processes on one manifest: one fetches the result, and manifest and video are of one job at the end."""

from __future__ import annotations

import hashlib
import itertools
import json
import threading
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from airflow_provider_modelmax.api import Job, Result, StorageError
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs import lease as asker
from airflow_provider_modelmax.jobs.cancellation import Cancelled
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import FETCHED, FETCHING, LANDED, JobRecord
from airflow_provider_modelmax.storage import objects as storage
from airflow_provider_modelmax.storage.objects import create_json
from tests.jobs.conftest import ANOTHER, DEAD, ELSEWHERE, TASK, OneJob, claimed, known, manifest, one_job, write
from tests.operators.conftest import Kept

RUN_2 = {**TASK, "run_id": "r2"}
SHORT = {"duration_seconds": 1, "generate_audio": False}


def in_threads(*calls: Any) -> list[BaseException]:
    errors: list[BaseException] = []

    def run(call: Any) -> None:
        try:
            call()
        except BaseException as error:
            errors.append(error)

    threads = [threading.Thread(target=run, args=(call,)) for call in calls]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    return errors


def claims(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.glob("*.claim-*"))


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


# The billing call


@pytest.mark.parametrize("takers", [2, 8])
def test_a_dead_lease_is_taken_over_by_one_process_also_where_writing_the_manifest_is_slow(
    simulator, completed, tmp_path, monkeypatch, takers
):
    dead = write(tmp_path, claimed(completed, DEAD))
    written, slow = Manifest.put, threading.local()

    def write_slowly(self: Manifest, record: JobRecord) -> None:
        time.sleep(getattr(slow, "seconds", 0))
        slow.seconds = 0
        written(self, record)

    monkeypatch.setattr(Manifest, "put", write_slowly)
    simulator.fault("result", "slow_answer", seconds=2)

    def run(seconds: float) -> None:
        slow.seconds = seconds
        here = one_job(tmp_path, None)
        here.download(here.fetch(dead))

    assert in_threads(*(lambda seconds=1.6 * (1 - i % 2): run(seconds) for i in range(takers))) == []
    assert len(simulator.ledger.bills) == 1
    assert manifest(tmp_path).phase == LANDED


@pytest.mark.parametrize("expired", [True, False], ids=["expired", "process is gone"])
def test_a_generation_whose_process_died_before_it_wrote_the_manifest_is_skipped(
    simulator, completed, tmp_path, expired
):
    dead = write(tmp_path, claimed(completed, DEAD))
    for generation in (1, 2):
        owner, expires = (ELSEWHERE, time.time() - 1) if expired else (DEAD, time.time() + 60)
        create_json(f"{tmp_path}/clip.modelmax.json.claim-{generation}", {"owner": owner, "expires": expires})
    here = one_job(tmp_path, None)
    fetched = here.fetch(dead)
    assert (fetched.attempts, manifest(tmp_path).generation) == (2, 3)
    here.download(fetched)
    assert len(simulator.ledger.bills) == 1
    assert claims(tmp_path) == []


def test_a_generation_whose_process_is_about_to_write_the_manifest_is_waited_for(simulator, completed, tmp_path):
    dead = write(tmp_path, claimed(completed, DEAD))
    create_json(f"{tmp_path}/clip.modelmax.json.claim-1", {"owner": ELSEWHERE, "expires": time.time() + 60})
    won = replace(claimed(completed, ELSEWHERE), generation=1)
    done = won.fetched(Result(completed.request_id, completed.model, ("/v1/x",), {}))
    threading.Timer(0.3, write, [tmp_path, won]).start()
    threading.Timer(0.6, write, [tmp_path, done]).start()
    assert one_job(tmp_path, None).fetch(dead).result == done.result
    assert simulator.ledger.count("result") == 0


def test_a_process_that_comes_late_does_not_take_over_what_has_landed_and_was_cleaned_up(
    simulator, completed, tmp_path, monkeypatch
):
    """It has read the manifest before, and creates the generation that was removed since."""
    dead = write(tmp_path, claimed(completed, DEAD))
    create, late = storage.create_json, one_job(tmp_path, None)

    def after_another_has_landed(uri: str, document: Any) -> bool:
        if uri.endswith(".claim-1"):
            monkeypatch.setattr(asker, "create_json", create)
            first = one_job(tmp_path, None)
            first.download(first.fetch(dead))
            assert claims(tmp_path) == []
        return create(uri, document)

    monkeypatch.setattr(asker, "create_json", after_another_has_landed)
    assert late.fetch(dead).phase == LANDED
    assert len(simulator.ledger.bills) == 1


def test_the_lease_leaves_nothing_behind(completed, tmp_path):
    over = write(tmp_path, claimed(completed, DEAD))
    here = one_job(tmp_path, None)
    here.download(here.fetch(over))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["clip.modelmax.json", "clip.mp4"]


def test_a_store_that_lets_nobody_delete_fails_nothing(completed, tmp_path, monkeypatch):
    def refuse(uri: str) -> None:
        raise StorageError(f"{uri}: AccessDenied")

    monkeypatch.setattr(asker, "remove", refuse)
    for run in range(3):
        here = one_job(tmp_path, None, overwrite=True, task={**TASK, "run_id": f"r{run}"})
        job = ModelMaxHook().submit_video("veo-3.1-fast", f"a lighthouse {run}", SHORT)
        assert here.download(here.fetch(known(job, task=here.store.task))).phase == LANDED
        assert manifest(tmp_path).job == job


def test_a_call_that_is_over_does_not_replace_the_result_of_the_process_that_took_over(
    simulator, completed, tmp_path, short_pauses
):
    """The lease of the first has expired, its answer is lost, and the second has fetched the result meanwhile."""
    kept = Kept()
    first, second = one_job(tmp_path, kept), one_job(tmp_path, kept)
    with asker.new_owner() as name:
        past = time.time() - 1
        began = known(completed)
        asking = first.store.acquire(began, began.requesting(name, expires=past, busy_until=past))
        fetched = second.fetch(manifest(tmp_path))
        first.store.release(asking.lost())
    assert manifest(tmp_path).result == first.store.state.get().result == fetched.result


def test_a_process_that_lost_its_lease_sends_no_second_attempt(simulator, completed, tmp_path, short_pauses):
    first, second = one_job(tmp_path, None), one_job(tmp_path, None)
    result = Result(completed.request_id, completed.model, ("/v1/x",), {})
    simulator.fault("result", "error", status=503)

    def another_takes_over(seconds: float) -> None:
        if seconds and not manifest(tmp_path).result:
            write(tmp_path, replace(claimed(completed, ELSEWHERE), generation=1).fetched(result))

    first.cancel.pause = another_takes_over  # type: ignore[method-assign]
    assert first.fetch(known(completed)).result == result
    assert simulator.ledger.count("result") == 1
    assert second.fetch(known(completed)).result == result


@pytest.mark.parametrize("overwrite", [False, True])
@pytest.mark.parametrize("number", [1, 2])
def test_a_lease_whose_creation_was_not_answered_is_held(
    simulator, completed, tmp_path, monkeypatch, number, overwrite
):
    """The library sends the request again, and the store refuses it then: the object exists."""
    create, created = storage.create_json, itertools.count(1)

    def without_answer(uri: str, document: Any) -> bool:
        return create(uri, document) and next(created) != number

    monkeypatch.setattr(asker, "create_json", without_answer)
    dead = write(tmp_path, claimed(completed, DEAD))
    here = one_job(tmp_path, None, overwrite=overwrite)
    monkeypatch.setattr(here.cancel, "pause", lambda seconds: seconds and pytest.fail("it waits"))
    here.download(here.fetch(dead))
    assert (len(simulator.ledger.bills), claims(tmp_path)) == (1, [])


def test_a_task_that_is_killed_while_it_waits_for_another_process_ends(completed, tmp_path):
    dead = write(tmp_path, claimed(completed, DEAD))
    create_json(f"{tmp_path}/clip.modelmax.json.claim-1", {"owner": ELSEWHERE, "expires": time.time() + 60})
    here = one_job(tmp_path, None)
    threading.Timer(0.3, here.cancel.cancel).start()
    with pytest.raises(Cancelled):
        here.fetch(dead)


# The task state


def test_an_execution_that_takes_a_job_up_keeps_what_another_has_stored_meanwhile(
    simulator, completed, tmp_path, monkeypatch
):
    """The first pays, but its manifest cannot be written; the second has read the state before."""
    kept = Kept()
    first, second = one_job(tmp_path, kept), one_job(tmp_path, kept)
    first.store.state.try_number, second.store.state.try_number = 1, 2
    first.store.state.put(first.store.state.stamped(known(completed, submitted_at=time.time())))
    read_before = second.recall(completed)
    with monkeypatch.context() as broken:

        def refuse(self: Manifest, record: JobRecord) -> None:
            if record.result:
                raise StorageError("the store is down")

        broken.setattr(Manifest, "put", refuse)
        broken.setattr("airflow_provider_modelmax.jobs.store.time.sleep", lambda _: None)
        with pytest.raises(StorageError):
            first.fetch(first.recall(completed))
    taken_up = second.store.state.adopt(read_before)
    assert taken_up.try_number == 2
    assert second.fetch(taken_up).result
    assert len(simulator.ledger.bills) == 1


@pytest.mark.parametrize("what", ["begun", "failed", "landed"])
def test_an_execution_that_lives_on_does_not_replace_the_job_of_a_later_one(completed, tmp_path, what):
    kept = Kept()
    later, earlier = one_job(tmp_path, kept, max_tries=3), one_job(tmp_path, kept)
    later.store.state.try_number, earlier.store.state.try_number = 2, 1
    job = Job.of({"model": "veo-3.1", "request_id": "later"})
    paid = later.store.state.stamped(known(job)).fetched(Result("later", "veo-3.1", ("/v1/x",), {}))
    later.store.state.put(paid)
    mine = earlier.store.state.stamped(known(completed))
    earlier.store.state.put(
        {"begun": mine, "failed": mine.failed("policy"), "landed": replace(mine, phase=LANDED)}[what]
    )
    assert later.store.state.get() == paid


# One object for several jobs


class Contents:
    """Lets another job land while a video of the first is under way: before its last bytes are published."""

    def __init__(self, hook: ModelMaxHook, then: Any) -> None:
        self.open, self.then = hook.stream_content, then

    @contextmanager
    def __call__(self, url: str) -> Any:
        with self.open(url) as content:
            yield replace(content, chunks=self._chunks(content.chunks))

    def _chunks(self, chunks: Any) -> Any:
        yield from chunks
        self.then(None)


def two_runs(tmp_path: Path, stores: Any, samples: int = 1) -> tuple[list[OneJob], list[JobRecord]]:
    hook = ModelMaxHook()
    runs, fetched = [], []
    for number, (run, prompt) in enumerate(((TASK, "a lighthouse"), (RUN_2, "a red kite")), 1):
        body = {"duration_seconds": number, "generate_audio": False, "sample_count": samples}
        here = one_job(tmp_path, stores(), overwrite=True, task=run)
        runs.append(here)
        fetched.append(here.fetch(known(hook.submit_video("veo-3.1-fast", prompt, body), task=run)))
    return runs, fetched


def are_of_one_job(tmp_path: Path) -> bool:
    there = manifest(tmp_path)
    return there.phase == LANDED and all(sha256(Path(each.uri)) == each.sha256 for each in there.videos)


STORES = pytest.mark.parametrize("stores", [Kept, lambda: None], ids=["task state", "manifest only"])


@STORES
@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("when", ["before", "while it downloads", "after its video", "before its manifest", "after"])
def test_manifest_and_video_are_of_one_job_whenever_another_run_lands_there(
    simulator, completed, tmp_path, monkeypatch, stores, when, first
):
    runs, fetched = two_runs(tmp_path, stores)
    a, b = runs[first], runs[1 - first]
    landed_b: list[Any] = []

    def land_b(_: object) -> None:
        if not landed_b:
            landed_b.append(None)
            b.download(fetched[1 - first])

    if when == "before":
        land_b(None)
    if when == "while it downloads":
        monkeypatch.setattr(a.hook, "stream_content", Contents(a.hook, land_b))
    if when == "after its video":
        look = storage._check_stored
        monkeypatch.setattr(storage, "_check_stored", lambda *given: (land_b(None), look(*given))[1])
    if when == "before its manifest":
        publish = a.store.publish
        monkeypatch.setattr(a.store, "publish", lambda *given: (land_b(None), publish(*given))[1])
    a.download(fetched[first])
    if when == "after":
        land_b(None)
    assert are_of_one_job(tmp_path)
    last = a if when in {"before", "while it downloads"} else b
    assert manifest(tmp_path).job == fetched[first if last is a else 1 - first].job
    assert len(simulator.ledger.bills) == 2


@STORES
@pytest.mark.parametrize("when", ["while it downloads", "before its manifest"])
def test_manifest_and_video_are_of_one_job_if_only_the_other_run_may_overwrite(
    completed, tmp_path, monkeypatch, stores, when
):
    (a, b), (of_a, of_b) = two_runs(tmp_path, stores)
    a.store.overwrite = False
    write(tmp_path, of_a)
    if when == "while it downloads":
        monkeypatch.setattr(a.hook, "stream_content", Contents(a.hook, lambda _: b.download(of_b)))
    else:
        publish = a.store.publish
        monkeypatch.setattr(a.store, "publish", lambda *given: (b.download(of_b), publish(*given))[1])
    a.download(of_a)
    assert are_of_one_job(tmp_path)
    assert manifest(tmp_path).job == (of_a if when == "while it downloads" else of_b).job
    assert claims(tmp_path) == []


@STORES
@pytest.mark.parametrize("killed", ["before its video", "before its manifest"])
@pytest.mark.parametrize("other_first", [True, False])
def test_manifest_and_video_are_of_one_job_after_the_retry_of_a_run_that_was_killed_there(
    completed, tmp_path, monkeypatch, stores, killed, other_first
):
    """The retry of a run whose manifest is another's by now knows its result from the task state only."""
    (a, b), (of_a, of_b) = two_runs(tmp_path, stores)
    if other_first:
        b.download(of_b)

    class Killed(BaseException):
        pass

    def kill(*_: object) -> Any:
        raise Killed

    with monkeypatch.context() as patched:
        if killed == "before its video":
            patched.setattr(a.hook, "stream_content", Contents(a.hook, kill))
        else:
            patched.setattr(a.store, "publish", kill)
        with pytest.raises(Killed):
            a.download(of_a)
    if not other_first:
        b.download(of_b)
        assert are_of_one_job(tmp_path)
    a.download(of_a)
    assert are_of_one_job(tmp_path)
    assert manifest(tmp_path).job == of_a.job


def test_of_several_samples_all_are_of_the_job_that_the_manifest_names(completed, tmp_path, monkeypatch):
    """Each run overwrites one video of the other, after both have begun."""
    (a, b), (of_a, of_b) = two_runs(tmp_path, Kept, samples=2)
    publish = a.store.publish

    def overwrite_one(*given: Any) -> Any:
        monkeypatch.setattr(a.store, "publish", publish)
        b.download(of_b)
        lone = tmp_path / "alone"
        lone.mkdir()
        alone = one_job(lone, None)
        videos = alone.download(of_a).videos
        Path(f"{tmp_path}/clip-1.mp4").write_bytes(Path(videos[1].uri).read_bytes())
        return publish(*given)

    monkeypatch.setattr(a.store, "publish", overwrite_one)
    a.download(of_a)
    assert are_of_one_job(tmp_path)
    assert manifest(tmp_path).job == of_a.job


@STORES
def test_manifest_and_video_are_of_one_job_after_any_run_of_threads(completed, tmp_path, monkeypatch, stores):
    (a, b), (of_a, of_b) = two_runs(tmp_path, stores)
    written, turns = Manifest.put, itertools.cycle([0.0, 0.05, 0.1, 0.02])

    def write_late(self: Manifest, record: JobRecord) -> None:
        time.sleep(next(turns))
        written(self, record)

    monkeypatch.setattr(Manifest, "put", write_late)
    for _ in range(6):
        assert in_threads(lambda: a.download(of_a), lambda: b.download(of_b)) == []
        assert are_of_one_job(tmp_path)
    assert claims(tmp_path) == []


def test_a_result_that_comes_after_another_run_took_the_object_over_leaves_its_manifest(simulator, completed, tmp_path):
    a = one_job(tmp_path, Kept(), overwrite=True)
    b = one_job(tmp_path, Kept(), overwrite=True, task=RUN_2)
    of_b = ModelMaxHook().submit_video("veo-3.1-fast", "a red kite", SHORT)
    simulator.fault("result", "slow_answer", seconds=0.6, times=1)
    thread = threading.Thread(target=a.fetch, args=(known(completed),))
    thread.start()
    while not simulator.ledger.count("result"):
        time.sleep(0.01)
    b.download(b.fetch(known(of_b, task=RUN_2)))
    thread.join()
    assert a.store.state.get().phase == FETCHED
    assert (manifest(tmp_path).job, manifest(tmp_path).phase) == (of_b, LANDED)


def test_a_run_whose_manifest_is_taken_over_between_two_attempts_fetches_its_own_result(
    simulator, completed, tmp_path, short_pauses
):
    a = one_job(tmp_path, Kept(), overwrite=True)
    b = one_job(tmp_path, Kept(), overwrite=True, task=RUN_2)
    of_b = ModelMaxHook().submit_video("veo-3.1-fast", "a red kite", SHORT)
    simulator.fault("result", "error", status=429, retry_after=1, times=1)
    fetched_b: list[JobRecord] = []

    def b_fetches(seconds: float) -> None:
        if seconds and not fetched_b:
            fetched_b.append(b.fetch(known(of_b, task=RUN_2)))

    a.cancel.pause = b_fetches  # type: ignore[method-assign]
    of_a = a.fetch(known(completed))
    a.download(of_a)
    b.download(fetched_b[0])
    assert (of_a.attempts, len(simulator.ledger.bills)) == (1, 2)
    assert are_of_one_job(tmp_path)
    assert manifest(tmp_path).job == of_b


def test_what_another_task_stores_of_the_job_tells_no_order_of_this_one(completed, tmp_path):
    lost = write(tmp_path, known(completed, attempts=1, phase=FETCHING), ANOTHER)
    own = one_job(tmp_path, Kept(), max_tries=2)
    own.store.state.put(own.store.state.stamped(known(completed, order="one", submitted_at=1.0)))
    won = lost.fetched(Result(completed.request_id, completed.model, ("/v1/x",), {}))
    create_json(f"{tmp_path}/clip.modelmax.json.claim-1", {"owner": ELSEWHERE, "expires": time.time() + 60})
    threading.Timer(0.3, write, [tmp_path, replace(won, generation=1), ANOTHER]).start()
    found = own.fetch(own.recall())
    assert (found.order, found.max_tries) == ("one", 2)
    assert json.loads((tmp_path / "clip.modelmax.json").read_text())["task"] == ANOTHER
