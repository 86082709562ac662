"""Our words made Airflow's: what fails at once, and when a wait ends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import AirflowFailException, conf

from airflow_provider_modelmax import api, edge
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
