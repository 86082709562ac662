"""Generate, run by Airflow against the simulator: one table of scenarios, deferrable and inline."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pytest
from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

from airflow_provider_modelmax.lineage import assets as lineage
from tests.airflow_versions import KEEPS_TASK_STATE
from tests.operators.conftest import IMAGE
from tests.stores import STORES

WAYS = ["deferrable", "inline"]
CALLS = ("submit", "result", "content")
SHORT = {"duration_seconds": 1, "generate_audio": False}

pytestmark = [
    pytest.mark.usefixtures("modelmax_conn", "triggers_fire_at_once", "short_pauses"),
    pytest.mark.parametrize("way", WAYS),
]


def counts(simulator: Any) -> list[int]:
    return [simulator.ledger.count(call) for call in CALLS]


def served(simulator: Any) -> set[str]:
    return {video.sha256 for videos in simulator.ledger.videos.values() for video in videos.values()}


def landed(folder: Path) -> dict[str, str]:
    return {file.name: hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(folder.glob("*.mp4"))}


def manifests(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(file.read_text()) for file in folder.glob("*.modelmax.json")]


def test_one_video_costs_one_submit_one_result_and_one_content_call(way, run, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert counts(simulator) == [1, 1, 1]
    assert set(landed(tmp_path / "videos").values()) == served(simulator)


def test_the_xcoms_name_the_job_the_bill_the_manifest_and_the_videos(way, run, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    (bill,) = simulator.ledger.bills
    uris = done.xcom("generate")
    assert [Path(uri).exists() for uri in uris] == [True]
    assert done.xcom("generate", "request_id") == bill.request_id
    assert done.xcom("generate", "usage") == {
        "video_seconds": 1,
        "video_resolution": "720p",
        "video_has_audio": False,
    }
    manifest = json.loads(Path(done.xcom("generate", "manifest")).read_text())
    assert manifest["videos"][0]["uri"] == uris[0]
    assert manifest["request"]["prompt"] == "a lighthouse at dusk"
    assert manifest["task"]["task_id"] == "generate"


def test_a_task_that_has_paid_and_cannot_land_tells_the_bill(way, run, simulator, tmp_path):
    simulator.fault("content", "cut_body")
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert done.xcom("generate", "usage")["video_seconds"] == 1
    assert json.loads(Path(done.xcom("generate", "manifest")).read_text())["phase"] == "fetched"


def test_a_result_that_cannot_be_used_tells_the_bill(way, run, clear, simulator, tmp_path):
    simulator.fault("result", "set_field", field="data", value=[{"error": "filtered"}])
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    for each in (done, clear(done)):
        assert each.state == "failed"
        assert each.xcom("generate", "usage")["video_seconds"] == 1
        assert each.xcom("generate", "manifest")
        assert "ModelMax said: filtered. Billed: video_seconds=1" in each.output
    assert counts(simulator) == [1, 1, 0]


def test_an_xcom_that_airflow_does_not_take_keeps_no_paid_video_from_landing(
    way, run, simulator, tmp_path, monkeypatch
):
    push = RuntimeTaskInstance.xcom_push

    def refuse(self: object, key: str, value: object) -> None:
        if key == "usage":
            raise RuntimeError("the API server is gone")
        push(self, key, value)

    monkeypatch.setattr(RuntimeTaskInstance, "xcom_push", refuse)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success", done.output
    assert "XCom usage could not be pushed: the API server is gone" in done.output
    assert done.xcom("generate", "manifest")


@pytest.mark.parametrize("odd", ["720p\0", "720p\ud83d", 10**30])
def test_a_bill_that_airflow_cannot_store_keeps_no_paid_video_from_landing(way, run, simulator, tmp_path, odd):
    simulator.fault("result", "set_field", field="usage.video_resolution", value=odd)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success", done.output
    assert set(landed(tmp_path / "videos").values()) == served(simulator)
    assert counts(simulator) == [1, 1, 1]


def test_a_task_that_has_landed_does_not_fail_over_lineage(way, run, simulator, tmp_path, monkeypatch):
    def refuse(*_: object, **__: object) -> None:
        raise ValueError("Asset name must only consist of ASCII characters")

    monkeypatch.setattr(lineage, "add_hook_lineage", refuse)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success", done.output
    assert "The lineage could not be pushed: Asset name must only" in done.output


def test_four_samples_land_in_four_files_for_one_bill(way, run, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/clip.mp4", parameters={**SHORT, "sample_count": 4})
    assert counts(simulator) == [1, 1, 4]
    assert done.xcom("generate") == [f"{tmp_path}/clip-{index}.mp4" for index in range(4)]
    assert set(landed(tmp_path).values()) == served(simulator)


def test_a_failed_job_fails_the_task_at_once_and_bills_nothing(way, run, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/", prompt="a duel [fail]")
    assert done.state == "failed"
    assert "content policy violation. Nothing is billed" in done.output
    assert counts(simulator) == [1, 0, 0]
    assert landed(tmp_path / "videos") == {}


@pytest.mark.parametrize(
    ("status", "says"),
    [
        (400, "Correct the request"),
        (401, "Put a valid API key into the password"),
        (402, "This call was not charged. Top up"),
    ],
)
def test_a_hopeless_refusal_of_the_submit_is_sent_once(way, run, simulator, tmp_path, status, says):
    simulator.fault("submit", "error", status=status)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert says in done.output
    assert counts(simulator) == [1, 0, 0]


@pytest.mark.parametrize("kind", ["lost_answer", "reset", "cut_json", "html_200", "missing_field"])
def test_a_submit_without_a_usable_answer_is_sent_again(way, run, simulator, tmp_path, kind):
    simulator.fault("submit", kind, times=1, **({"field": "request_id"} if kind == "missing_field" else {}))
    assert run(f"generate_{way}", destination=f"{tmp_path}/videos/").state == "success"
    assert counts(simulator) == [2, 1, 1]
    assert len(simulator.ledger.bills) == 1


@pytest.mark.parametrize("kind", ["error", "reset", "cut_json", "html_200", "lost_answer"])
def test_trouble_with_the_status_is_waited_out(way, run, simulator, tmp_path, kind):
    simulator.fault("status", kind, times=3)
    assert run(f"generate_{way}", destination=f"{tmp_path}/videos/").state == "success"
    assert counts(simulator) == [1, 1, 1]


def test_an_unknown_status_on_the_way_is_waited_out(way, run, simulator, tmp_path):
    simulator.fault("status", "unknown_status", times=2)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert "is PAUSED" in done.output


def test_a_lost_answer_to_the_billing_call_is_asked_for_again_with_a_warning(way, run, simulator, tmp_path):
    simulator.fault("result", "lost_answer", times=1)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert "may be billed a second time" in done.output
    assert counts(simulator) == [1, 2, 1]


def test_the_billing_call_is_asked_again_twice_at_most(way, run, simulator, tmp_path):
    simulator.fault("result", "lost_answer")
    assert run(f"generate_{way}", destination=f"{tmp_path}/videos/").state == "failed"
    assert simulator.ledger.count("result") == 3


def test_a_result_without_usage_lands_all_the_same(way, run, simulator, tmp_path):
    simulator.fault("result", "missing_field", field="usage")
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert "the service did not say" in done.output
    assert counts(simulator) == [1, 1, 1]


BROKEN_BODIES = [
    "cut_body",
    "cut_chunked",
    "close_delimited_cut",
    "reset_after",
    "corrupt_body",
    "not_a_video",
    "empty_body",
]


@pytest.mark.parametrize("kind", BROKEN_BODIES)
def test_a_broken_body_is_fetched_again_and_only_the_whole_one_lands(way, run, simulator, tmp_path, kind):
    simulator.fault("content", kind, times=1)
    assert run(f"generate_{way}", destination=f"{tmp_path}/videos/").state == "success"
    assert counts(simulator) == [1, 1, 2]
    assert set(landed(tmp_path / "videos").values()) == served(simulator)


def test_a_video_that_never_comes_whole_leaves_nothing_and_a_clear_does_not_pay_again(
    way, run, clear, simulator, tmp_path
):
    simulator.fault("content", "cut_body")
    folder = tmp_path / "videos"
    done = run(f"generate_{way}", destination=f"{folder}/")
    assert done.state == "failed"
    assert [file.suffix for file in folder.iterdir()] == [".json"]
    simulator.clear_faults()
    assert clear(done).state == "success"
    assert counts(simulator)[:2] == [1, 1]
    assert set(landed(folder).values()) == served(simulator)


def test_a_video_on_another_host_is_not_fetched_and_stays_paid(way, run, simulator, tmp_path):
    simulator.fault("result", "foreign_url", to="http://127.0.0.1:9/x", times=1)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert "The key is not sent there" in done.output
    assert len(manifests(tmp_path / "videos")) == 1


def test_a_job_that_never_ends_ends_at_the_deadline_and_can_be_taken_up(way, run, simulator, tmp_path):
    simulator.fault("submit", "stuck_queue")
    done = run(f"generate_impatient_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert "its last status was IN_QUEUE" in done.output
    assert 'job={"model": "' in done.output
    assert counts(simulator) == [1, 0, 0]


def test_with_a_deadline_that_has_passed_nothing_is_submitted(way, run, simulator, tmp_path):
    done = run(f"generate_too_late_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert "deadline 2026-01-01T00:00:00+00:00 has passed already: give one in the future." in done.output
    assert simulator.ledger.calls() == []


def test_clearing_a_finished_task_calls_nobody(way, run, clear, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    before = len(simulator.ledger.calls())
    again = clear(done)
    assert again.state == "success"
    assert len(simulator.ledger.calls()) == before
    assert landed(tmp_path / "videos").keys() == {Path(uri).name for uri in again.xcom("generate")}


def test_clearing_a_finished_task_whose_video_is_gone_fetches_the_content_only(way, run, clear, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    Path(done.xcom("generate")[0]).unlink()
    assert clear(done).state == "success"
    assert counts(simulator) == [1, 1, 2]


@pytest.mark.parametrize(("status", "attempts"), [(400, 1), (404, 4), (410, 4)])
def test_clearing_a_task_whose_video_is_gone_everywhere_says_so(
    way, run, clear, simulator, tmp_path, short_pauses, status, attempts
):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    Path(done.xcom("generate")[0]).unlink()
    simulator.fault("content", "error", status=status, type="bad_request")
    assert clear(done).state == "failed"
    assert "ModelMax does not have the video" in clear.output
    assert "clear the generate or submit task with regenerate_on_clear=True" in clear.output
    assert counts(simulator) == [1, 1, 1 + attempts]


@pytest.mark.parametrize("status", [400, 404, 410])
def test_a_gateway_that_refuses_the_content_does_not_mean_that_it_is_gone(way, run, simulator, tmp_path, status):
    simulator.fault("content", "error", status=status, html=True, times=2)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "success"
    assert counts(simulator) == [1, 1, 3]


@pytest.fixture
def timed_out(way, run, simulator):
    """Run a task that ends at its deadline; its job is kept, and stays IN_QUEUE."""
    if not KEEPS_TASK_STATE:
        pytest.skip("Airflow keeps the state of a task since 3.3")
    simulator.fault("submit", "stuck_queue", times=1)
    return lambda destination: run(f"generate_impatient_{way}", destination=destination)


def test_a_gateway_that_refuses_the_status_is_no_reason_to_submit_anew(timed_out, clear, simulator, tmp_path):
    done = timed_out(f"{tmp_path}/videos/")
    simulator.fault("status", "error", status=400, html=True)
    assert clear(done).state == "failed"
    assert counts(simulator) == [1, 0, 0]


def test_a_service_that_is_away_when_a_job_is_taken_up_is_waited_for(timed_out, clear, simulator, tmp_path):
    done = timed_out(f"{tmp_path}/videos/")
    simulator.fault("status", "error", status=503, retry_after=61, times=1)
    assert clear(done).state == "failed"
    assert "Waiting without a worker slot" in clear.output or "its last status was IN_QUEUE" in clear.output
    assert "TemporaryError" not in clear.output
    assert counts(simulator) == [1, 0, 0]


def test_a_retry_to_another_destination_leaves_what_stands_there(timed_out, clear, simulator, tmp_path):
    done = timed_out(f"{tmp_path}/clip.mp4")
    (tmp_path / "theirs.mp4").write_bytes(b"theirs")
    assert clear(done, destination=f"{tmp_path}/theirs.mp4").state == "failed"
    assert "theirs.mp4 is taken by something else, and was left as it is" in clear.output
    assert (tmp_path / "theirs.mp4").read_bytes() == b"theirs"
    assert counts(simulator) == [1, 0, 0]


def test_a_retry_minds_only_what_stands_where_its_own_video_goes(timed_out, clear, simulator, tmp_path):
    (tmp_path / "clip-2.mp4").write_bytes(b"theirs")
    done = timed_out(f"{tmp_path}/clip.mp4")
    assert clear(done).state == "failed"
    assert "is taken by" not in clear.output
    assert "its last status was IN_QUEUE" in clear.output
    assert counts(simulator) == [1, 0, 0]


def test_clearing_with_another_prompt_makes_another_video(way, run, clear, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert clear(done, prompt="a harbour at dawn").state == "success"
    assert counts(simulator) == [2, 2, 2]


def test_a_clear_may_ask_for_a_fresh_generation_and_its_retries_do_not(way, run, clear, simulator, tmp_path):
    done = run(f"generate_fresh_{way}", destination=f"{tmp_path}/clip.mp4")
    simulator.fault("content", "cut_body", times=4)
    assert clear(done).state == "failed"
    assert "cleared, with regenerate_on_clear. Submitting a new job" in clear.output
    assert counts(simulator) == [2, 2, 5]
    assert clear.retry(done).state == "success"
    assert counts(simulator) == [2, 2, 6]
    (manifest,) = manifests(tmp_path)
    assert manifest["request_id"] == simulator.ledger.bills[1].request_id
    assert manifest["videos"][0]["sha256"] == landed(tmp_path)["clip.mp4"]


@pytest.mark.usefixtures("no_task_state")
def test_without_task_state_a_clear_pays_for_nothing_that_is_there(way, run, clear, simulator, tmp_path):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    before = len(simulator.ledger.calls())
    assert clear(done).state == "success"
    assert len(simulator.ledger.calls()) == before
    Path(done.xcom("generate")[0]).unlink()
    assert clear(done).state == "success"
    assert counts(simulator) == [1, 1, 2]


@pytest.mark.usefixtures("no_task_state")
def test_without_task_state_a_retry_after_the_billing_call_only_downloads(way, run, clear, simulator, tmp_path):
    simulator.fault("content", "cut_body", times=4)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert done.state == "failed"
    assert clear.retry(done).state == "success"
    assert counts(simulator) == [1, 1, 5]


def test_a_job_whose_task_state_is_lost_while_it_is_waited_for_is_fetched(way, run, simulator, tmp_path, monkeypatch):
    monkeypatch.setattr("airflow_provider_modelmax.jobs.task_state.TaskState.get", lambda _: None)
    assert run(f"generate_{way}", destination=f"{tmp_path}/videos/").state == "success"
    assert counts(simulator) == [1, 1, 1]


def test_a_discarded_task_state_is_made_good_by_the_manifest(way, run, clear, simulator, tmp_path, discard_task_state):
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    discard_task_state(done)
    assert clear(done).state == "success"
    assert counts(simulator) == [1, 1, 1]


def test_a_paid_video_lands_although_the_image_it_was_made_from_is_gone(way, run, clear, simulator, tmp_path):
    picture = tmp_path / "boat.png"
    picture.write_bytes(IMAGE.read_bytes())
    simulator.fault("content", "cut_body", times=4)
    done = run(f"generate_{way}", destination=f"{tmp_path}/v/", parameters={**SHORT, "image": str(picture)})
    assert done.state == "failed"
    picture.unlink()
    assert clear(done).state == "success"
    assert counts(simulator)[:2] == [1, 1]


def test_two_tasks_with_one_destination_pay_for_one_video(way, run, simulator, tmp_path):
    done = run(f"generate_twins_{way}", destination=f"{tmp_path}/clip.mp4")
    assert sorted(done.task_state(task_id) for task_id in ("first", "second")) == ["failed", "success"]
    assert "is taken by job" in done.output
    assert len(simulator.ledger.bills) == 1


def test_a_destination_of_another_job_is_refused_before_anything_is_spent(way, run, simulator, tmp_path):
    run(f"generate_{way}", destination=f"{tmp_path}/clip.mp4")
    done = run(f"generate_{way}", destination=f"{tmp_path}/clip.mp4")
    assert done.state == "failed"
    assert "is taken by job" in done.output
    assert counts(simulator) == [1, 1, 1]


def test_overwrite_replaces_another_jobs_video(way, run, simulator, tmp_path):
    run(f"generate_{way}", destination=f"{tmp_path}/clip.mp4")
    assert run(f"generate_overwriting_{way}", destination=f"{tmp_path}/clip.mp4").state == "success"
    assert counts(simulator) == [2, 2, 2]


@pytest.mark.parametrize(
    ("conf", "says"),
    [
        ({"prompt": ""}, "prompt is empty"),
        ({"prompt": "   "}, "prompt is empty"),
        ({"model": ""}, "model is ''"),
        ({"parameters": {"duration_seconds": 9}}, "must be from 1 to 8"),
        ({"parameters": {"sample_count": 0}}, "must be from 1 to 4"),
        ({"parameters": {"duration": 4}}, "duration_seconds"),
        ({"parameters": {"resolution": "8k"}}, "must be one of 720p, 1080p, 4k"),
        ({"parameters": {"image": "no-such.png"}}, "does not exist, seen from this worker"),
        ({"parameters": "fast"}, "parameters is a str"),
        ({"destination": ""}, "destination is ''"),
        ({"destination": "clip.mov"}, "the service makes MP4"),
        ({"destination": "ftp://host/videos/"}, "Use one of file, s3"),
        ({"destination": "s3://nowhere@videos/"}, "did not find the connection 'nowhere'"),
        pytest.param(
            {"destination": "gs://videos/"},
            "pip install 'airflow-provider-modelmax[gcs]'",
            marks=pytest.mark.skipif("gcs" in STORES, reason="the library of Google Cloud Storage is here"),
        ),
    ],
)
def test_bad_input_is_told_before_anything_is_sent(way, run, simulator, tmp_path, conf, says):
    done = run(f"generate_{way}", **{"destination": f"{tmp_path}/videos/", **conf})
    assert done.state == "failed"
    assert says in done.output
    assert simulator.ledger.calls() == []


def test_how_to_fetch_a_lost_job_is_logged_only_if_airflow_keeps_no_task_state(way, run, tmp_path, request):
    if KEEPS_TASK_STATE:
        assert "If this task is lost" not in run(f"generate_{way}", destination=f"{tmp_path}/a/").output
    request.getfixturevalue("no_task_state")
    assert "If this task is lost" in run(f"generate_{way}", destination=f"{tmp_path}/b/").output


def test_a_prompt_can_stand_in_a_file_beside_the_dag(way, run, simulator, tmp_path):
    done = run(f"generate_of_a_file_{way}", destination=f"{tmp_path}/videos/", hour="dusk")
    assert done.state == "success", done.output
    (job,) = simulator.ledger.jobs.values()
    assert job.order.prompt == "A lighthouse at dusk,\nwaves rolling in."


def test_the_connection_can_come_from_a_template(way, run, simulator, tmp_path, monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_OF_A_TENANT", os.environ["AIRFLOW_CONN_MODELMAX_DEFAULT"])
    monkeypatch.delenv("AIRFLOW_CONN_MODELMAX_DEFAULT")
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/", account="of_a_tenant")
    assert done.state == "success", done.output
    assert counts(simulator) == [1, 1, 1]


def test_the_key_is_in_no_log_line(way, run, simulator, tmp_path):
    simulator.fault("any", "error", status=500, html=True, times=2)
    done = run(f"generate_{way}", destination=f"{tmp_path}/videos/")
    assert simulator.key not in done.output
