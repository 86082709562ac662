"""A flag that ends pauses and downloads when the task is killed. A call that is under way is not interrupted."""

from __future__ import annotations

import time

LOOK_EVERY = 0.5
"""Seconds between two checks of the flag. It is polled because it is set in a signal handler, where taking the lock of
an ``Event`` can deadlock."""


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """The work is to stop: the task is killed, or out of time."""

    is_reported = True
    """``on_kill`` has logged what it means."""


class Stop:
    """A flag that a signal handler may set, and pauses that end when it is set."""

    def __init__(self) -> None:
        self._is_set = False

    def set(self) -> None:
        """End all pauses and downloads, within half a second."""
        self._is_set = True

    def is_set(self) -> bool:
        """Return whether the work is to stop."""
        return self._is_set

    def pause(self, seconds: float) -> None:
        """Wait that many seconds.

        :raises Stopped: if it is set
        """
        end = time.monotonic() + seconds
        while not self._is_set and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, LOOK_EVERY))
        if self._is_set:
            raise Stopped("The task is killed.")
