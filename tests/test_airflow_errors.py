"""Our words made Airflow's: what fails at once, and when a wait ends."""

from __future__ import annotations

import sys
import traceback
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from airflow.providers.common.compat.sdk import AirflowFailException

from airflow_provider_modelmax import airflow_errors, api, literals
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
    with pytest.raises(AirflowFailException, match="no") as caught, airflow_errors.translate_errors(TASK):
        raise error
    assert caught.value.__cause__ is error


def test_a_policy_sees_the_error_as_it_is_but_where_the_task_skips_instead():
    policy = SimpleNamespace(sees_every_error=True)
    with pytest.raises(api.JobFailedError), airflow_errors.translate_errors(SimpleNamespace(retry_policy=policy)):
        raise api.JobFailedError("id", "no")
    sensor = SimpleNamespace(retry_policy=policy, soft_fail=True)
    with pytest.raises(AirflowFailException), airflow_errors.translate_errors(sensor):
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
    with pytest.raises(type(error)) as caught, airflow_errors.translate_errors(TASK):
        raise error
    assert caught.value is error


def test_operators_and_hook_have_the_same_default_connection():
    assert ModelMaxHook.default_conn_name == literals.DEFAULT_CONN_ID


class Task:
    """Of an operator what the decorator needs."""

    known_job = api.Job.of({"model": "veo-3", "request_id": "a/b=="})
    retry_policy = None

    def __init__(self) -> None:
        self.log = structlog.get_logger("task")

    @airflow_errors.reporting_errors
    def execute(self, error: Exception) -> None:
        with airflow_errors.translate_errors(self):
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
