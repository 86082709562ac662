"""How long a job is left alone, given what was seen of others."""

from __future__ import annotations

import itertools
import random

import pytest

from airflow_provider_modelmax import poll_schedule
from airflow_provider_modelmax.poll_schedule import DurationStats, ModelStats, next_due, pause

HUNDRED = [100.0 + seconds / 10 for seconds in range(100)]


@pytest.mark.parametrize(
    ("age", "ends", "seconds"),
    [
        (0, [], 5),
        (0, [100.0], 5),
        (0, [100.0] * 10, 5),
        (0, HUNDRED, 20),
        (79, HUNDRED, 20),
        (85, HUNDRED, 15),
        (93, HUNDRED, 6.25),
        (97, HUNDRED, 5),
        (105, HUNDRED, 5),
        (110, HUNDRED, 5),
        (1000, HUNDRED, 5),
    ],
)
def test_a_pause_is_longer_only_where_enough_others_were_never_over(age, ends, seconds):
    assert pause(5, age, ends) == seconds


def test_between_two_usual_ends_a_job_is_left_alone():
    two = [50.0] * 100 + [150.0] * 100
    assert pause(5, 55, two) == 20
    assert pause(5, 145, two) == 5


@pytest.mark.parametrize("seed", range(20))
def test_a_pause_is_one_to_four_intervals_whatever_was_seen(seed):
    chance = random.Random(seed)
    ends = sorted(chance.expovariate(0.01) for _ in range(chance.randrange(300)))
    for age in range(0, 1000, 7):
        assert 3 <= pause(3, age, ends) <= 3 * poll_schedule.MAX_INTERVALS


@pytest.mark.parametrize("seed", range(5))
def test_a_job_that_ends_sooner_than_any_before_is_noticed_four_intervals_late_at_most(seed):
    end, age = random.Random(seed).uniform(0, 90), 0.0
    while age < end:
        age += pause(5, age, HUNDRED)
    assert age - end <= 4 * 5


def test_a_call_is_due_an_interval_after_the_last_one_was_due_whatever_its_answer_took():
    assert next_due(100, 100.03, 5, 5) == 105
    assert next_due(100, 101.9, 12.5, 5) == 112.5


def test_those_whom_a_silence_has_made_wait_do_not_ask_in_step_afterwards():
    """A thousand waits, all answered in the same moment, 40 s late."""
    due = [next_due(100 + number / 200, 143.3, 5, 5) for number in range(1000)]
    seconds = [int(at) for at in due]
    assert max(seconds.count(second) for second in seconds) <= 250
    assert min(due) > 143.3


def test_the_last_jobs_are_remembered_and_no_more():
    durations = DurationStats()
    for seconds in itertools.chain(range(poll_schedule.MAX_REMEMBERED), [7.5]):
        durations.add(seconds)
    assert durations.sorted == sorted([*range(1, poll_schedule.MAX_REMEMBERED), 7.5])
    assert durations.spread == poll_schedule.MAX_REMEMBERED - 2


def taught(jobs: list[tuple[float | None, float | None]]) -> ModelStats:
    stats = ModelStats()
    for age, running in jobs:
        stats.add(age=age, running=running)
    return stats


def test_nothing_is_known_without_a_clock():
    known = taught([(100.0, 60.0)] * 100)
    assert known.pause(5, age=None, running=None, in_queue=False) == 5
    assert ModelStats().pause(5, age=0, running=0, in_queue=True) == 5


def test_in_the_queue_a_job_is_left_alone_as_long_as_it_could_not_even_run():
    """However long others queued: what has yet to run takes as long as the shortest run."""
    queued_at_random = taught([(60.0 + queue, 60.0) for queue in range(100)])
    assert queued_at_random.pause(5, age=100, running=None, in_queue=True) == 20
    assert queued_at_random.pause(5, age=100, running=None, in_queue=False) == 5
    assert queued_at_random.pause(5, age=None, running=None, in_queue=True) == 20


def test_the_clock_that_tells_more_is_believed():
    queued_at_random = taught([(60.0 + 10 * queue, 60.0) for queue in range(100)])
    assert queued_at_random.pause(5, age=500, running=57, in_queue=False) == 5
    assert queued_at_random.pause(5, age=61, running=1, in_queue=False) == 20
