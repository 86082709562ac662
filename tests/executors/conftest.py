"""One real Airflow for each executor, with PostgreSQL and two triggerers; Celery with Redis and two workers."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.executors.story import Examples
from tests.stack.airflow_stack import AirflowStack
from tests.stack.executors import Executor, LocalExecutor, celery
from tests.stack.postgres import Database, database
from tests.stack.processes import PROJECT
from tests.stack.simulator import SimulatorProcess
from tests.stores import MAKERS, STORES

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.stores import Store

ENVIRONMENT = {
    # What died with a worker is missed after seconds, not after minutes, and tried again.
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "20",
    "AIRFLOW__SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRIES": "1",
    "AIRFLOW__CORE__DEFAULT_TASK_RETRY_DELAY": "1",
    # Else Python hides them.
    "PYTHONWARNINGS": "default::DeprecationWarning,default::PendingDeprecationWarning",
    "PYTHONPATH": str(PROJECT),
}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark everything in this folder."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.system)
            item.add_marker(pytest.mark.matrix)
            item.add_marker(pytest.mark.timeout(600))  # the first of them starts an Airflow


@pytest.fixture(scope="package", params=["LocalExecutor", "CeleryExecutor"])
def executor(request: pytest.FixtureRequest) -> Iterator[Executor]:
    """Return one executor after the other."""
    if request.param == "LocalExecutor":
        yield LocalExecutor()
        return
    with celery() as found:
        if not found:
            pytest.skip("no Redis answers: MODELMAX_TEST_REDIS names one")
        yield found


@pytest.fixture(scope="package")
def home(tmp_path_factory: pytest.TempPathFactory, executor: Executor) -> Path:
    """Return the folder of this Airflow; both workers see it, as they would see a shared volume."""
    return tmp_path_factory.mktemp(executor.name)


@pytest.fixture(scope="package")
def metadata(home: Path) -> Iterator[Database]:
    """Return a PostgreSQL database: SQLite is for one triggerer only."""
    with database(home) as made:
        if made.kind != "postgresql":
            pytest.skip("no PostgreSQL answers: MODELMAX_TEST_POSTGRES names one")
        yield made


@pytest.fixture(scope="package")
def service(home: Path) -> Iterator[SimulatorProcess]:
    """Run the simulator."""
    with SimulatorProcess(home / "processes", "--queue-seconds", "1", "--run-seconds", "4-8") as running:
        yield running


@pytest.fixture(scope="package")
def stores(request: pytest.FixtureRequest, home: Path, executor: Executor) -> dict[str, Store]:
    """Return a folder in each store that can be run here; its connection is called as the store is."""
    return {kind: MAKERS[kind](request, home / "videos", executor.name, kind) for kind in STORES}


@pytest.fixture(scope="package")
def stack(
    home: Path, executor: Executor, metadata: Database, service: SimulatorProcess, stores: dict[str, Store]
) -> Iterator[AirflowStack]:
    """Run Airflow with the examples, connected to service and stores."""
    with AirflowStack(
        home,
        PROJECT / "example_dags",
        metadata,
        connections={"modelmax_default": service.connection},
        environment=ENVIRONMENT | {name: text for each in stores.values() for name, text in each.environment().items()},
        executor=executor,
        triggerers=2,
    ) as running:
        yield running


@pytest.fixture
def examples(stack: AirflowStack, service: SimulatorProcess) -> Examples:
    """Return the examples, ready to run, and a service that knows no jobs."""
    service.reset()
    return Examples(stack, service)
