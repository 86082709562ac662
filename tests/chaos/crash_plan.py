"""The places at which a task's process can kill itself, and the place for each video. Imports nothing of ours.

A video's number decides its crash point, if any. Its process dies there once: the folder of crashes records it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

WINDOW = "answer on its way"
"""The only place where a kill can cost a second bill: the service has billed, and nothing is stored yet."""

STATE_ONLY = "result in task state only"
"""Without task state, the same as the window."""

CLAIMED = "claimed, not asked"
"""The next try cannot tell it from the window, so it warns; but nothing was billed yet."""

POINTS = (
    "before the submit",
    "submitted, not kept",
    "submission kept",
    "resumed",
    CLAIMED,
    WINDOW,
    STATE_ONLY,
    "result kept",
    "in the middle of a download",
    "downloaded, not published",
    "published",
    "landed, manifest only",
    "landed",
    "handed over",
)


def point_of(number: int) -> str | None:
    """Return the crash point of a video; every fourth video has none."""
    group, rest = divmod(number, 4)
    return None if rest == 3 else POINTS[(group * 3 + rest) % len(POINTS)]


class Crashes:
    """Which process died where: one empty file for each, created before it dies."""

    def __init__(self, folder: Path) -> None:
        """Take the folder for the files."""
        self.folder = folder

    def there(self, number: int, point: str) -> None:
        """Kill this process if this is the video's crash point, but only the first time."""
        if point != point_of(number):
            return
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / f"{number:04}@{point}").touch(exist_ok=False)
        except FileExistsError:
            return
        os.kill(os.getpid(), signal.SIGKILL)

    def all(self) -> dict[int, str]:
        """Return the crash point of each video that died."""
        names = (path.name.partition("@") for path in self.folder.glob("*@*"))
        return {int(number): point for number, _, point in names}
