"""What the examples do when things go wrong; that they run well in a real Airflow is seen in the system tests."""

from __future__ import annotations

import runpy
from typing import Any

import pytest

from tests.airflow_versions import AIRFLOW
from tests.examples.test_without_account import DAGS, service  # noqa: F401 - a fixture
from tests.executors.test_examples import BEGUN_BY_AN_ASSET, BEGUN_BY_HAND

TELLS_WHY = AIRFLOW >= (3, 3)  # before, `DAG.test` gives callbacks no exception


@pytest.fixture(scope="session", autouse=True)
def _database() -> None:
    from airflow.utils.db import initdb

    initdb()


def run(name: str, **conf: Any) -> Any:
    return runpy.run_path(str(DAGS / f"{name}.py"))["dag"].test(run_conf=conf)


def test_every_example_is_run_on_the_executors():
    assert {*BEGUN_BY_HAND, *BEGUN_BY_AN_ASSET} == {file.stem for file in DAGS.glob("*.py")}


def test_the_alert_names_task_job_and_reason(service, caplog):  # noqa: F811
    done = run("modelmax_alerting", prompt="A duel [fail]")
    assert done.state == "failed"
    said = caplog.text
    (request_id,) = service.ledger.jobs
    assert f"modelmax_alerting.generate, run {done.run_id}, job {request_id}: " in said
    assert ("FAILED: content policy violation. Nothing is billed for it." if TELLS_WHY else "see its log") in said


def test_an_alert_before_there_is_a_job_says_so(service, caplog):  # noqa: F811
    service.settings.balance = 0
    run("modelmax_alerting")
    assert "job none yet: " in caplog.text


def test_a_prompt_comes_from_a_file_beside_the_dag_and_is_rendered(service):  # noqa: F811
    assert run("modelmax_prompt_file", time_of_day="dawn").state == "success"
    (job,) = service.ledger.jobs.values()
    assert job.order.prompt.startswith("A lighthouse on a cliff at dawn, filmed from a boat.\n\nWaves roll in")
    assert job.order.prompt.endswith("No people, no text.")
    assert job.order.duration_seconds == 4


def test_more_than_the_budget_submits_nothing(service, capfd):  # noqa: F811
    done = run("modelmax_cost_control", max_seconds=7)
    assert done.state == "failed"
    assert "The prompts need 8 s of video; 7 s are allowed" in "".join(capfd.readouterr())
    assert service.ledger.jobs == {}


def test_the_sum_counts_what_was_billed_also_when_a_video_failed(service):  # noqa: F811
    done = run("modelmax_cost_control", prompts=["A duel [fail]", "A red kite over dunes"])
    assert len(service.ledger.bills) == 1
    assert done.get_task_instance("add_up").xcom_pull(task_ids="add_up") == 4


@pytest.mark.parametrize(
    ("name", "conf", "length"),
    [
        *(("modelmax_alerting", lambda prompt: {"prompt": prompt}, length) for length in (300, 2_000, 100_000)),
        ("modelmax_cost_control", lambda prompt: {"prompts": [prompt]}, 100_000),
        ("modelmax_image_to_video", lambda prompt: {"prompt": prompt}, 100_000),
        ("modelmax_many_prompts", lambda prompt: {"prompts": [prompt]}, 100_000),
        ("modelmax_own_task", lambda prompt: {"prompts": [prompt]}, 100_000),
        ("modelmax_process", lambda prompt: {"prompt": prompt}, 100_000),
        ("modelmax_submit", lambda prompt: {"prompt": prompt}, 100_000),
    ],
)
def test_examples_take_long_prompts_and_folders_in_other_alphabets(
    service,  # noqa: F811
    monkeypatch,
    tmp_path,
    name,
    conf,
    length,
):
    monkeypatch.setenv("AIRFLOW_VAR_VIDEOS", str(tmp_path / "été a#b 100% 桜"))
    service.settings.plain_videos = True
    prompt = ("A lighthouse 灯台 at dusk, " * length)[:length].strip()
    done = run(name, **conf(prompt))
    assert done.state == "success"
    assert {ti.try_number for ti in done.get_task_instances()} == {1}
    (job,) = service.ledger.jobs.values()
    assert job.order.prompt == prompt
