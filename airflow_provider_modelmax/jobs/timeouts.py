"""Airflow's ``execution_timeout`` is an alarm, which can come at any instruction: held back, it loses nothing."""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def held_back() -> Iterator[Callable[[], None]]:
    """Hold the alarm of this process back until the block is left: what the block did is done then.

    Yields a function that raises an alarm that was held back, for moments at which no call is under way.
    """
    if threading.current_thread() is not threading.main_thread():  # Python runs handlers in the main thread only
        yield lambda: None
        return
    came = False

    def note(*_: object) -> None:
        nonlocal came
        came = True

    def let_through() -> None:
        nonlocal came
        if came:
            came = False
            signal.signal(signal.SIGALRM, usual)
            signal.raise_signal(signal.SIGALRM)

    usual = signal.signal(signal.SIGALRM, note) or signal.SIG_DFL
    try:
        yield let_through
    finally:
        signal.signal(signal.SIGALRM, usual)
        let_through()
