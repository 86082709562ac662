"""Reports one DAG run to a person: its progress, its result, or why it failed."""

from __future__ import annotations

import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from tests.stack.client import OVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.client import Json
    from tests.stack.simulator import SimulatorProcess

STATES = {"deferred": "deferred: the triggerer waits for the job, no worker slot is held"}


@dataclass(frozen=True)
class Run:
    """A DAG run and the simulator that makes its videos."""

    stack: AirflowStack
    simulator: SimulatorProcess
    dag_id: str
    run_id: str

    def follow(self, say: Callable[[str], None], timeout: float) -> str:
        """Report each change of a task's or a job's state until the DAG run is over, and return its state."""
        told: dict[str, None] = {}
        deadline = time.monotonic() + timeout
        while True:
            state = str(self.stack.run(self.dag_id, self.run_id)["state"])
            for line in self._situation():
                if line not in told:
                    told[line] = None
                    say(line)
            if state in OVER or time.monotonic() > deadline:
                return state
            time.sleep(0.2)

    def story(self) -> str:
        """Report where the videos are, what is in them, what was billed and how to open them."""
        films = [film for task in self._tasks() for film in map(local, texts(self._xcom(task, "return_value"))) if film]
        usages = [usage for task in self._tasks() if (usage := self._xcom(task, "usage"))]
        ledger = self.simulator.ledger()
        calls = ", ".join(f"{count} {name}" for name, count in ledger["counts"].items())
        opener = "open" if sys.platform == "darwin" else "xdg-open"
        lines = [
            "\nVideos",
            *(f"  {film}\n    {describe(film)}" for film in films),
            "\nBilled (by the simulator: no money was spent)",
            *(f"  the task says (XCom usage):  {usage}" for usage in usages),
            f"  the service says (ledger):   {len(ledger['bills'])} x, {ledger['billed_video_seconds']} video-seconds",
            f"  calls it had:                {calls}",
            "\nOpen",
            *(f"  {opener} {film}" for film in films),
        ]
        return "\n".join(lines) + "\n"

    def failures(self, lines: int = 40) -> str:
        """Show the end of the log of each task that did not succeed."""
        parts = []
        for task in self._tasks():
            if task["state"] != "success":
                parts.append(f"\n--- task {name(task)}: {task['state']}")
                parts += self._log(task).splitlines()[-lines:]
        return "\n".join(parts) + "\n"

    def _situation(self) -> list[str]:
        jobs = [f"job {job['request_id'][:12]}: {job['status']}" for job in self.simulator.ledger()["jobs"]]
        states = [(name(task), task["state"]) for task in self._tasks() if task["state"]]
        return [
            *(f"  task {task}: {STATES.get(state, state)}" for task, state in states),
            *(f"  {job}" for job in jobs),
        ]

    def _tasks(self) -> list[Json]:
        return self.stack.task_instances(self.dag_id, self.run_id)

    def _xcom(self, task: Json, key: str) -> Any:
        where = (self.dag_id, self.run_id, task["task_id"])
        keys = self.stack.xcom_keys(*where, map_index=task["map_index"])
        return self.stack.xcom(*where, key, map_index=task["map_index"]) if key in keys else None

    def _log(self, task: Json) -> str:
        if not task["try_number"]:
            return ""
        return self.stack.task_log(self.dag_id, self.run_id, task["task_id"], map_index=task["map_index"])


def name(task: Json) -> str:
    """Return the name of a task instance as in the UI."""
    return str(task["task_id"]) if task["map_index"] == -1 else f"{task['task_id']}[{task['map_index']}]"


def texts(value: Any) -> list[str]:
    """Read a return value as a list of URIs."""
    values = value if isinstance(value, list) else [value]
    return [each for each in values if isinstance(each, str)]


def local(uri: str) -> Path | None:
    """Return the file of a URI, if it is a video on this machine."""
    path = Path(unquote(urlsplit(uri).path))
    return path if path.suffix == ".mp4" and path.is_file() else None


def describe(film: Path) -> str:
    """Describe the content of an MP4."""
    import av  # a big library that only this function needs

    with av.open(str(film)) as container:
        picture = container.streams.video[0]
        sound = container.streams.audio[0].codec_context.name if container.streams.audio else "silent"
        seconds = (container.duration or 0) / av.time_base
        size = film.stat().st_size / 1024
        codec = picture.codec_context.name
        return f"{codec} {picture.width}x{picture.height}, {sound}, {seconds:.1f} s, {size:.0f} KiB"
