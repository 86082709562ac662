"""Kills servers and disturbs tasks, evenly spread over the videos of a DAG run."""

from __future__ import annotations

import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import requests

from tests.stack.client import OVER

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.client import Json
    from tests.stack.s3 import SeaweedFS
    from tests.stack.simulator import SimulatorProcess

TASK = "generate"


@dataclass
class Monkey:
    """Disturbs one DAG run.

    :param kills: how often each server is killed
    :param disturbances: how many tasks are cleared while deferred, running or finished, or marked as failed
    """

    stack: AirflowStack
    simulator: SimulatorProcess
    s3: SeaweedFS
    dag_id: str
    run_id: str
    videos: int
    kills: dict[str, int]
    disturbances: int
    seed: int
    say: Callable[[str], None]
    done: dict[str, int] = field(default_factory=dict)

    def run(self, timeout: float) -> None:
        """Disturb the DAG run until it is over.

        :raises TimeoutError: if it takes longer than ``timeout`` seconds
        """
        due, deadline = self._plan(), time.monotonic() + timeout
        while True:
            tasks = self.tasks()
            over = sum(each["state"] in OVER for each in tasks)
            while due and over >= due[0][0] * self.videos:
                self._do(due.pop(0)[1], tasks)
            if self._is_over() and not due:
                return
            if time.monotonic() > deadline:
                raise TimeoutError(f"{over} of {self.videos} tasks are over\n{self.stack.tails()}")
            time.sleep(1)

    def tasks(self) -> list[Json]:
        """Return the mapped task instances."""
        found = self.stack.task_instances(self.dag_id, self.run_id)
        return [each for each in found if each["task_id"] == TASK and each["map_index"] >= 0]

    def _plan(self) -> list[tuple[float, str]]:
        """Return pairs: the share of tasks that must be over, and what to do then."""
        dice = random.Random(self.seed)
        kinds = {**self.kills, **dict.fromkeys(DISTURBANCES, self.disturbances), "connections": self.disturbances}
        spread = [
            ((each + dice.random()) / count * 0.85, kind) for kind, count in kinds.items() for each in range(count)
        ]
        return sorted(spread)

    def _do(self, what: str, tasks: list[Json]) -> None:
        self.done[what] = self.done.get(what, 0) + 1
        if what == "store":
            self.say("kill the store")
            self.s3.kill()
            time.sleep(3)
            self.s3.start()
        elif what == "connections":
            self.simulator.fault("any", "reset", times=5)
        elif what in self.kills:
            self.say(f"kill the {what}")
            self.stack.kill(what)
            time.sleep(1)
            self.stack.restart(what)
        else:
            self._disturb(what, tasks)

    def _disturb(self, what: str, tasks: list[Json]) -> None:
        wanted = DISTURBANCES[what]
        indexes = [each["map_index"] for each in tasks if each["state"] == wanted]
        if not indexes:
            self.done[what] -= 1
            return
        index = random.Random(f"{self.seed} {what} {self.done[what]}").choice(indexes)
        self.say(f"{what} ({TASK}[{index}])")
        try:
            if what == "mark a waiting task as failed":
                self.stack.set_state(self.dag_id, self.run_id, TASK, "failed", index)
            self.stack.clear(self.dag_id, self.run_id, [[TASK, index]])
        except requests.HTTPError as error:  # it has continued meanwhile
            self.say(f"  {error}")

    def _is_over(self) -> bool:
        return self.stack.run(self.dag_id, self.run_id)["state"] in OVER


DISTURBANCES = {
    "clear a waiting task": "deferred",
    "clear a running task": "running",
    "clear a finished task": "success",
    "mark a waiting task as failed": "deferred",
}
