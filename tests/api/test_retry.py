"""The retry rule: how often and when a call is sent again, and which may have been billed."""

from __future__ import annotations

import pytest

from airflow_provider_modelmax import api

JOB = api.Job.of({"model": "veo-3.1", "request_id": "id"})
SUBMIT, STATUS, RESULT = api.submit("veo-3.1", "a boat"), api.status(JOB), api.result(JOB)

BROKEN = api.TransportError("reset")
NOBODY = api.TransportError("nobody listens", reached=False)
GARBLED = api.AnswerError("html", garbled=True)
ODD = api.AnswerError("without a usable 'status'")
UNUSABLE = api.UnusableResultError("without a usable 'data'")
EARLY = api.TooEarlyError("IN_PROGRESS")
FOREIGN = api.ForeignUrlError("evil")


def temporary(status: int = 500, retry_after: float | None = None) -> api.TemporaryError:
    return api.TemporaryError("busy", status=status, retry_after=retry_after)


@pytest.mark.parametrize(
    ("call", "error", "attempts"),
    [
        (SUBMIT, BROKEN, 5),
        (SUBMIT, NOBODY, 5),
        (SUBMIT, GARBLED, 5),
        (SUBMIT, ODD, 5),
        (SUBMIT, temporary(500), 5),
        (SUBMIT, temporary(429), 5),
        (STATUS, BROKEN, 5),
        (STATUS, ODD, 5),
        (STATUS, FOREIGN, 1),
        (STATUS, temporary(404), 5),
        (STATUS, api.NotFoundError("no", status=404), 1),
        (RESULT, BROKEN, 3),
        (RESULT, NOBODY, 5),
        (RESULT, GARBLED, 3),
        (RESULT, ODD, 1),
        (RESULT, UNUSABLE, 1),
        (STATUS, UNUSABLE, 1),
        (RESULT, EARLY, 5),
        (RESULT, temporary(404), 3),
        (RESULT, api.NotFoundError("no", status=404), 1),
        (RESULT, temporary(500), 3),
        (RESULT, temporary(502), 3),
        (RESULT, temporary(429), 5),
        (RESULT, FOREIGN, 1),
        (SUBMIT, api.BadRequestError("no", status=400), 1),
        (SUBMIT, api.UnauthorizedError("no", status=401), 1),
        (SUBMIT, api.InsufficientBalanceError("no", status=402), 1),
        (SUBMIT, api.ServiceError("no", status=403), 1),
        (SUBMIT, api.InvalidInputError("no"), 1),
        (SUBMIT, api.ConnectionSetupError("no"), 1),
        (RESULT, api.JobFailedError("id", "no"), 1),
    ],
)
def test_a_call_is_sent_so_often_at_most(call, error, attempts):
    delays = [api.retry_delay(call, error, attempt) for attempt in range(1, 7)]
    assert [delay is not None for delay in delays] == [attempt < attempts for attempt in range(1, 7)]
    assert attempts <= api.ATTEMPTS_WHEN_IT_MAY_BILL or not api.may_have_billed(call, error)


@pytest.mark.parametrize(
    ("call", "error", "billed"),
    [
        (RESULT, BROKEN, True),
        (RESULT, GARBLED, True),
        (RESULT, ODD, True),
        (RESULT, UNUSABLE, True),
        (RESULT, temporary(500), True),
        (RESULT, temporary(503), True),
        *((RESULT, temporary(status), True) for status in (400, 404, 408, 410)),  # of a gateway
        *((RESULT, api.ServiceError("no", status=status), True) for status in (403, 422, 451, 499)),
        *((RESULT, temporary(status), False) for status in (425, 429)),
        *((RESULT, api.ServiceError("no", status=status), False) for status in (402, 407, 421)),
        (RESULT, api.UnauthorizedError("no", status=401), False),
        (RESULT, api.InsufficientBalanceError("no", status=402, type="insufficient_balance"), False),
        (RESULT, api.NotFoundError("no", status=404, type="not_found"), False),
        (RESULT, api.BadRequestError("no", status=400, type="bad_request"), False),
        (RESULT, NOBODY, False),
        (RESULT, EARLY, False),
        (RESULT, FOREIGN, False),
        (RESULT, api.ForeignUrlError("a redirect", reached=True), True),
        (RESULT, api.JobFailedError("id", "no"), False),
        (SUBMIT, BROKEN, False),
        (STATUS, GARBLED, False),
    ],
)
def test_only_a_result_that_may_have_been_carried_out_may_have_billed(call, error, billed):
    assert api.may_have_billed(call, error) is billed


@pytest.mark.parametrize("attempt", [1, 2, 3, 4])
def test_delays_double_and_are_spread(attempt):
    delays = {api.retry_delay(SUBMIT, BROKEN, attempt) for _ in range(50)}
    assert len(delays) > 1
    assert all(2 ** (attempt - 1) / 2 <= delay <= 2 ** (attempt - 1) for delay in delays)


@pytest.mark.parametrize(("asked", "delay"), [(7.0, 7.0), (0.0, 0.1), (60.0, 60.0), (61.0, None), (float("inf"), None)])
def test_retry_after_is_honoured_unless_it_is_too_long_for_a_worker(asked, delay):
    assert api.retry_delay(SUBMIT, temporary(429, asked), 1) == delay
