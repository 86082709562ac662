"""What a real Airflow shows others of a video: links, rendered templates, asset events, OpenLineage, metrics."""

from __future__ import annotations

import hashlib
import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stack.processes import wait_until
from tests.system.plan import PICTURE

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.simulator import SimulatorProcess
    from tests.stack.statsd import Statsd
    from tests.system.cases import Run, Start

    Cases = Mapping[str, Run]

USAGE = {"video_seconds": 1, "video_resolution": "720p", "video_has_audio": True}


@pytest.fixture(scope="session")
def seen(start: Start) -> Run:
    """Start the video that others see."""
    return start(["seen"])["seen"]


def test_the_dashboard_is_one_click_away_while_a_task_waits(
    stack: AirflowStack, simulator: SimulatorProcess, seen: Run
) -> None:
    run = seen
    stack.wait_for_task_state(run.dag_id, run.run_id, "generate", "deferred")
    links = wait_until(lambda: _links(stack, run), 15, "the link is pushed")
    assert links == {"ModelMax dashboard": f"{simulator.url}/", "Video manifest": None}


def test_rendered_templates_show_the_prompt_and_name_the_image(stack: AirflowStack, seen: Run) -> None:
    run = seen.succeeded()
    fields = stack.rendered_fields(run.dag_id, run.run_id, "generate")
    assert fields["prompt"] == "(seen) waves"
    assert fields["parameters"] == {"duration_seconds": 1, "image": str(PICTURE)}


def test_asset_events_say_what_was_made_and_what_it_cost(stack: AirflowStack, seen: Run) -> None:
    run = seen.succeeded()
    (uri,) = run.xcom()
    made = {
        "request_id": run.only_job()["request_id"],
        "model": "veo-3.1-fast",
        "usage": USAGE,
        "uris": [uri],
        "manifest": run.xcom("manifest"),
    }
    events = {event["uri"]: event["extra"] for event in stack.asset_events() if event["source_dag_id"] == "seen"}
    assert {name: _without_airflows(extra) for name, extra in events.items()} == {
        "seen_videos": made,
        uri.replace("store@", ""): made,  # an asset is the object, however it is reached
    }


@contextmanager
def paused(stack: AirflowStack, run: Run) -> Iterator[None]:
    """Let the scheduler start nothing of the DAG of a run that is over."""
    run.succeeded()
    stack.call("PATCH", f"dags/{run.dag_id}", json={"is_paused": True})
    try:
        yield
    finally:
        stack.call("PATCH", f"dags/{run.dag_id}", json={"is_paused": False})


def test_openlineage_hears_of_order_job_bill_and_objects_and_not_of_the_prompt(
    stack: AirflowStack, simulator: SimulatorProcess, seen: Run, tmp_path: Path
) -> None:
    order = {
        "prompt": "(followed) waves",
        "destination": "s3://store@videos/followed/",
        "parameters": {"duration_seconds": 1, "image": str(PICTURE)},
    }
    events = tmp_path / "events.json"
    transport = json.dumps({"type": "file", "log_file_path": str(events), "append": True})
    # In a process of its own: its listener costs each task of the others a second. Paused, or the scheduler might run
    # what this process has just scheduled for itself.
    with paused(stack, seen):
        stack.command(
            "followed", "dags", "test", "seen", "--conf", json.dumps(order), AIRFLOW__OPENLINEAGE__TRANSPORT=transport
        )
    done = wait_until(lambda: _events(events, "COMPLETE"), 30, "the last event is written")[-1]
    (job,) = [job for job in simulator.ledger()["jobs"] if job["prompt"] == order["prompt"]]
    (video,) = job["videos"]
    facet = done["run"]["facets"]["modelmax"]
    assert facet["model"] == "veo-3.1-fast"
    assert facet["promptSha256"] == hashlib.sha256(b"(followed) waves").hexdigest()
    assert facet["parameters"] == order["parameters"]
    assert facet["requestId"] == done["run"]["facets"]["externalQuery"]["externalQueryId"] == job["request_id"]
    assert [(each["namespace"], each["name"]) for each in done["inputs"]] == [("file", str(PICTURE))]
    (output,) = done["outputs"]
    assert (output["namespace"], output["name"].partition("/")[0]) == ("s3://videos", "followed")
    assert output["facets"]["modelmax"]["usage"] == USAGE
    assert output["facets"]["modelmax"]["sha256"] == video["sha256"]
    assert output["outputFacets"]["outputStatistics"]["size"] == video["bytes"]
    (started, *_) = _events(events, "START")
    assert started["run"]["facets"]["modelmax"]["promptSha256"] == facet["promptSha256"]
    assert order["prompt"] not in json.dumps(facet) + json.dumps(done["outputs"])


