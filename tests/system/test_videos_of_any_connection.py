"""The connection in a real Airflow: its form, its test, where it may be kept, and two accounts side by side."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from tests.airflow_versions import AIRFLOW
from tests.stack.processes import wait_until
from tests.system.conftest import OTHER_KEY, WRONG_KEY

if TYPE_CHECKING:
    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.simulator import SimulatorProcess
    from tests.system.cases import Run, Start

ACCEPTED = "ModelMax answered and accepted the API key."


def test_the_form_asks_for_key_base_url_and_what_else_a_call_needs(stack: AirflowStack) -> None:
    forms = {form["connection_type"]: form for form in stack.call("GET", "connections/hook_meta", base="ui")}
    form = forms["modelmax"]
    assert form["hook_name"] == "ModelMax"
    fields = form["standard_fields"]
    assert (fields["password"]["title"], fields["host"]["title"]) == ("API key", "Base URL")
    assert {name for name, about in fields.items() if about and about["hidden"]} == {"login", "port", "url_schema"}
    if form.get("extra_fields"):  # Airflow 3.1 has none of ours
        assert set(form["extra_fields"]) == {"timeout", "verify", "proxy"}


@pytest.mark.parametrize(
    ("password", "status", "said"), [("", True, ACCEPTED), (WRONG_KEY, False, "401")], ids=["right key", "wrong key"]
)
def test_the_button_tests_the_connection_free_of_charge(
    stack: AirflowStack, simulator: SimulatorProcess, password: str, status: bool, said: str
) -> None:
    bills = simulator.ledger()["bills"]
    connection = {**simulator.connection, "connection_id": "tried"}
    answer = stack.call("POST", "connections/test", json={**connection, "password": password or simulator.key})
    assert (answer["status"], said in answer["message"]) == (status, True), answer
    assert WRONG_KEY not in answer["message"]
    assert simulator.ledger()["bills"] == bills


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="a worker tests connections since Airflow 3.3")
@pytest.mark.parametrize(
    ("password", "state", "said"), [("", "success", ACCEPTED), (WRONG_KEY, "failed", "401")], ids=["right", "wrong"]
)
def test_a_worker_tests_the_connection_free_of_charge(
    stack: AirflowStack, simulator: SimulatorProcess, password: str, state: str, said: str
) -> None:
    bills = simulator.ledger()["bills"]
    connection = {**simulator.connection, "connection_id": f"tried_{state}", "password": password or simulator.key}
    token = stack.call("POST", "connections/enqueue-test", json=connection)["token"]
    answer = wait_until(lambda: _told_by_the_worker(stack, token), 60, "the worker has tested the connection")
    assert (answer["state"], said in answer["result_message"]) == (state, True), answer
    assert WRONG_KEY not in answer["result_message"]
    assert simulator.ledger()["bills"] == bills


def _told_by_the_worker(stack: AirflowStack, token: str) -> dict[str, Any] | None:
    headers = {"Airflow-Connection-Test-Token": token}
    answer = dict(stack.call("GET", "connections/enqueue-test", headers=headers))
    return answer if answer["result_message"] else None


def test_the_command_tests_the_connection(stack: AirflowStack) -> None:
    done = stack.command("test-connection", "connections", "test", "modelmax_default")
    assert "Connection success!" in done


@pytest.fixture(scope="session")
def saved(stack: AirflowStack, simulator: SimulatorProcess) -> str:
    """Save a connection as the form does: what was left empty is null, and what was typed is text."""
    extra = json.dumps({"timeout": None, "verify": "false", "proxy": ""})
    body = {**simulator.connection, "connection_id": "modelmax_saved", "extra": extra}
    stack.call("POST", "connections", json=body)
    return "modelmax_saved"


def test_a_connection_saved_by_the_form_works_in_worker_and_triggerer(start: Start, saved: str) -> None:
    _makes_a_video(start([saved])[saved])


def test_a_connection_of_a_secrets_backend_works_in_worker_and_triggerer(start: Start) -> None:
    _makes_a_video(start(["modelmax_vault"])["modelmax_vault"])


def test_two_accounts_wait_in_one_triggerer_each_with_its_own_key(
    start: Start, simulator: SimulatorProcess, big_simulator: SimulatorProcess
) -> None:
    assert simulator.key != big_simulator.key == OTHER_KEY
    for run in start(["account_one", "account_two"]).values():
        _makes_a_video(run)


def _makes_a_video(run: Run) -> None:
    run.succeeded()
    assert run.spent() == [(1, 1, 1)]
    assert "Waiting without a worker slot" in run.log()
    assert "is COMPLETED: seen" in run.log()  # as the triggerer told
