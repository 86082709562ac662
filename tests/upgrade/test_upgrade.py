"""The provider is upgraded under a running Airflow: tasks that 0.1.0 deferred or was killed in go on with this tree."""

from __future__ import annotations

import hashlib
import signal
import sys
import sysconfig
import venv
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_modelmax import __version__
from tests.stack.airflow_stack import AirflowStack
from tests.stack.postgres import database
from tests.stack.processes import PROJECT, send, wait_until
from tests.stack.simulator import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = [pytest.mark.system, pytest.mark.matrix, pytest.mark.timeout(900)]

OLD = "0.1.0"
WHEEL = PROJECT / "tests" / "samples" / f"airflow_provider_modelmax-{OLD}-py3-none-any.whl"
IMAGE = PROJECT / "example_dags" / "lighthouse.png"
PATIENCE = 300
SHORT = {"duration_seconds": 1}
HALF_A_VIDEO = 5_000


@dataclass(frozen=True)
class Case:
    """One run that begins with 0.1.0.

    :param dag_id: the DAG
    :param waits: the task that waits for the job during the upgrade, and how; None when it does not wait
    :param spent: calls of result and of content, and bills, when all is over
    :param parameters: what the request asks for
    """

    dag_id: str
    waits: tuple[str, str] | None = None
    spent: tuple[int, int, int] = (1, 1, 1)
    parameters: Any = None

    @property
    def last_task(self) -> str:
        """The task that downloads."""
        return "generate" if self.dag_id == "generate" else "download"


WAITING = {
    "waits_in_generate": Case("generate", ("generate", "deferred"), parameters={**SHORT, "image": str(IMAGE)}),
    "waits_in_download": Case("submit_and_download", ("download", "deferred")),
    "waits_in_a_sensor": Case("sensor_in_poke_mode", ("wait", "deferred")),
    "waits_in_a_rescheduled_sensor": Case("sensor_in_reschedule_mode", ("wait", "up_for_reschedule")),
}
KILLED_IN_THE_BILLING_CALL = "killed_in_the_billing_call"
KILLED_IN_THE_DOWNLOAD = "killed_in_the_download"
OVER = "over_before_the_upgrade"
CASES = {
    **WAITING,
    # The answer of its first result call is lost: the service has billed it, and bills the second call, too.
    KILLED_IN_THE_BILLING_CALL: Case("generate", spent=(2, 1, 2)),
    KILLED_IN_THE_DOWNLOAD: Case("generate", spent=(1, 2, 1)),
    OVER: Case("generate", parameters={**SHORT, "image": str(IMAGE)}),
}


class Upgrade:
    """The runs of all cases, begun by 0.1.0; each is named as its case is, and its prompt holds the name."""

    def __init__(self, stack: AirflowStack, service: SimulatorProcess, videos: Path) -> None:
        self.stack, self.service, self.videos = stack, service, videos
        self.versions: list[str] = []

    def begin(self) -> None:
        """Start every case, and wait until it is where the upgrade finds it."""
        self.note_version()
        self.service.fault("status", "set_field", field="status", value="IN_PROGRESS", prompt="(waits_in")
        self.service.fault("result", "slow_answer", seconds=600, times=1, prompt=f"({KILLED_IN_THE_BILLING_CALL})")
        self.service.fault(
            "content",
            "slow_body",
            pause_after=HALF_A_VIDEO,
            pause_seconds=600,
            times=1,
            prompt=f"({KILLED_IN_THE_DOWNLOAD})",
        )
        for name, case in CASES.items():
            self.stack.wait_for_dag(case.dag_id)
            conf = {"prompt": f"({name}) waves", "destination": f"{self.videos / name}/"}
            self.stack.trigger(case.dag_id, conf | {"parameters": case.parameters or SHORT}, run_id=name)
        # At once, before the calls that do not end time out.
        self.wait_for(KILLED_IN_THE_BILLING_CALL, lambda job: job["bills"], "its result is being fetched")
        self.kill_worker(KILLED_IN_THE_BILLING_CALL)
        self.wait_for(KILLED_IN_THE_DOWNLOAD, lambda job: job["calls"]["content"], "its video is being downloaded")
        self.kill_worker(KILLED_IN_THE_DOWNLOAD)
        self.end(OVER)
        for name, case in WAITING.items():
            self.stack.wait_for_task_state(case.dag_id, name, *case.waits, timeout=PATIENCE)
            self.wait_for(name, lambda job: job["calls"]["status"], "its status has been asked for")
        for name in (KILLED_IN_THE_BILLING_CALL, KILLED_IN_THE_DOWNLOAD):
            assert (self.stack.task_instance("generate", name, "generate")["state"], self.tries(name)) == ("running", 1)

    def upgrade(self) -> None:
        """Restart every component with this tree, and let the jobs complete."""
        self.stack.restart_with(sys.executable)
        self.service.lift_faults()
        self.note_version()

    def end(self, name: str) -> None:
        """Wait until a run has succeeded; show the log of what did not."""
        dag_id = CASES[name].dag_id
        state = self.stack.wait_for_run(dag_id, name, PATIENCE)
        assert state == "success", self.stack.task_log(dag_id, name, CASES[name].last_task)

    def clear(self, name: str) -> None:
        """Clear a run, and wait until it has succeeded again."""
        case = CASES[name]
        self.stack.clear(case.dag_id, name)
        wait_until(lambda: self.tries(name) == 2, PATIENCE, f"{name} runs again", self.stack.tails)
        self.end(name)

    def note_version(self) -> None:
        """Ask a task for the version that it imports."""
        self.stack.wait_for_dag("version")
        run = self.stack.trigger("version")
        assert self.stack.wait_for_run("version", run) == "success"
        self.versions.append(self.stack.xcom("version", run, "version"))

    def jobs(self, name: str) -> list[dict[str, Any]]:
        """Return what the service knows of the jobs of a case."""
        return [job for job in self.service.ledger()["jobs"] if f"({name})" in job["prompt"]]

    def wait_for(self, name: str, condition: Callable[[dict[str, Any]], Any], what: str) -> None:
        """Wait until something holds for a job of a case."""
        wait_until(lambda: any(map(condition, self.jobs(name))), PATIENCE, f"{name}: {what}", self.stack.tails)

    def kill_worker(self, name: str) -> None:
        """Kill the process that executes the task of a case, as a machine that loses its power does."""
        processes = self.stack.worker_processes(CASES[name].dag_id, name, CASES[name].last_task)
        assert processes
        send(processes, signal.SIGKILL)

    def tries(self, name: str) -> int:
        """Return how often the last task of a case was tried."""
        return int(self.stack.task_instance(CASES[name].dag_id, name, CASES[name].last_task)["try_number"])

    def uris(self, name: str) -> list[str]:
        """Return where the videos of a case are."""
        case = CASES[name]
        return list(self.stack.xcom(case.dag_id, name, case.last_task))


