"""Wakes those who sleep until the same moment with one timer.

With a timer each, a wait keeps twice as many objects from one poll to the next, all for Python's garbage collection to
walk, and those of ``aiohttp`` stay in the loop's long heap of timers when their calls are over.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from weakref import WeakValueDictionary

PER_SECOND = 1000
"""Moments that are told apart."""


class _Sleepers(list["asyncio.Future[None]"]):
    """Those who wake at one moment. The timer keeps them, so that they go when their loop goes."""


_sleepers: WeakValueDictionary[tuple[int, int], _Sleepers] = WeakValueDictionary()
"""By loop and moment, counted by the loop's clock."""


def sleep(seconds: float) -> Awaitable[None]:
    """Do what ``asyncio.sleep`` does, for as long or up to a millisecond longer; to be awaited at once."""
    if seconds <= 0:
        return asyncio.sleep(0)
    loop = asyncio.get_running_loop()
    moment = math.ceil((loop.time() + seconds) * PER_SECOND)
    sleepers = _sleepers.get((id(loop), moment))
    if sleepers is None:
        sleepers = _sleepers[id(loop), moment] = _Sleepers()
        loop.call_at(moment / PER_SECOND, _wake, sleepers)
    sleeper = loop.create_future()
    sleepers.append(sleeper)
    return sleeper


def _wake(sleepers: _Sleepers) -> None:
    for sleeper in sleepers:
        if not sleeper.done():  # a cancelled task has cancelled its own
            sleeper.set_result(None)
