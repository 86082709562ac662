"""When a wait ends."""

from __future__ import annotations

from datetime import datetime, timedelta, timezone

import pytest

from airflow_provider_modelmax import api, deadlines

NOW = datetime.now(timezone.utc)
HOUR = timedelta(hours=1)


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
        deadline += deadlines.utcnow() - NOW
    assert abs(deadlines.absolute_deadline(deadline, execution_timeout) - deadlines.utcnow() - end) < timedelta(
        minutes=1
    )


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
        deadlines.absolute_deadline(deadline, execution_timeout)
