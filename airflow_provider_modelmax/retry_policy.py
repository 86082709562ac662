"""Which failures Airflow should retry, and when: ``retry_policy=ModelMaxRetryPolicy()`` on a task (Airflow 3.3+)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta
from typing import TYPE_CHECKING

try:
    from airflow.sdk import ExceptionRetryPolicy, RetryAction, RetryRule
    from airflow.sdk.definitions.retry_policy import RetryDecision
except ImportError:
    raise ImportError(
        "Retry policies exist since Airflow 3.3. Before, leave retry_policy out: operators and sensor of this provider "
        "fail at once by themselves where no retry can help."
    ) from None

from airflow_provider_modelmax import airflow_errors, api

if TYPE_CHECKING:
    from airflow.sdk import Context


_NO_RETRY = "ModelMax: no retry can help"

LONGEST_DELAY = timedelta(hours=1)
"""The longest retry delay that one answer's ``Retry-After`` can cause."""


class ModelMaxRetryPolicy(ExceptionRetryPolicy):
    """Fail at once where no retry can help; let the others keep to the task's ``retries`` and ``retry_delay``.

    A wrong key (401), an empty balance (402), a refused request (400), wrong arguments, URLs of another host, a FAILED
    job (content policy), and unusable or gone answers that were paid for never retry. What is temporary does (429,
    5xx, no answer), after the service's ``Retry-After`` if it gave one, up to an hour.

    On an operator or sensor of this provider these rules hold without a policy as well. With one, an operator's errors
    reach it as they are, so that rules of your own can say otherwise. On tasks that use
    :class:`~airflow_provider_modelmax.hooks.modelmax.ModelMaxHook` this policy is what tells them apart.

    :param rules: your own, asked first; for example
        ``RetryRule(InsufficientBalanceError, RetryAction.RETRY, timedelta(hours=1))``
    """

    sees_every_error = True

    def __init__(self, rules: Sequence[RetryRule] = ()) -> None:
        # Not all errors of this class are hopeless: evaluate() decides.
        classes: list[type[BaseException] | str] = [
            cls for cls in airflow_errors.NOT_RETRYABLE if cls is not api.ForeignUrlError
        ]
        hopeless = RetryRule(classes, RetryAction.FAIL, reason=_NO_RETRY)
        super().__init__([*rules, hopeless])

    def evaluate(
        self, exception: BaseException, try_number: int, max_tries: int, context: Context | None = None
    ) -> RetryDecision:
        """Decide, as Airflow's worker asks after a failure."""
        decision = super().evaluate(exception, try_number, max_tries, context)
        if decision.action is RetryAction.DEFAULT and not airflow_errors.is_retryable(exception):
            return RetryDecision.fail(_NO_RETRY)
        after = exception.retry_after if isinstance(exception, api.ServiceError) else None
        if decision.action is RetryAction.DEFAULT and after:
            delay = min(timedelta(seconds=after), LONGEST_DELAY)
            return RetryDecision.retry(delay, f"ModelMax asked to wait for {after:g} s")
        return decision
