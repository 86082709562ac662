"""Ends what a killed test session leaves behind. A process of its own, started once a session.

It reads what the session starts and ends from its standard input, and does nothing until that is closed, which
happens when the session is gone, however it went; then it kills what was started and not ended.
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
