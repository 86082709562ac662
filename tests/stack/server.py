"""Base class of all servers: it starts, waits until it is ready, and stops at the end of its ``with`` block."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

from tests.stack.processes import stop, wait_until

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self

    from tests.stack.processes import Service


class Server(ABC):
    """A server in its own process, as a context manager; it may be killed and started again."""

    service: Service
    ready_within = 30.0
    """Seconds that the start may take."""

    def __enter__(self) -> Self:
        """Start it and wait until it is ready."""
        try:
            self.start()
        except BaseException:
            self.__exit__(None, None, None)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End it."""
        stop([self.service])

    def start(self) -> None:
        """Start it (again)."""
        self.service.start()
        wait_until(self._is_up_and_ready, self.ready_within, f"{self.service.name} is ready", self.service.tail)

    def kill(self) -> None:
        """End it at once."""
        self.service.kill()

    def _is_up_and_ready(self) -> bool:
        self.service.check()
        return self._is_ready()

    @abstractmethod
    def _is_ready(self) -> bool:
        """Return whether it answers."""


class StoreServer(Server):
    """A store with one bucket. Its objects survive a kill, and are removed at the end of the block."""

    bucket = "videos"

    def __init__(self) -> None:
        """Create the folder for its files."""
        self._folder = TemporaryDirectory(prefix="modelmax-store-", ignore_cleanup_errors=True)
        self.home = Path(self._folder.name)

    def __exit__(self, *error: object) -> None:
        """Stop it and remove its files."""
        self.kill()
        self._folder.cleanup()
