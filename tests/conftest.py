"""An Airflow home of our own, before anything of Airflow is imported; a simulator, and the connection to it."""

from __future__ import annotations

import atexit
import gc
import json
import os
import shutil
import tempfile
from typing import TYPE_CHECKING, Any

import pytest
import structlog
from hypothesis import settings

from airflow_provider_modelmax.simulator import Simulator
from tests.stack import azure, gcs
from tests.stack.s3 import SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Iterator

PROXIES = {"http_proxy", "https_proxy", "all_proxy", "no_proxy"}

for _name in [name for name in os.environ if name.startswith("AIRFLOW_") or name.lower() in PROXIES]:
    del os.environ[_name]
os.environ["AIRFLOW_HOME"] = tempfile.mkdtemp(prefix="modelmax-tests-")
os.environ["AIRFLOW__CORE__LOAD_EXAMPLES"] = "False"
settings.register_profile("modelmax", deadline=None, database=None)  # a busy machine is no bug
settings.load_profile("modelmax")
atexit.register(shutil.rmtree, os.environ["AIRFLOW_HOME"], ignore_errors=True)


def pytest_collection_finish() -> None:
    """Spare the garbage collector the modules of Airflow: a sixth of the processor time of these tests."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(20_000, 20, 20)


@pytest.fixture(scope="session")
def _one_simulator() -> Iterator[Simulator]:
    with Simulator(plain_videos=True, queue_seconds=0, run_seconds=0.2) as simulator:
        yield simulator


@pytest.fixture
def simulator(_one_simulator: Simulator) -> Simulator:
    """Return the service on localhost, as if it had just started: no jobs, no faults, first settings."""
    _one_simulator.reset()
    return _one_simulator


@pytest.fixture
def modelmax_conn(simulator: Simulator, monkeypatch: pytest.MonkeyPatch) -> str:
    """Return the id of a connection to the simulator."""
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(simulator.connection))
    return "modelmax_default"


@pytest.fixture
def log() -> Iterator[list[str]]:
    """Return the lines that hooks and triggers log: Airflow's loggers are structlog's, which caplog does not see."""
    lines: list[str] = []

    def note(_: object, __: str, event: dict[str, Any]) -> Any:
        lines.append(event["event"])
        raise structlog.DropEvent

    with structlog.testing.capture_logs(processors=[note]):
        yield lines


@pytest.fixture(scope="session")
def seaweedfs() -> Iterator[SeaweedFS]:
    with SeaweedFS() as server:
        yield server


@pytest.fixture(scope="session")
def fake_gcs() -> Iterator[gcs.FakeGcs]:
    with gcs.FakeGcs() as server:
        yield server


@pytest.fixture(scope="session")
def azurite() -> Iterator[azure.Azurite]:
    with azure.Azurite() as server:
        yield server


@pytest.fixture
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    """Shorten the pauses between attempts; how long they are is for the tests of the retry rule."""
    from airflow_provider_modelmax import api
    from airflow_provider_modelmax.api import retry

    rule = retry.backoff
    for module in (retry, api):
        monkeypatch.setattr(module, "backoff", lambda *args: None if rule(*args) is None else 0.01)
