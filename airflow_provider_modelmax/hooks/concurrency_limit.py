"""How many calls are under way at once: few, more where answers come from afar, and no crowd after a silence."""

from __future__ import annotations

import asyncio
import time
from collections import deque

from airflow_provider_modelmax import api

FEW = 20
"""Calls at once, to begin with: asyncio keeps 256 KiB for each connection over TLS."""

MOST = 200
"""Calls at once where there is always a line: so many answers of 0.2 s are 1,000 calls a second."""

LONG_LINE = 0.5
"""Seconds for which there has been a line until it gets more lanes: an event loop that stood still is no reason."""

STEP = 0.05
"""Seconds that a longer line stands for each lane more: most end with a few, and what is opened is kept for a while."""

CALM = 5.0
"""Seconds without a long line after which a quarter of the lanes beyond ``FEW`` is closed."""

SILENCE = 3.0
"""Seconds without an answer after which those who stood in line for them are not sent: they ask again later anyway."""


class Lanes:
    """Calls enter and leave; who finds all lanes taken stands in line.

    When a service that hung answers again, those in line would greet it all at once. They are told so instead.
    """

    def __init__(self) -> None:
        self._open, self._taken, self._closing = FEW, 0, 0
        self._line: deque[tuple[float, asyncio.Future[bool]]] = deque()
        self._line_since = self._answered = self._long_line = self._widened = 0.0

    def enter(self) -> bool:
        """Take a lane if one is free."""
        if self._taken >= self._open:
            return False
        self._taken += 1
        return True

    def closes(self) -> bool:
        """Say whether the connection of a call is to be closed after it: there are more than lanes by now."""
        if not self._closing:
            return False
        self._closing -= 1
        return True

    async def turn(self) -> None:
        """Take the lane that comes free.

        :raises BusyError: when nothing was answered meanwhile
        """
        now, turn = time.monotonic(), asyncio.get_running_loop().create_future()
        if not self._line:
            self._line_since = now
        self._line.append((now, turn))
        try:
            if await turn:
                return
        except asyncio.CancelledError:
            if turn.done() and not turn.cancelled() and turn.result():
                self.leave(answered=False)
            raise
        raise api.BusyError(f"Not sent: {FEW} calls or more were waiting for an answer, for {SILENCE:g} s or longer.")

    def leave(self, *, answered: bool) -> None:
        """Give the lane to the next in line.

        :param answered: whether the service answered; where it does not, more lanes would not help
        """
        self._taken -= 1
        if not self._line:
            if self._open > FEW:
                self._close_some(time.monotonic())
            return
        now = time.monotonic()
        if now - self._line_since > LONG_LINE / 2:
            self._long_line = now
        silent = not answered or now - max(self._answered, self._line_since) > SILENCE
        if answered:
            self._answered = now
            if not silent:
                self._open_some(now)
        while self._line and self._taken < self._open:
            since, turn = self._line.popleft()
            if not turn.done():
                sent = not silent or now - since <= SILENCE
                if sent:
                    self._taken += 1
                turn.set_result(sent)

    def _open_some(self, now: float) -> None:
        more = min(int((now - max(self._line_since + LONG_LINE, self._widened)) / STEP), MOST - self._open)
        if more > 0:
            self._open, self._closing, self._widened = self._open + more, max(self._closing - more, 0), now

    def _close_some(self, now: float) -> None:
        if now - self._long_line > CALM:
            closed = -(-(self._open - FEW) // 4)
            self._open, self._closing, self._long_line = self._open - closed, self._closing + closed, now
