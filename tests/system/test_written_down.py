"""Neither the key nor an image is written down anywhere. Runs last: it searches what all other tests left."""

from __future__ import annotations

import base64
import re
from typing import TYPE_CHECKING

import pytest

from tests.airflow_versions import KEEPS_TASK_STATE
from tests.stack.simulator import KEY
from tests.system import evidence
from tests.system.conftest import WRONG_KEY
from tests.system.plan import MARKER, PICTURE

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.simulator import SimulatorProcess
    from tests.system.cases import Run

ELSEWHERE = ("foreign_status", "foreign_content")
REDIRECTED = ("redirected_submit", "redirected_result", "redirected_content")
FOREIGN = (*ELSEWHERE, *REDIRECTED, "redirected_status")
CONNECTIONS = {"connection", "connection_test_request"}
"""Tables in which Airflow keeps connections, encrypted: the second those that a worker is to test (3.3)."""

HEAD_OF_A_PNG = "iVBORw0KGgo"


@pytest.fixture(scope="session")
def rows(stack: AirflowStack, cases: Mapping[str, Run]) -> list[evidence.Row]:
    """Read the whole database, once all is over."""
    for each in cases.values():
        each.state()
    return list(evidence.rows(stack))


@pytest.fixture(scope="session")
def logs(stack: AirflowStack, rows: list[evidence.Row]) -> dict[Path, str]:
    """Read all log files, once all is over."""
    return evidence.logs(stack)


@pytest.mark.cases("marker", "waiting", "image_base64")
def test_the_search_finds_what_is_there(
    stack: AirflowStack, cases: Mapping[str, Run], rows: list[evidence.Row], logs: Mapping[Path, str]
) -> None:
    assert {"dag_run", "xcom"} <= evidence.tables_with(MARKER, rows)
    assert any(MARKER in text for text in logs.values())
    # and our own tasks' words in every place where a key could be
    prompt, job = cases["waiting"].prompt, cases["waiting"].only_job()["request_id"]
    assert "rendered_task_instance_fields" in evidence.tables_with(prompt, rows)
    assert {"xcom", *(["task_state_store"] if KEEPS_TASK_STATE else [])} <= evidence.tables_with(job, rows)
    assert "serialized_dag" in evidence.tables_with("ModelMaxGenerateVideoOperator", rows)
    with_job = {path.name for path, text in logs.items() if job in text}
    assert any(name.endswith(".log") for name in with_job)
    assert any(".trigger." in name for name in with_job)
    assert {f"{name}.log" for name in stack.services} <= {path.name for path in logs}


@pytest.mark.cases("key_wrong", *FOREIGN)
def test_the_key_is_written_down_nowhere(rows: list[evidence.Row], logs: Mapping[Path, str]) -> None:
    for key in (KEY, WRONG_KEY, base64.b64encode(KEY.encode()).decode().rstrip("=")):
        assert evidence.tables_with(key, rows) <= CONNECTIONS
        assert [path for path, text in logs.items() if key in text] == []
    kept = [row.columns for row in rows if row.table in CONNECTIONS]  # those that a person has saved or tried
    assert all(row["password"].startswith("gAAAA") for row in kept)
    assert {row.columns["conn_id"] for row in rows if row.table == "connection"} <= {"modelmax_saved"}


@pytest.mark.cases(*ELSEWHERE)
@pytest.mark.parametrize("name", ELSEWHERE)
def test_another_host_is_refused_at_once(cases: Mapping[str, Run], name: str) -> None:
    run = cases[name].failed()
    assert run.task()["try_number"] == 1, run.log()
    assert "on another host" in run.log()


@pytest.mark.cases(*REDIRECTED)
@pytest.mark.parametrize("name", REDIRECTED)
def test_a_redirect_is_left_to_airflows_retries(cases: Mapping[str, Run], name: str) -> None:
    run = cases[name].failed()
    assert run.task()["try_number"] == 3, run.log()
    assert re.search(r"redirects to 127\.0\.0\.1", run.log()), run.log()


@pytest.mark.cases("redirected_status")
def test_a_wait_goes_on_after_a_redirect(cases: Mapping[str, Run]) -> None:
    run = cases["redirected_status"].succeeded()
    assert run.task()["try_number"] == 1, run.log()


@pytest.mark.cases(*FOREIGN)
def test_another_host_never_sees_the_key(cases: Mapping[str, Run], stranger: SimulatorProcess) -> None:
    for name in FOREIGN:
        cases[name].state()
    calls = stranger.ledger()["calls"]
    assert [call for call in calls if call["authorization"] != "missing" or call["key_seen"]] == []
    assert calls == []  # it is not even called


@pytest.mark.cases("image_path", "image_base64")
def test_no_part_of_an_image_is_written_down(
    cases: Mapping[str, Run], rows: list[evidence.Row], logs: Mapping[Path, str]
) -> None:
    path, images = cases["image_path"].succeeded(), cases["image_base64"].succeeded()
    assert path.only_job()["image"] == f"{PICTURE.stat().st_size} bytes"
    assert len(images.jobs()) == 4
    assert all(job["image"] for job in images.jobs())

    # What a user's own task returns is an XCom; it is the only row that may hold an image.
    upstream = images.xcom(task_id="upstream")
    theirs = [row for row in rows if row.table == "xcom" and row.columns["task_id"] == "upstream"]
    assert evidence.tables_with(evidence.slices(upstream), theirs) == {"xcom"}

    others = [row for row in rows if row not in theirs]
    pieces = {HEAD_OF_A_PNG, *evidence.slices(base64.b64encode(PICTURE.read_bytes()).decode())}
    pieces |= evidence.slices(upstream)
    assert [row for row in others if any(piece in row.text for piece in pieces)] == []
    assert [file for file, text in logs.items() if any(piece in text for piece in pieces)] == []
