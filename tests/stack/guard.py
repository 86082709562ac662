"""Ends the processes that a killed test session leaves behind. A separate process, started once per session.

It reads from its standard input which processes the session starts and ends. When that is closed, because the session
is gone for whatever reason, it kills the processes that were started but not ended.
"""

from __future__ import annotations

import signal
import sys

from tests.stack.processes import family, send


def main() -> None:
    """Wait for the end of the input, then clean up."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    left: set[tuple[str, str]] = set()
    for line in sys.stdin:
        what, leader, tag = line.split()
        (left.add if what == "started" else left.discard)((leader, tag))
    for leader, tag in left:
        send(family(int(leader), tag), signal.SIGKILL)


if __name__ == "__main__":
    main()
