"""What the retry policy says of each failure."""

from __future__ import annotations

from datetime import timedelta

import pytest

from airflow_provider_modelmax import airflow_errors, api
from airflow_provider_modelmax.api import InsufficientBalanceError
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

try:
    from airflow.sdk import RetryAction, RetryRule
except ImportError:
    pytest.skip("retry policies exist since Airflow 3.3", allow_module_level=True)

from airflow_provider_modelmax.api import DestinationError
from airflow_provider_modelmax.retry_policy import ModelMaxRetryPolicy

HOUR = timedelta(hours=1)


@pytest.mark.parametrize(
    "error",
    [
        api.JobFailedError("id", "content policy violation"),
        api.InsufficientBalanceError("no", status=402),
        api.UnauthorizedError("no", status=401),
        api.BadRequestError("no", status=400),
        api.InvalidInputError("no"),
        api.UnusableResultError("no"),
        api.RefusedError("no"),
        DestinationError("no", leads_nowhere=True),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_no_retry_can_mend_fails(error):
    decision = ModelMaxRetryPolicy().evaluate(error, 1, 3)
    assert (decision.action, decision.reason) == (RetryAction.FAIL, "ModelMax: no retry can help")


@pytest.mark.parametrize(
    "error",
    [
        api.TemporaryError("no", status=502),
        api.TransportError("no"),
        api.JobNotOverError("i", "no", timed_out=True),
        OSError(),
        DestinationError("access denied"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_is_temporary_keeps_to_the_tasks_own_retries(error):
    decision = ModelMaxRetryPolicy().evaluate(error, 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.DEFAULT, None)


def test_a_retry_waits_as_long_as_the_service_asks():
    decision = ModelMaxRetryPolicy().evaluate(api.TemporaryError("no", status=503, retry_after=300), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, timedelta(seconds=300))


def test_one_answer_does_not_put_a_retry_off_for_a_day():
    decision = ModelMaxRetryPolicy().evaluate(api.TemporaryError("no", status=503, retry_after=86_400), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, HOUR)


def test_a_redirect_is_retried_and_a_url_of_another_host_is_not():
    policy = ModelMaxRetryPolicy()
    assert policy.evaluate(api.ForeignUrlError("maintenance", reached=True), 1, 3).action is RetryAction.DEFAULT
    assert policy.evaluate(api.ForeignUrlError("another host"), 1, 3).action is RetryAction.FAIL


def test_rules_of_ones_own_come_first():
    policy = ModelMaxRetryPolicy([RetryRule(api.InsufficientBalanceError, RetryAction.RETRY, HOUR)])
    decision = policy.evaluate(api.InsufficientBalanceError("no", status=402), 1, 3)
    assert (decision.action, decision.retry_delay) == (RetryAction.RETRY, HOUR)
    assert policy.evaluate(api.UnauthorizedError("no", status=401), 1, 3).action is RetryAction.FAIL


def test_a_task_takes_the_policy_with_a_rule_of_ones_own():
    topped_up_by_then = RetryRule(InsufficientBalanceError, RetryAction.RETRY, timedelta(hours=1))

    ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1",
        prompt="A lighthouse at dusk",
        destination="/tmp/videos/",
        retries=5,
        retry_policy=ModelMaxRetryPolicy([topped_up_by_then]),
    )


def test_with_the_policy_an_operators_errors_reach_it_as_they_are():
    class Task:
        retry_policy = ModelMaxRetryPolicy()

    with pytest.raises(api.UnauthorizedError), airflow_errors.translate_errors(Task()):
        raise api.UnauthorizedError("no", status=401)


def test_the_policy_can_be_serialized():
    kept = ModelMaxRetryPolicy().serialize()
    assert kept["__type"] == "ExceptionRetryPolicy"
    assert "airflow_provider_modelmax.api.errors.JobFailedError" in str(kept["rules"])
