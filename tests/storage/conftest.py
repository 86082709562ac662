"""The stores that storage is tried on, and connections to them."""

from __future__ import annotations

import contextlib
import json
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_modelmax.storage import bucket
from tests.stack.s3 import SeaweedFS
from tests.stack.s3_proxy import Proxy, in_front_of
from tests.stores import MAKERS, STORES, S3Store, Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Let a file fail its test when it is only forgotten: it was not discarded in full."""
    forgotten = pytest.mark.filterwarnings("error::pytest.PytestUnraisableExceptionWarning")
    for item in items:
        if item.path.parent == Path(__file__).parent:
            item.add_marker(forgotten)


@pytest.fixture(autouse=True)
def _no_connection_is_remembered() -> Iterator[None]:
    yield
    bucket._client.cache_clear()


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Store:
    made = MAKERS[request.param](request, tmp_path, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def s3(seaweedfs: SeaweedFS, monkeypatch: pytest.MonkeyPatch) -> S3Store:
    made = S3Store(seaweedfs, uuid.uuid4().hex)
    for name, value in made.environment().items():
        monkeypatch.setenv(name, value)
    return made


@pytest.fixture
def behind(
    seaweedfs: SeaweedFS, connected: Callable[[dict[str, Any]], str]
) -> Iterator[Callable[[Callable[[Proxy, bytes], Any]], S3Store]]:
    """Return a store behind a proxy: each request is answered by what is given."""
    with contextlib.ExitStack() as stack:

        def make(answer: Callable[[Proxy, bytes], Any], **config: Any) -> S3Store:
            url = stack.enter_context(in_front_of(seaweedfs.url, answer))
            connection = seaweedfs.connection
            connection["extra"]["endpoint_url"] = url
            connection["extra"]["config_kwargs"].update({"retries": {"total_max_attempts": 1}, **config})
            return S3Store(seaweedfs, uuid.uuid4().hex, connected(connection))

        yield make


@pytest.fixture
def connected(monkeypatch: pytest.MonkeyPatch) -> Callable[[dict[str, Any]], str]:
    """Make a connection under an id that no other test uses: Airflow keeps the filesystem of an id."""

    def make(connection: dict[str, Any], conn_id: str = "") -> str:
        conn_id = conn_id or f"c{uuid.uuid4().hex}"
        monkeypatch.setenv(f"AIRFLOW_CONN_{conn_id.upper()}", json.dumps(connection))
        return conn_id

    return make
