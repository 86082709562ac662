"""Defers SIGALRM, Airflow's ``execution_timeout``, during the billing call, so that its answer is stored first."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def deferred_timeout() -> Iterator[Callable[[], None]]:
    """Defer the alarm of this process until the block ends.

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
