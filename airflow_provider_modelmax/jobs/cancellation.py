"""A token that ends pauses and downloads when the task is killed. A call that is under way is not interrupted."""

from __future__ import annotations

import time

CHECK_EVERY = 0.5
"""Seconds between two checks of the token. It is polled because it is set in a signal handler, where taking the lock of
an ``Event`` can deadlock."""


class Cancelled(Exception):  # noqa: N818 - a signal, not an error
    """The work is to stop: the task is killed, or has timed out."""

    is_reported = True
    """``on_kill`` has logged what it means."""


class CancelToken:
    """A flag that a signal handler may set, and pauses that end when it is set."""

    def __init__(self) -> None:
        self.is_cancelled = False
        """Whether the work is to stop."""

    def cancel(self) -> None:
        """End all pauses and downloads, within half a second."""
        self.is_cancelled = True

    def check(self) -> None:
        """Raise :class:`Cancelled` if the work is to stop."""
        if self.is_cancelled:
            raise Cancelled("The task is killed.")

    def pause(self, seconds: float) -> None:
        """Wait that many seconds.

        :raises Cancelled: if the work is to stop
        """
        end = time.monotonic() + seconds
        while not self.is_cancelled and (left := end - time.monotonic()) > 0:
            time.sleep(min(left, CHECK_EVERY))
        self.check()
