"""The simulator in its own process, started by its command line and controlled by its control API."""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING, Any

import requests

from tests.stack.processes import Service, child_environment, free_port
from tests.stack.server import Server

if TYPE_CHECKING:
    from pathlib import Path

KEY = "sk-simulator-key-that-must-appear-nowhere"


class SimulatorProcess(Server):
    """A running simulator. Its jobs are in memory, so it has none after a start."""

    def __init__(self, home: Path, *options: str, key: str = KEY, port: int | None = None) -> None:
        """Take the folder of its log and more command line options."""
        self.key = key
        self.port = port or free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        module = "airflow_provider_modelmax.simulator"
        command = [sys.executable, "-m", module, "--port", str(self.port), "--key", key, *options]
        self.service = Service("simulator", command, child_environment({}), home / "simulator.log")
        self._session = requests.Session()
        self._session.trust_env = False

    def __exit__(self, *error: Any) -> None:
        """Stop it."""
        self._session.close()
        super().__exit__(*error)

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection to it."""
        return {"conn_type": "modelmax", "host": self.url, "password": self.key}

    def ledger(self) -> dict[str, Any]:
        """Return every call, bill and job."""
        return dict(self._call("GET", "ledger"))

    def fault(self, call: str, kind: str, **parameters: Any) -> dict[str, Any]:
        """Add a fault and return it with its id."""
        return dict(self._call("POST", "faults", json={"call": call, "kind": kind, **parameters})[0])

    def lift_faults(self) -> None:
        """Remove all faults."""
        self._call("DELETE", "faults")

    def set(self, **settings: Any) -> None:
        """Change settings while it runs: `balance`, `queue_seconds`, `run_seconds`, ..."""
        self._call("POST", "settings", json=settings)

    def reset(self) -> None:
        """Forget all calls, bills, jobs and faults."""
        self._call("POST", "reset")

    def _is_ready(self) -> bool:
        try:
            return self._session.get(f"{self.url}/simulator/ledger", timeout=5).ok
        except requests.RequestException:
            return False

    def _call(self, method: str, path: str, **arguments: Any) -> Any:
        answer = self._session.request(method, f"{self.url}/simulator/{path}", timeout=30, **arguments)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text}", response=answer)
        return answer.json() if answer.content else None
