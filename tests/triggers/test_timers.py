"""Sleeping together: one timer for all who wake at the same moment, and nobody wakes early."""

from __future__ import annotations

import asyncio
import gc
import weakref

import pytest

from airflow_provider_modelmax.triggers import timers


@pytest.fixture
def moments(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return for when timers were set."""
    set_for: list[float] = []
    call_at = asyncio.BaseEventLoop.call_at

    def noted(loop: asyncio.BaseEventLoop, when: float, wake: object, *more: object, **named: object) -> object:
        if wake is timers._wake:
            set_for.append(when)
        return call_at(loop, when, wake, *more, **named)

    monkeypatch.setattr(asyncio.BaseEventLoop, "call_at", noted)
    return set_for


async def until(moment: float) -> float:
    """Sleep until a moment of the loop's clock, and return for how long too long."""
    loop = asyncio.get_running_loop()
    await timers.sleep(moment - loop.time())
    return loop.time() - moment


def test_a_thousand_who_wake_together_set_one_timer_and_none_wakes_early(moments):
    async def all_of_them() -> list[float]:
        moment = round(asyncio.get_running_loop().time() + 0.3, 2) - 0.0005
        return await asyncio.gather(*(until(moment) for _ in range(1000)))

    late = asyncio.run(all_of_them())
    assert len(moments) == 1
    assert min(late) >= 0


def test_each_wakes_at_its_own_moment(moments):
    async def all_of_them() -> list[float]:
        now = asyncio.get_running_loop().time()
        return await asyncio.gather(*(until(now + 0.05 * number) for number in range(1, 9)))

    assert max(asyncio.run(all_of_them())) < 0.05
    assert len(moments) == 8


def test_who_is_cancelled_wakes_nobody_and_is_woken_by_nobody():
    async def cancelled_first() -> tuple[bool, float]:
        moment = asyncio.get_running_loop().time() + 0.2
        one, other = (asyncio.create_task(until(moment)) for _ in range(2))
        await asyncio.sleep(0.05)
        one.cancel()
        late = await other
        return one.cancelled(), late

    was_cancelled, late = asyncio.run(cancelled_first())
    assert was_cancelled
    assert late >= 0


@pytest.mark.parametrize("seconds", [0, -1])
def test_who_is_late_lets_the_others_have_a_turn(seconds):
    async def in_turn() -> list[str]:
        seen: list[str] = []
        asyncio.get_running_loop().call_soon(seen.append, "the others")
        await timers.sleep(seconds)
        return [*seen, "who was late"]

    assert asyncio.run(in_turn()) == ["the others", "who was late"]


def test_nothing_is_kept_of_a_loop_that_is_closed():
    async def given_up() -> weakref.ref[asyncio.AbstractEventLoop]:
        task = asyncio.create_task(until(asyncio.get_running_loop().time() + 3600))
        await asyncio.sleep(0)
        task.cancel()
        return weakref.ref(asyncio.get_running_loop())

    loop = asyncio.run(given_up())
    gc.collect()
    assert loop() is None
    assert not timers._sleepers