def old_environment(folder: Path) -> Path:
    """Make an environment that has 0.1.0, and for all else the packages of this one; return its Python."""
    venv.create(folder, symlinks=True)
    packages = next(folder.glob("lib/python*/site-packages"))
    with zipfile.ZipFile(WHEEL) as wheel:
        wheel.extractall(packages)
    # A path alone, without the `.pth` files in it: one of them adds this tree.
    (packages / "the_others.pth").write_text(sysconfig.get_path("purelib"))
    return folder / "bin" / "python"


@pytest.fixture(scope="module")
def upgraded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Upgrade]:
    """Return the runs, all over."""
    home = tmp_path_factory.mktemp("upgrade")
    environment = {
        # Tasks of a scheduler that is gone are missed after seconds, not after minutes.
        "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "10",
        "AIRFLOW__SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "5",
    }
    with (
        database(home) as metadata,
        SimulatorProcess(home / "processes", "--queue-seconds", "0", "--run-seconds", "1") as service,
        AirflowStack(
            home,
            Path(__file__).parent / "dags",
            metadata,
            connections={"modelmax_default": service.connection},
            environment=environment,
            python=str(old_environment(home / "old")),
        ) as stack,
    ):
        story = Upgrade(stack, service, home / "videos")
        story.begin()
        story.upgrade()
        for name in CASES:
            story.end(name)
        yield story


def test_the_tasks_began_with_the_old_version_and_ended_with_this_one(upgraded):
    assert upgraded.versions == [OLD, __version__]
    assert __version__ != OLD


@pytest.mark.parametrize("name", CASES)
def test_each_task_has_one_job_and_one_bill_but_for_a_lost_answer(upgraded, name):
    (job,) = upgraded.jobs(name)
    assert (job["calls"]["result"], job["calls"]["content"], job["bills"]) == CASES[name].spent


@pytest.mark.parametrize("name", WAITING)
def test_a_task_that_waited_goes_on_without_another_try(upgraded, name):
    assert upgraded.tries(name) == 1


@pytest.mark.parametrize("name", CASES)
def test_each_video_is_whole(upgraded, name):
    (job,) = upgraded.jobs(name)
    (uri,) = upgraded.uris(name)
    (video,) = job["videos"]
    assert hashlib.sha256(Path(uri.removeprefix("file://")).read_bytes()).hexdigest() == video["sha256"]


def test_a_second_bill_is_announced_in_the_log(upgraded):
    log = upgraded.stack.task_log("generate", KILLED_IN_THE_BILLING_CALL, "generate")
    assert "may be billed a second time" in log


def test_a_clear_after_the_upgrade_pays_nothing(upgraded):
    upgraded.clear(OVER)
    (job,) = upgraded.jobs(OVER)
    assert (job["calls"]["result"], job["calls"]["content"], job["bills"]) == (1, 1, 1)
