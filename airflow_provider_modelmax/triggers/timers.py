"""One event loop timer for all triggers that sleep until the same moment.

With a timer each, a trigger would keep twice as many objects between two polls for Python's garbage collector to
visit, and the long heap of timers would slow down the event loop.
"""

from __future__ import annotations

import asyncio
import math
from collections.abc import Awaitable
from weakref import WeakValueDictionary

PER_SECOND = 1000
"""Timers per second: triggers that wake within the same millisecond share one."""


class _Sleepers(list["asyncio.Future[None]"]):
    """The futures that are resolved at one moment. The timer holds them, so that they go when their loop goes."""


_sleepers: WeakValueDictionary[tuple[int, int], _Sleepers] = WeakValueDictionary()
"""By loop and moment, counted by the loop's clock."""


def sleep(seconds: float) -> Awaitable[None]:
    """Return an awaitable like that of ``asyncio.sleep``, up to a millisecond longer; await it at once."""
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
