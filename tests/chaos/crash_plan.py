"""The places at which a task process can be told to kill itself, and which video dies where. Imports nothing of ours.

A video has at most one crash point, by its number, and dies there once: the folder of crashes remembers it.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path

WINDOW = "answer on its way"
"""The one place where a kill can cost a second bill: the service has billed, and nothing is kept yet."""

STATE_ONLY = "result in task state only"
"""Where there is no task state, the same as the window."""

CLAIMED = "claimed, not asked"
"""Looks the same to the next try, so it asks with a warning; but nothing was billed yet."""

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
    """Who died where: one empty file for each, made before the death."""

    def __init__(self, folder: Path) -> None:
        """Take the folder in which the files are."""
        self.folder = folder

    def there(self, number: int, point: str) -> None:
        """Die if this is the video's crash point, the first time."""
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
