"""The result of a chaos run, counted in the service's ledger, the bucket and the logs, not in the provider."""

from __future__ import annotations

import hashlib
import json
import re
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tests.chaos.crash_plan import POINTS, STATE_ONLY, WINDOW, Crashes

if TYPE_CHECKING:
    from pathlib import Path

    from tests.chaos.monkey import Monkey
    from tests.chaos.watcher import Watcher
    from tests.stack.client import Json

WARNING = re.compile(r"may be billed a second time")


@dataclass(frozen=True)
class Video:
    """One requested video.

    :param state: of its task
    :param jobs: its jobs in the ledger
    :param whole: whether the bucket has exactly what the service served for its job
    :param warnings: how many of its log lines say that a call may be billed a second time
    :param crash: where its process died, if it did
    :param lost_answer: whether it had a fault that bills and loses the answer
    """

    number: int
    state: str
    jobs: tuple[Json, ...]
    whole: bool
    warnings: int
    crash: str | None
    lost_answer: bool

    @property
    def bills(self) -> int:
        """How often it was billed."""
        return sum(int(job["bills"]) for job in self.jobs)

    @property
    def trouble(self) -> str:
        """What is wrong with it; empty if nothing is."""
        if self.state != "success" or not self.whole:
            return f"lost: its task is {self.state}, {'a' if self.whole else 'no'} whole video stands in the bucket"
        if self.bills - 1 > self.warnings:
            return f"billed {self.bills} times, warned {self.warnings} times"
        return ""


@dataclass(frozen=True)
class Outcome:
    """Everything that is counted."""

    videos: tuple[Video, ...]
    submits: int
    kills: dict[str, int]
    tries: int
    broken: list[str]
    uploads: list[str]
    looks: int
    seconds: float

    @classmethod
    def of(cls, monkey: Monkey, watcher: Watcher, crashes: Path, lost: set[int], seconds: float) -> Outcome:
        """Count. `lost` are the videos with a fault that bills and loses the answer."""
        watcher.look()
        ledger = monkey.simulator.ledger()
        tasks = {each["map_index"]: each for each in monkey.tasks()}
        stored = _stored(monkey)
        died = Crashes(crashes).all()
        jobs: dict[int, list[Json]] = {number: [] for number in range(monkey.videos)}
        for job in ledger["jobs"]:
            jobs[int(job["prompt"].rpartition(" ")[2].rstrip("."))].append(job)
        logs = monkey.stack.home / "logs" / f"dag_id={monkey.dag_id}"
        return cls(
            tuple(
                Video(
                    number,
                    str(tasks[number]["state"]) if number in tasks else "missing",
                    tuple(jobs[number]),
                    any(_is_whole(job, stored) for job in jobs[number]),
                    warnings(logs, number),
                    died.get(number),
                    number in lost,
                )
                for number in range(monkey.videos)
            ),
            submits=ledger["counts"]["submit"],
            kills=monkey.done,
            tries=sum(each["try_number"] for each in tasks.values()),
            broken=watcher.broken({_identity(video) for job in ledger["jobs"] for video in job["videos"]}),
            uploads=monkey.s3.list_multipart_uploads(),
            looks=watcher.looks,
            seconds=seconds,
        )

    def is_good(self) -> bool:
        """Return whether every promise was kept."""
        return not (self.broken or self.uploads or any(video.trouble for video in self.videos))

    def table(self) -> str:
        """Return the counts as a table."""
        bills = sum(video.bills for video in self.videos)
        extra = [video for video in self.videos if video.bills > 1]
        in_window = sum(video.crash in {WINDOW, STATE_ONLY} and not video.lost_answer for video in extra)
        died = Counter(video.crash for video in self.videos if video.crash)
        rows: list[tuple[str, Any]] = [
            ("videos wanted", len(self.videos)),
            ("videos landed, whole", sum(video.whole for video in self.videos)),
            ("jobs", sum(len(video.jobs) for video in self.videos)),
            ("submit calls", self.submits),
            ("bills", bills),
            ("  videos billed more than once", len(extra)),
            ("    killed in the window", in_window),
            ("    answer lost on the way", len(extra) - in_window),
            ("  bills without a warning", sum(max(v.bills - 1 - v.warnings, 0) for v in self.videos)),
            ("lost", sum(video.trouble.startswith("lost") for video in self.videos)),
            ("partial objects ever seen", len(self.broken)),
            ("unfinished uploads left", len(self.uploads)),
            ("looks at the bucket", self.looks),
            ("tries", self.tries),
            *((f"killed: {point}", died[point]) for point in POINTS),
            *sorted((f"monkey: {what}", count) for what, count in self.kills.items()),
            ("seconds", round(self.seconds)),
        ]
        lines = [f"  {name:42} {value:>7}" for name, value in rows]
        troubles = [f"  video {video.number}: {video.trouble}" for video in self.videos if video.trouble]
        troubles += [f"  partial: {key}" for key in self.broken] + [f"  unfinished: {key}" for key in self.uploads]
        verdict = "every promise was kept" if self.is_good() else "NOT GOOD"
        return "\n".join(["", *lines, *troubles, "", f"  {verdict}", ""])


def _stored(monkey: Monkey) -> dict[str, set[tuple[int, str]]]:
    """Return size and checksum of the videos in the bucket, by the job in their manifest."""
    found = {}
    for key in monkey.s3.list_objects():
        if key.endswith(".modelmax.json"):
            manifest = json.loads(monkey.s3.read(key))
            keys = [video["uri"].removeprefix("s3://store@videos/") for video in manifest["videos"]]
            found[manifest["request_id"]] = {_identity_of(monkey.s3.read(each)) for each in keys}
    return found


def _is_whole(job: Json, stored: dict[str, set[tuple[int, str]]]) -> bool:
    return job["request_id"] in stored and stored[job["request_id"]] == {_identity(video) for video in job["videos"]}


def _identity(video: Json) -> tuple[int, str]:
    return int(video["bytes"]), str(video["sha256"])


def _identity_of(data: bytes) -> tuple[int, str]:
    return len(data), hashlib.sha256(data).hexdigest()


def warnings(logs: Path, number: int) -> int:
    """Count the log lines of a video that say that a call may be billed a second time."""
    folder = logs / "run_id=run" / "task_id=generate" / f"map_index={number}"
    return sum(len(WARNING.findall(path.read_text(errors="replace"))) for path in folder.rglob("*.log"))
