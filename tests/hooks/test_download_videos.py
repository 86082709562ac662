"""Landing the videos of a result with the hook alone."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import BrokenVideoError, DestinationError
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.hooks.conftest import SHORT


@pytest.fixture
def result(hook: ModelMaxHook, simulator) -> api.Result:
    """Return a result of two videos, paid for."""
    simulator.settings.run_seconds = 0
    job = hook.submit_video("veo-3.1", "a boat", {**SHORT, "sample_count": 2})
    return hook.get_result(job)


def files(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def test_the_videos_of_a_result_land_in_a_folder_under_the_name_of_their_job(hook, result, simulator, tmp_path):
    uris = hook.download_videos(result, f"{tmp_path}/Vidéos 灯台/")
    assert [Path(uri) for uri in uris] == sorted((tmp_path / "Vidéos 灯台").iterdir())
    assert [Path(uri).name[-6:] for uri in uris] == ["-0.mp4", "-1.mp4"]
    assert hook.download_videos(result.as_dict(), f"{tmp_path}/Vidéos 灯台/") == uris  # again, into the same folder
    assert len(simulator.ledger.bills) == 1


def test_the_videos_land_at_an_exact_object_that_is_free(hook, result, tmp_path):
    hook.download_videos(result, f"{tmp_path}/take.mp4")
    assert files(tmp_path) == ["take-0.mp4", "take-1.mp4"]


def test_what_is_there_is_replaced_only_where_that_is_wanted(hook, result, simulator, tmp_path):
    (tmp_path / "take-1.mp4").write_bytes(b"of somebody else")
    with pytest.raises(DestinationError, match=r"take-1\.mp4 exists already, and was left as it is\. .*overwrite=True"):
        hook.download_videos(result, f"{tmp_path}/take.mp4")
    assert files(tmp_path) == ["take-1.mp4"]
    assert simulator.ledger.count("content") == 0
    hook.download_videos(result, f"{tmp_path}/take.mp4", overwrite=True)
    assert (tmp_path / "take-1.mp4").stat().st_size > 1000


@pytest.mark.parametrize(
    "fault",
    [
        {"kind": "cut_body"},
        {"kind": "corrupt_body"},
        {"kind": "not_a_video"},
        {"kind": "error", "status": 500},
        {"kind": "error", "status": 404, "message": "not yet"},
    ],
)
def test_a_broken_video_is_downloaded_again(hook, result, simulator, tmp_path, log, slept, fault):
    simulator.fault("content", times=3, **fault)
    uris = hook.download_videos(result, f"{tmp_path}/")
    assert all(Path(uri).stat().st_size > 1000 for uri in uris)
    assert simulator.ledger.count("content") == 5
    assert len(slept) == 3
    assert [line[:15] for line in log if line.startswith("Attempt")] == [f"Attempt {n} of 4 " for n in "123"]


def test_a_video_that_stays_broken_leaves_nothing_and_does_not_keep_the_others_from_landing(
    hook, result, simulator, tmp_path, slept
):
    simulator.fault("content", "corrupt_body", times=4)
    with pytest.raises(BrokenVideoError):
        hook.download_videos(result, f"{tmp_path}/take.mp4")
    assert files(tmp_path) == ["take-1.mp4"]
    assert simulator.ledger.count("content") == 5


def test_a_video_without_a_url_is_named_once_the_others_have_landed(hook, result, tmp_path):
    half = api.Result(result.request_id, result.model, (result.urls[0], ""), result.usage)
    with pytest.raises(api.UnusableResultError, match=r"no usable URL for .*take-1\.mp4, and is paid for"):
        hook.download_videos(half, f"{tmp_path}/take.mp4")
    assert files(tmp_path) == ["take-0.mp4"]


# Wrong input, before anything is sent


@pytest.mark.parametrize(
    "call",
    [
        lambda hook, job: hook.get_status(None),
        lambda hook, job: hook.get_status({"request_id": "x"}),
        lambda hook, job: hook.get_result("job"),
        lambda hook, job: hook.get_result(job, pause=5),
        lambda hook, job: hook.submit_video("veo-3.1", "a boat", pause=5),
        lambda hook, job: hook.submit_video("veo-3.1", None),
        lambda hook, job: hook.wait(job, deadline=3600),
        lambda hook, job: hook.wait(job, deadline="1h"),
        lambda hook, job: hook.wait(job, deadline=timedelta(0)),
        lambda hook, job: hook.wait(job, poll_interval="5"),
        lambda hook, job: hook.wait(job, pause=5),
        lambda hook, job: hook.wait(5),
        lambda hook, job: hook.stream_content(None),
        lambda hook, job: hook.stream_content(""),
        lambda hook, job: hook.stream_content(["/content"]),
        lambda hook, job: hook.download_videos(None, "/tmp/videos/"),
        lambda hook, job: hook.download_videos({"data": 3}, "/tmp/videos/"),
        lambda hook, job: hook.download_videos([], "/tmp/videos/"),
        lambda hook, job: hook.download_videos(RESULT, ""),
        lambda hook, job: hook.download_videos(RESULT, None),
        lambda hook, job: hook.download_videos(RESULT, "/tmp/videos/", overwrite="no"),
        lambda hook, job: hook.download_videos(RESULT, "/tmp/videos/", pause=5),
    ],
    ids=range(22),
)
def test_wrong_input_is_refused_before_anything_is_sent(hook, job, simulator, call):
    before = len(simulator.ledger.calls())
    with pytest.raises(api.InvalidInputError):
        call(hook, job)
    assert len(simulator.ledger.calls()) == before


RESULT = api.Result("id", "veo-3.1", ("/content",), {})


# Waiting, and streaming


def test_a_wait_needs_no_deadline_and_takes_a_duration(hook, job):
    assert hook.wait(job).status == hook.wait(job, deadline=timedelta(minutes=1)).status == "COMPLETED"


def test_a_stream_is_for_with_and_for_iteration(hook, result, simulator):
    def digest(chunks: object) -> str:
        return hashlib.sha256(b"".join(chunks)).hexdigest()

    with hook.stream_content(result.urls[0]) as content:
        assert content.size > 1000
        first = digest(content.chunks)
    with hook.stream_content(result.urls[0]) as content:
        assert digest(content) == first
    assert digest(hook.stream_content(result.urls[0])) == first
    before = simulator.ledger.count("content")
    hook.stream_content(result.urls[0])
    assert simulator.ledger.count("content") == before  # nothing is requested before it is used
