"""How a task that is killed, or has timed out, is stopped. A call that is under way is not interrupted."""

from __future__ import annotations

import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

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


@contextmanager
def deferred_timeout() -> Iterator[Callable[[], None]]:
    """Defer SIGALRM, Airflow's ``execution_timeout``, until the block ends: the billing call's answer is stored first.

    Yields a function that raises an alarm that was deferred, for moments at which no call is under way.
    """
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread only
        yield lambda: None
        return
    is_due = False

    def note(*_: object) -> None:
        nonlocal is_due
        is_due = True

    def raise_if_due() -> None:
        nonlocal is_due
        if is_due:
            is_due = False
            signal.signal(signal.SIGALRM, usual)
            signal.raise_signal(signal.SIGALRM)

    usual = signal.signal(signal.SIGALRM, note) or signal.SIG_DFL
    try:
        yield raise_if_due
    finally:
        signal.signal(signal.SIGALRM, usual)
        raise_if_due()
