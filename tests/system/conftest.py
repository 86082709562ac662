"""One real Airflow, one S3 server and one simulator for all system tests: starting them takes half a minute."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.stack.airflow_stack import AirflowStack
from tests.stack.postgres import database
from tests.stack.processes import PROJECT
from tests.stack.s3 import SeaweedFS
from tests.stack.simulator import Simulator

if TYPE_CHECKING:
    from collections.abc import Iterator

BUNDLES = {"examples": PROJECT / "example_dags", "system": Path(__file__).parent / "dags"}
USED = pytest.StashKey[str]()


def pytest_configure(config: pytest.Config) -> None:
    """Name the marker of this folder."""
    config.addinivalue_line("markers", "system: runs a real Airflow in processes of its own (slow)")


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
def simulator(home: Path) -> Iterator[Simulator]:
    """Run the simulator."""
    with Simulator(home / "processes") as running:
        yield running


@pytest.fixture(scope="session")
def s3() -> Iterator[SeaweedFS]:
    """Run a S3 server with the bucket `videos`."""
    with SeaweedFS() as running:
        yield running


@pytest.fixture(scope="session")
def stack(home: Path, simulator: Simulator, s3: SeaweedFS, pytestconfig: pytest.Config) -> Iterator[AirflowStack]:
    """Run Airflow, connected to both: `modelmax_default`, `store` and, with read-only rights, `store_reader`."""
    connections = {
        "modelmax_default": simulator.connection,
        "store": s3.connection,
        "store_reader": s3.read_only_connection,
    }
    with (
        database(home) as metadata,
        AirflowStack(home, BUNDLES, metadata, connections=connections) as running,
    ):
        pytestconfig.stash[USED] = metadata.kind
        yield running
