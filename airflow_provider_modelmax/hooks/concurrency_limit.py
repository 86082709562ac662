"""Adaptive concurrency limit for async calls: starts low, grows with the queue, sheds queued calls after an outage."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from airflow_provider_modelmax import api

INITIAL_SLOTS = 20
"""Concurrent calls at the start, and never fewer. More would cost memory: asyncio keeps 256 KiB per TLS connection."""

MAX_SLOTS = 200
"""Concurrent calls at most: 1,000 calls a second if each answer takes 0.2 s."""

GROW_AFTER = 0.5
"""Seconds for which calls must have been queued before slots are added: a briefly blocked event loop needs none."""

GROW_EVERY = 0.05
"""Seconds between two added slots while calls stay queued: most bursts need only a few more."""

SHRINK_AFTER = 5.0
"""Seconds without a long queue after which a quarter of the added slots is removed; repeated until none is left."""

MAX_QUEUE_TIME = 3.0
"""Seconds. A call queued for longer is sent only if other answers arrived meanwhile: its caller polls again anyway."""


class ConcurrencyLimit:
    """Limits how many calls are in flight; the others are queued.

    After an outage, all queued calls would hit the service at once. They are shed instead and raise ``BusyError``.
    """

    def __init__(self) -> None:
        self._slots, self._in_use = INITIAL_SLOTS, 0
        self._surplus_connections = 0
        self._queue: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._queued_since = self._answered = self._long_queue = self._grown = 0.0

    async def acquire(self) -> None:
        """Take a slot, or wait in the queue for one.

        :raises BusyError: if the call was shed
        """
        if self._in_use < self._slots:
            self._in_use += 1
            return
        now, slot = time.monotonic(), asyncio.get_running_loop().create_future()
        if not self._queue:
            self._queued_since = now
        self._queue.append((now, slot))
        try:
            if await slot:
                return
        except asyncio.CancelledError:
            if slot.done() and not slot.cancelled() and slot.result():
                self.release(answered=False)
            raise
        raise api.BusyError(
            f"Not sent: {INITIAL_SLOTS} calls or more were waiting for an answer, for {MAX_QUEUE_TIME:g} s or longer."
        )

    def release(self, *, answered: bool) -> None:
        """Give the slot to the next queued call.

        :param answered: whether the service answered; if not, more slots would not help
        """
        self._in_use -= 1
        now = time.monotonic()
        if not self._queue:
            self._shrink(now)
            return
        if now - self._queued_since > GROW_AFTER / 2:
            self._long_queue = now
        outage = not answered or now - max(self._answered, self._queued_since) > MAX_QUEUE_TIME
        if answered:
            self._answered = now
        if not outage:
            self._grow(now)
        while self._queue and self._in_use < self._slots:
            since, slot = self._queue.popleft()
            if not slot.done():
                send = not outage or now - since <= MAX_QUEUE_TIME
                self._in_use += send
                slot.set_result(send)

    def take_surplus(self) -> bool:
        """Return whether the next call should close its connection, because there are more connections than slots."""
        if not self._surplus_connections:
            return False
        self._surplus_connections -= 1
        return True

    def _grow(self, now: float) -> None:
        queued_for = now - max(self._queued_since + GROW_AFTER, self._grown)
        added = min(int(queued_for / GROW_EVERY), MAX_SLOTS - self._slots)
        if added > 0:
            self._slots, self._grown = self._slots + added, now
            self._surplus_connections = max(self._surplus_connections - added, 0)

    def _shrink(self, now: float) -> None:
        if self._slots > INITIAL_SLOTS and now - self._long_queue > SHRINK_AFTER:
            removed = -(-(self._slots - INITIAL_SLOTS) // 4)
            self._slots, self._long_queue = self._slots - removed, now
            self._surplus_connections += removed