@pytest.mark.cases("job_failed", "balance_empty")
def test_metrics_count_jobs_bills_videos_and_failures(statsd: Statsd, cases: Cases, timed: Cases, seen: Run) -> None:
    seen.succeeded()
    for run in (cases["job_failed"], cases["balance_empty"], timed["past_deadline"]):
        run.failed()
    assert set(statsd.values("modelmax.submitted")) == {1}
    assert len(statsd.values("modelmax.completed")) == len(statsd.values("modelmax.video_seconds_billed"))
    assert {"modelmax.failed.job_failed", "modelmax.failed.insufficient_balance", "modelmax.failed.job_not_over"} <= (
        statsd.names("modelmax.failed.")
    )
    assert max(statsd.values("modelmax.wait")) > 12_000  # milliseconds; the job of `seen` takes 13 s
    assert max(statsd.values("modelmax.generating")) > 1_000
    assert len(statsd.values("modelmax.queued")) <= len(statsd.values("modelmax.generating"))  # what was seen only
    assert len(statsd.values("modelmax.download")) == len(statsd.values("modelmax.landed"))
    assert statsd.values("modelmax.landed_bytes")


# Retry policies: Airflow 3.3 and later


@pytest.fixture(scope="session")
def policed(stack: AirflowStack, start: Start) -> Cases:
    """Start what has a policy; not with all the others, whose ends are timed."""
    if "policed" not in {dag["dag_id"] for dag in stack.pages("dags", "dags")}:
        pytest.skip("this Airflow has no retry policies")
    return start(["policed_key", "policed_job", "policed_gateway", "topped_up"])


@pytest.mark.parametrize("name", ["policed_key", "policed_job"])
def test_with_the_policy_a_wrong_key_and_a_refused_prompt_fail_in_the_first_try(policed: Cases, name: str) -> None:
    run = policed[name].failed()
    assert (run.task()["try_number"], run.task()["max_tries"]) == (1, 2)
    assert [bills for _, _, bills in run.spent()] == [0] * len(run.jobs())
    assert len(run.jobs()) <= 1


def test_with_the_policy_a_bad_gateway_is_retried(policed: Cases) -> None:
    run = policed["policed_gateway"].succeeded()
    assert run.task()["try_number"] == 2  # five calls are made within a try
    assert run.spent() == [(1, 1, 1)]


def test_a_rule_of_ones_own_retries_what_would_fail_at_once(policed: Cases) -> None:
    run = policed["topped_up"].succeeded()
    assert run.task()["try_number"] == 2
    assert run.spent() == [(1, 1, 1)]


def _links(stack: AirflowStack, run: Run) -> dict[str, str | None] | None:
    links = stack.extra_links(run.dag_id, run.run_id, "generate")
    return links if any(links.values()) else None


def _events(file: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []
    ours = [event for event in lines if event["job"]["name"] == "seen.generate"]
    return [event for event in ours if event["eventType"] == kind]


def _without_airflows(extra: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in extra.items() if name not in {"from_rest_api", "from_trigger"}}
