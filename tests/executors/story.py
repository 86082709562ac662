"""What a person does with the examples, and what the service saw of it."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import requests

from tests.stack.processes import wait_until

if TYPE_CHECKING:
    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.client import Json
    from tests.stack.simulator import SimulatorProcess

PATIENCE = 240


@dataclass
class Examples:
    """The example DAGs of one Airflow."""

    stack: AirflowStack
    service: SimulatorProcess
    seen: dict[str, set[str]] = field(default_factory=dict)

    def land_in(self, folder: str) -> None:
        """Set the variable that says where videos go."""
        body = {"key": "videos", "value": folder}
        with contextlib.suppress(requests.HTTPError):
            self.stack.call("DELETE", "variables/videos")
        self.stack.call("POST", "variables", json=body)

    def start(self, dag_id: str, **conf: Any) -> str:
        """Start a run and return its id."""
        self.stack.wait_for_dag(dag_id)
        return self.stack.trigger(dag_id, conf)

    def remember(self, dag_id: str) -> None:
        """Take note of the runs there are, before another begins by itself."""
        self.stack.wait_for_dag(dag_id)
        self.seen[dag_id] = {run["dag_run_id"] for run in self.stack.runs(dag_id)}

    def next_run(self, dag_id: str) -> str:
        """Wait for a run that began since, by an asset."""

        def new() -> str | None:
            runs = (run["dag_run_id"] for run in self.stack.runs(dag_id))
            return next((run for run in runs if run not in self.seen[dag_id]), None)

        return wait_until(new, PATIENCE, f"{dag_id} began", self.stack.tails)

    def succeeded(self, dag_id: str, run_id: str) -> list[Json]:
        """Wait for success and return the task instances; show the logs when it does not come."""
        state = self.stack.wait_for_run(dag_id, run_id, PATIENCE)
        tasks = self.stack.task_instances(dag_id, run_id)
        assert state == "success", "\n".join(self._log(dag_id, run_id, each) for each in tasks)
        return tasks

    def deferred(self, dag_id: str, run_id: str, task_id: str, count: int) -> None:
        """Wait until so many instances of a task wait at once."""

        def all_wait() -> bool:
            tasks = self.stack.task_instances(dag_id, run_id)
            return sum(each["task_id"] == task_id and each["state"] == "deferred" for each in tasks) == count

        wait_until(all_wait, 90, f"{count} waits", self.stack.tails)

    def spent(self) -> list[tuple[int, int, int]]:
        """Count result calls, content calls and bills of each job, in the ledger of the service."""
        jobs = self.service.ledger()["jobs"]
        return [(job["calls"]["result"], job["calls"]["content"], job["bills"]) for job in jobs]

    def submits(self) -> int:
        """Count submit calls."""
        return sum(call["call"] == "submit" for call in self.service.ledger()["calls"])

    def ordered_bytes(self) -> list[int]:
        """Return the size of each video that was served."""
        return sorted(video["bytes"] for job in self.service.ledger()["jobs"] for video in job["videos"])

    def _log(self, dag_id: str, run_id: str, task: Json) -> str:
        if task["state"] != "failed":
            return f"{task['task_id']} {task['state']}"
        return self.stack.task_log(dag_id, run_id, task["task_id"], map_index=task["map_index"])
