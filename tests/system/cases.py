"""Runs of the scenario DAGs by name, all started at once, and what became of them."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tests.stack.airflow_stack import AirflowStack
    from tests.stack.client import Json
    from tests.stack.s3 import SeaweedFS
    from tests.stack.simulator import SimulatorProcess

TASK = "generate"


def fault(kind: str, call: str, **parameters: Any) -> Json:
    """Write down a fault; it will strike the calls of one case only."""
    return {"kind": kind, "call": call, **parameters}


def takes(queue: float, run: float) -> Json:
    """Say how long the job of a case takes."""
    return fault("timing", "submit", queue_seconds=queue, run_seconds=run)


AT_ONCE = takes(0, 0)


@dataclass(frozen=True)
class Case:
    """One run: which DAG, the faults that strike it, and what its conf holds beyond prompt and destination."""

    dag_id: str = "once"
    faults: tuple[Json, ...] = ()
    conf: Json = field(default_factory=dict)


@dataclass(frozen=True)
class Run:
    """A case that was started."""

    stack: AirflowStack
    service: SimulatorProcess
    s3: SeaweedFS
    name: str
    dag_id: str
    run_id: str

    @property
    def prompt(self) -> str:
        """What the prompts of this case begin with, and no others."""
        return f"({self.name})"

    def state(self) -> str:
        """Wait until the run is over and return its state."""
        return self.stack.wait_for_run(self.dag_id, self.run_id, 200)

    def succeeded(self) -> Run:
        """Wait for success; show the logs when it does not come."""
        state = self.state()
        assert state == "success", "\n".join(
            self.log(each["task_id"], each["map_index"])
            for each in self.stack.task_instances(self.dag_id, self.run_id)
            if each["state"] == "failed"
        )
        return self

    def failed(self) -> Run:
        """Wait for failure."""
        assert self.state() == "failed"
        return self

    def task(self, task_id: str = TASK, map_index: int = -1) -> Json:
        """Return a task instance."""
        return self.stack.task_instance(self.dag_id, self.run_id, task_id, map_index)

    def log(self, task_id: str = TASK, map_index: int = -1) -> str:
        """Return the log of the latest try."""
        return self.stack.task_log(self.dag_id, self.run_id, task_id, map_index=map_index)

    def xcom(self, key: str = "return_value", task_id: str = TASK) -> Any:
        """Return an XCom."""
        return self.stack.xcom(self.dag_id, self.run_id, task_id, key)

    def clear(self) -> Run:
        """Clear all tasks, as a person does."""
        self.stack.clear(self.dag_id, self.run_id)
        return self

    def jobs(self) -> list[Json]:
        """Return the jobs that were submitted, oldest first, as the ledger shows them."""
        return [job for job in self.service.ledger()["jobs"] if job["prompt"].startswith(self.prompt)]

    def only_job(self) -> Json:
        """Return the job; there must be one."""
        (job,) = self.jobs()
        return job

    def spent(self) -> list[tuple[int, int, int]]:
        """Count result calls, content calls and bills of each job."""
        return [(job["calls"]["result"], job["calls"]["content"], job["bills"]) for job in self.jobs()]

    def objects(self) -> dict[str, int]:
        """Return the objects in the folder of this case, by name, with their sizes."""
        prefix = f"{self.name}/"
        return {key.removeprefix(prefix): size for key, size in self.s3.list_objects(prefix).items()}

    def videos(self) -> list[str]:
        """Name the objects that look like videos."""
        return [name for name in self.objects() if name.endswith(".mp4")]


Start = Callable[[Iterable[str]], dict[str, Run]]
