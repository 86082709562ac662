"""Our words made Airflow's: what fails at once, and when a wait ends."""

from __future__ import annotations

import sys
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from airflow.providers.common.compat.sdk import AirflowFailException, conf
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

from airflow_provider_modelmax import airflow_errors as edge
from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import DestinationError
from airflow_provider_modelmax.api import text as texts
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)
TASK = SimpleNamespace()  # of Airflow 3.1: it knows no retry policy


@pytest.mark.parametrize(
    "error",
    [
        api.BadRequestError("no", status=400),
        api.UnauthorizedError("no", status=401),
        api.InsufficientBalanceError("no", status=402),
        api.ForeignUrlError("no"),
        api.InvalidInputError("no"),
        api.JobFailedError("id", "no"),
        api.RefusedError("no"),
        api.UnusableResultError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_no_retry_can_mend_fails_at_once_in_its_own_words_and_callbacks_find_it(error):
    with pytest.raises(AirflowFailException, match="no") as caught, edge.told_to_airflow(TASK):
        raise error
    assert caught.value.__cause__ is error


def test_a_policy_sees_the_error_as_it_is_but_where_the_task_skips_instead():
    policy = SimpleNamespace(sees_every_error=True)
    with pytest.raises(api.JobFailedError), edge.told_to_airflow(SimpleNamespace(retry_policy=policy)):
        raise api.JobFailedError("id", "no")
    sensor = SimpleNamespace(retry_policy=policy, soft_fail=True)
    with pytest.raises(AirflowFailException), edge.told_to_airflow(sensor):
        raise api.JobFailedError("id", "no")


@pytest.mark.parametrize(
    "error",
    [
        api.TransportError("no"),
        api.AnswerError("no"),
        api.TooEarlyError("no"),
        api.TemporaryError("no", status=500),
        api.NotFoundError("no", status=404),
        api.ForeignUrlError("a redirect: no", reached=True),
        api.ConnectionSetupError("no"),
        api.JobNotOverError("id", "no", timed_out=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_a_retry_may_mend_is_left_to_airflows_retries(error):
    with pytest.raises(type(error)) as caught, edge.told_to_airflow(TASK):
        raise error
    assert caught.value is error


@pytest.mark.parametrize(
    ("deadline", "execution_timeout", "end"),
    [
        (HOUR, None, HOUR),
        (HOUR, HOUR / 2, HOUR / 2),
        (HOUR, 2 * HOUR, HOUR),
        (NOW + HOUR, None, HOUR),
        (NOW + HOUR, HOUR / 2, HOUR / 2),
        (NOW - HOUR, HOUR, -HOUR),
        ((NOW + HOUR).astimezone(timezone(timedelta(hours=5))), 2 * HOUR, HOUR),
    ],
)
def test_a_wait_ends_at_its_deadline_or_at_the_execution_timeout(deadline, execution_timeout, end):
    if isinstance(deadline, datetime):
        deadline += edge.utcnow() - NOW
    assert abs(edge.absolute(deadline, execution_timeout) - edge.utcnow() - end) < timedelta(minutes=1)


@pytest.mark.parametrize("execution_timeout", [None, HOUR])
@pytest.mark.parametrize(
    ("deadline", "words"),
    [
        (3600, "deadline is 3600, but must be a timedelta"),
        (NOW.replace(tzinfo=None) + HOUR, "has no time zone"),
        (timedelta(0), "a timedelta above 0"),
    ],
)
def test_a_deadline_that_is_none_is_refused_with_or_without_an_execution_timeout(deadline, words, execution_timeout):
    with pytest.raises(api.InvalidInputError, match=words):
        edge.absolute(deadline, execution_timeout)


def test_waiting_is_deferrable_unless_the_environment_says_otherwise(monkeypatch):
    name = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
    monkeypatch.delenv(name, raising=False)
    assert edge.default_deferrable()
    for value, deferrable in (("False", False), ("false", False), ("True", True), ("1", True)):
        monkeypatch.setenv(name, value)
        assert edge.default_deferrable() is deferrable


def test_waiting_is_deferrable_where_airflow_has_written_its_defaults_into_its_file(monkeypatch):
    monkeypatch.delenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", raising=False)
    conf.set("operators", "default_deferrable", "False")
    try:
        assert edge.default_deferrable()
    finally:
        conf.remove_option("operators", "default_deferrable")


def test_operators_and_hook_have_the_same_default_connection():
    assert ModelMaxHook.default_conn_name == edge.DEFAULT_CONN_ID


class Task:
    """Of an operator what the decorator needs."""

    known_job = api.Job.of({"model": "veo-3", "request_id": "a/b=="})
    retry_policy = None

    def __init__(self) -> None:
        self.log = structlog.get_logger("task")

    @edge.reporting_errors
    def execute(self, error: Exception) -> None:
        with edge.told_to_airflow(self):
            try:
                Path("/nowhere").read_text()
            except OSError as cause:
                raise error from cause


LONG = "the bucket does not exist, or the connection has no right to list what is in it, says the store, " * 2


@pytest.mark.parametrize(
    ("error", "lines"),
    [
        (
            api.JobFailedError("a/b==", "content policy violation"),
            [
                "The job FAILED: content policy violation.",
                "Nothing is billed for it.",
                "Change the prompt or the parameters, then clear the task that submitted it.",
            ],
        ),
        (api.TransportError("POST /v1: no whole answer (reset)."), ["POST /v1: no whole answer (reset)."]),
        (DestinationError(f"{LONG}. Create it first."), [*texts.lines(f"{LONG}."), "Create it first."]),
    ],
    ids=["fails at once", "is retried", "is long"],
)
def test_an_expected_error_is_logged_in_short_lines_that_end_with_the_job(log, error, lines):
    with pytest.raises((AirflowFailException, type(error))):
        Task().execute(error)
    assert [line for line in log if line != "Where it was raised:"] == [
        *lines,
        'job={"model": "veo-3", "request_id": "a/b=="}',
    ]
    assert max(map(len, log)) <= texts.LINE_WIDTH


@pytest.mark.skipif(sys.version_info < (3, 11), reason="Python 3.10 keeps the traceback beside the exception")
@pytest.mark.parametrize("error", [api.JobFailedError("id", "no"), api.TransportError("reset")])
def test_the_traceback_of_an_expected_error_has_no_frame_of_ours(error):
    with pytest.raises((AirflowFailException, type(error))) as caught:
        Task().execute(error)
    files = [each.filename for each in traceback.extract_tb(caught.value.__traceback__)]
    assert not [file for file in files if "airflow_provider_modelmax" in file]
    each = caught.value
    while each := each.__cause__:
        assert (each.__traceback__, each.__context__) == (None, None)


@pytest.mark.parametrize("error", [ZeroDivisionError("a bug"), KeyError("of a callback")])
def test_an_error_that_nobody_expects_keeps_its_traceback(error, log):
    with pytest.raises(type(error)) as caught:
        Task().execute(error)
    assert traceback.extract_tb(caught.value.__traceback__)[-1].name == "execute"
    assert log == []


def label(template: str, *, native: bool = False, **variables: Any) -> Any:
    """Return what Airflow makes of ``map_index_template`` once the task is over."""
    ti = SimpleNamespace(map_index=7)
    task = SimpleNamespace(log=structlog.get_logger("task"), **variables)
    context: Any = {"map_index_template": template, "ti": ti, "task": task}
    edge.keep_label_storable(context)
    edge.keep_label_storable(context)  # once for a mapped task, once for a subclass, say
    environment = NativeEnvironment() if native else Environment()
    context["later"] = "set while it ran"
    return environment.from_string(context["map_index_template"]).render(context)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("prompt", "rendered"),
    [
        ("a boat", "a boat"),
        ("x" * 250, "x" * 249 + "…"),
        ("桜" * 100_000, "桜" * 249 + "…"),
        ("1984", "1984"),
        ("[1, 2]", "[1, 2]"),
        ("'quoted' \"twice\"", "'quoted' \"twice\""),
        ("NUL \0 and \ud83d", "NUL ? and ?"),
        ("{{ later }} {% raw %}", "{{ later }} {% raw %}"),
    ],
    ids=lambda text: text[:12].encode("ascii", "replace").decode(),
)
def test_a_label_is_a_text_that_the_database_takes(prompt, rendered, native):
    assert label("{{ task.prompt }}", native=native, prompt=prompt) == rendered


def test_a_label_may_use_what_is_known_only_when_the_task_is_over():
    assert label("{{ later }}") == "set while it ran"


@pytest.mark.parametrize("template", ["{{ task.nothing.more }}", "{{ 1 / 0 }}", "{{ unclosed"])
def test_a_label_that_cannot_be_rendered_is_the_number_of_the_task(template, log):
    assert label(template) == "7"
    assert log[0].startswith("map_index_template cannot be rendered")


def test_a_task_without_a_label_gets_none():
    context: Any = {"map_index_template": None}
    edge.keep_label_storable(context)
    assert context == {"map_index_template": None}
