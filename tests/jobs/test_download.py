"""From a result to whole videos: what is there is not downloaded again, and what cannot be stored says so."""

from __future__ import annotations

from dataclasses import replace

import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import (
    BrokenVideoError,
    DestinationError,
    RefusedError,
    UnusableResultError,
)
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.jobs.cancellation import Cancelled
from airflow_provider_modelmax.jobs.record import FETCHED, LANDED, SUBMITTED, JobRecord
from airflow_provider_modelmax.storage.objects import Saved
from tests.jobs.conftest import ANOTHER, known, manifest, one_job, state, write
from tests.operators.conftest import Kept

STORES = pytest.mark.parametrize("kept", [Kept, lambda: None], ids=["task state", "manifest only"])


def test_what_has_landed_is_kept_as_landed(completed, tmp_path):
    kept = Kept()
    here = one_job(tmp_path, kept)
    landed = here.download(here.fetch(known(completed)))
    assert landed.phase == LANDED
    assert state(kept).get() == landed == manifest(tmp_path)


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


def test_a_job_whose_overwritten_video_could_not_be_downloaded_again_has_not_landed(
    simulator, modelmax_conn, tmp_path, monkeypatch
):
    simulator.settings.run_seconds = 0
    order = {"duration_seconds": 1, "generate_audio": False, "sample_count": 2}
    here = one_job(tmp_path, None)
    fetched = here.fetch(known(ModelMaxHook(modelmax_conn).submit_video("veo-3.1-fast", "a lighthouse", order)))

    def overwritten(landed: JobRecord, *_: object) -> list[Saved]:
        (tmp_path / "clip-0.mp4").unlink()
        simulator.fault("content", "error", status=400, type="bad_request", times=1)
        return [landed.videos[0]]

    monkeypatch.setattr(here.store, "publish", overwritten)
    with pytest.raises(RefusedError):
        here.download(fetched)
    there = manifest(tmp_path)
    assert (there.phase, len(there.videos)) == (FETCHED, 1)
