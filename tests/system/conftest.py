"""One real Airflow, one S3 server and one simulator for all system tests: starting them takes half a minute."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stack.airflow_stack import AirflowStack
from tests.stack.postgres import database
from tests.stack.processes import PROJECT
from tests.stack.s3 import SeaweedFS
from tests.stack.simulator import SimulatorProcess
from tests.stack.statsd import Statsd
from tests.system.cases import Run, Start
from tests.system.plan import plan

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

BUNDLES = {
    "examples": PROJECT / "example_dags",
    "system": Path(__file__).parent / "dags",
    "chaos": PROJECT / "tests" / "chaos" / "dags",
}
USED = pytest.StashKey[str]()
OTHER_KEY = "sk-of-another-account-that-must-not-be-mixed-up"
WRONG_KEY = "sk-wrong-key-that-must-appear-nowhere-either"
VARIABLES = {"AIRFLOW_VAR_VIDEOS": "s3://store@videos/examples"}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder, so that `-m 'not system'` leaves it out."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Say which database was used: without a PostgreSQL server it was SQLite."""
    if kind := config.stash.get(USED, None):
        terminalreporter.write_line(f"system tests: Airflow's metadata was in {kind}")


@pytest.fixture(scope="session")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the folder of this session's servers: their logs, task logs and videos."""
    return tmp_path_factory.mktemp("stack")


@pytest.fixture(scope="session")
def simulator(home: Path) -> Iterator[SimulatorProcess]:
    """Run the simulator; its jobs take some seconds."""
    with SimulatorProcess(home / "processes", "--queue-seconds", "1", "--run-seconds", "5-7") as running:
        yield running


@pytest.fixture(scope="session")
def big_simulator(home: Path) -> Iterator[SimulatorProcess]:
    """Run another that serves 20 MB, at once, and knows another key: jobs of both wait in one triggerer."""
    options = ("--queue-seconds", "0", "--run-seconds", "0", "--filler-bytes", str(20_000_000), "--plain-videos")
    with SimulatorProcess(home / "big", *options, key=OTHER_KEY) as running:
        yield running


@pytest.fixture(scope="session")
def stranger(home: Path) -> Iterator[SimulatorProcess]:
    """Run another host, which knows the key when it sees it, and to which it must not be sent."""
    with SimulatorProcess(home / "stranger") as running:
        yield running


@pytest.fixture(scope="session")
def statsd() -> Iterator[Statsd]:
    """Run a statsd server that hears all of Airflow."""
    with Statsd() as running:
        yield running


@pytest.fixture(scope="session")
def stack(
    home: Path,
    simulator: SimulatorProcess,
    big_simulator: SimulatorProcess,
    seaweedfs: SeaweedFS,
    statsd: Statsd,
    pytestconfig: pytest.Config,
) -> Iterator[AirflowStack]:
    """Run Airflow, connected to both: `modelmax_default`, `store` and, with read-only rights, `store_reader`."""
    connections = {
        "modelmax_default": simulator.connection,
        "modelmax_big": big_simulator.connection,
        "modelmax_wrong_key": {**simulator.connection, "password": WRONG_KEY},
        "store": seaweedfs.connection,
        "store_reader": seaweedfs.read_only_connection,
    }
    vault = home / "vault.json"
    vault.write_text(json.dumps({"modelmax_vault": simulator.connection}))
    environment = {
        **VARIABLES,
        "AIRFLOW__SECRETS__BACKEND": "airflow.secrets.local_filesystem.LocalFilesystemBackend",
        "AIRFLOW__SECRETS__BACKEND_KWARGS": json.dumps({"connections_file_path": str(vault)}),
        **statsd.settings,
        "PYTHONPATH": str(PROJECT),
        "MODELMAX_CHAOS_CRASHES": str(home / "crashes"),
    }
    with (
        database(home) as metadata,
        AirflowStack(home, BUNDLES, metadata, connections=connections, environment=environment) as running,
    ):
        pytestconfig.stash[USED] = metadata.kind
        yield running


@pytest.fixture(scope="session")
def start(
    stack: AirflowStack,
    simulator: SimulatorProcess,
    big_simulator: SimulatorProcess,
    stranger: SimulatorProcess,
    seaweedfs: SeaweedFS,
) -> Start:
    """Return a function that starts cases by name, all at once."""
    planned = plan(stranger.url)

    def start(names: Iterable[str]) -> dict[str, Run]:
        chosen = {name: planned[name] for name in names}
        for dag_id in {case.dag_id for case in chosen.values()}:
            stack.wait_for_dag(dag_id)
        started = {}
        for name, case in chosen.items():
            service = big_simulator if case.dag_id == "big" else simulator
            for each in case.faults:
                service.fault(**each, prompt=f"({name})")
            conf = {"prompt": f"({name}) waves", "destination": f"s3://store@videos/{name}/", **case.conf}
            stack.trigger(case.dag_id, conf, run_id=name)
            started[name] = Run(stack, service, seaweedfs, name, case.dag_id, run_id=name)
        return started

    return start


@pytest.fixture(scope="session")
def timed(start: Start) -> dict[str, Run]:
    """Start the cases whose end is timed; not with all the others, behind which their last segment would queue."""
    return start(["past_deadline", "past_execution_timeout", "sensors_stuck"])


@pytest.fixture(scope="session")
def cases(request: pytest.FixtureRequest, start: Start) -> dict[str, Run]:
    """Start the cases of all tests that were chosen: each waits for seconds, and they can wait together."""
    wanted = {name for item in request.session.items for mark in item.iter_markers("cases") for name in mark.args}
    return start(name for name in plan("") if name in wanted)
