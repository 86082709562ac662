"""A statsd server that records what it receives."""

from __future__ import annotations

import contextlib
import socket
import threading
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from typing_extensions import Self


class Statsd:
    """Listens on its own UDP port, as a context manager."""

    def __enter__(self) -> Self:
        """Start it."""
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 0))
        self.port: int = self._socket.getsockname()[1]
        self._told: list[str] = []
        threading.Thread(target=self._listen, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._socket.close()

    @property
    def settings(self) -> dict[str, str]:
        """The Airflow settings that send everything to it."""
        section = {"STATSD_ON": "True", "STATSD_HOST": "127.0.0.1", "STATSD_PORT": str(self.port)}
        return {f"AIRFLOW__METRICS__{name}": value for name, value in section.items()}

    def values(self, name: str) -> list[float]:
        """Return all values of a metric, in order."""
        told = (line.partition(":") for line in list(self._told))
        return [float(rest.partition("|")[0]) for metric, _, rest in told if metric == f"airflow.{name}"]

    def names(self, prefix: str) -> set[str]:
        """Return the names of metrics that start with a prefix."""
        names = (line.partition(":")[0].removeprefix("airflow.") for line in list(self._told))
        return {name for name in names if name.startswith(prefix)}

    def _listen(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                self._told += self._socket.recv(65_536).decode().splitlines()
