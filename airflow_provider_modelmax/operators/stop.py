"""What a kill ends: pauses and downloads. A call that is under way ends by itself."""

from __future__ import annotations

import threading


class Stopped(Exception):  # noqa: N818 - a signal, not an error
    """The work was told to stop: the task is killed, or out of time."""


class Stop(threading.Event):
    """Set when the work is to stop."""

    def pause(self, seconds: float) -> None:
        """Wait so many seconds.

        :raises Stopped: when it is set, at once
        """
        if self.wait(seconds):
            raise Stopped("The task is killed.")
