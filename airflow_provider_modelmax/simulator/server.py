"""Runs the service in a thread, on a loopback port: for tests, demos and the command line."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import socket
import threading
import time
from typing import TYPE_CHECKING, Any

import uvicorn

from .app import App
from .faults import Active, Fault, read_fault
from .page import connection
from .service import Service
from .settings import Settings

try:
    from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol as HTTPProtocol
except ModuleNotFoundError:  # httptools is faster, but optional
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol  # type: ignore[assignment]  # same shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .ledger import Call, Ledger

KEEP_ALIVE = 75  # seconds, as gateways do; uvicorn's 5 s would close the connection of a client that polls every 5 s
START_TIMEOUT = 10.0  # seconds
MAX_PORT = 65_535


class Protocol(HTTPProtocol):
    """uvicorn's protocol, which also passes on the transport: resets and cut bodies need it."""

    def connection_made(self, transport: Any) -> None:
        """Store the transport for the application."""
        super().connection_made(transport)
        self.app_state = {"transport": transport}


class Server(uvicorn.Server):
    """uvicorn's server, but `stop` ends it at once instead of at the next tick (0.1 s)."""

    async def main_loop(self) -> None:
        """Tick until stopped."""
        self.loop, self.wake = asyncio.get_running_loop(), asyncio.Event()
        waiting, ticks = asyncio.ensure_future(self.wake.wait()), 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            await asyncio.wait({waiting}, timeout=0.1)

    def stop(self) -> None:
        """Stop, from any thread, also while starting. Open connections are aborted."""
        self.should_exit = self.force_exit = True
        with contextlib.suppress(AttributeError, RuntimeError):  # the loop has not started, or is closed
            self.loop.call_soon_threadsafe(self._abort_connections)

    def _abort_connections(self) -> None:
        for each in list(self.server_state.connections):
            each.transport.abort()
        self.wake.set()


class Simulator:
    """The service, as a context manager: `with Simulator(key="sk-test", run_seconds=0.2) as sim:` serves at `sim.url`.

    :param host: A loopback address.
    :param port: The port; 0 takes a free one.
    :param seed: Seed of the random queue and run times.
    :param clock: Returns the time in seconds, by which jobs progress.
    :param tls: Paths of a certificate and its key, to serve HTTPS.
    :param settings: Fields of `Settings`.
    """

    def __init__(
        self,
        *,
        host: str = "127.0.0.1",
        port: int = 0,
        seed: int | None = None,
        clock: Callable[[], float] = time.time,
        tls: tuple[str, str] | None = None,
        **settings: Any,
    ) -> None:
        if not is_loopback(host):
            raise ValueError(f"the simulator listens on loopback only, not on {host} (127.0.0.1, ::1 or localhost)")
        if not 0 <= port <= MAX_PORT:
            raise ValueError(f"port must be from 0 to {MAX_PORT}, not {port}")
        self.host, self.port, self._tls = host, port, tls
        self._service_arguments = Settings(**settings), clock, seed

    def __enter__(self) -> Simulator:
        """Start, and wait until calls are answered. If that fails, everything is cleaned up."""
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(_listener(self.host, self.port))
            self.port = listener.getsockname()[1]
            self.service = Service(*self._service_arguments)
            undo.callback(self.service.encoder_cache.close)
            self._server = Server(_config(App(self.service), self._tls))
            self._thread = threading.Thread(target=self._server.run, args=([listener],), name="simulator", daemon=True)
            self._thread.start()
            undo.callback(self._stop)
            self._await_start()
            undo.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Stop the server and remove the videos."""
        self._stop()
        self.service.encoder_cache.close()

    def _stop(self) -> None:
        self._server.stop()
        self._thread.join(timeout=5)

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_TIMEOUT
        while not (self._server.started and hasattr(self._server, "wake")):
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the simulator did not start: see the log of uvicorn")
            time.sleep(0.001)

    @property
    def url(self) -> str:
        """The base URL, for the host of a connection."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def key(self) -> str:
        """The key that is accepted."""
        return self.service.settings.key

    @property
    def connection(self) -> dict[str, str]:
        """An Airflow connection to this simulator, as a dict."""
        return connection(self.url, self.key)

    @property
    def settings(self) -> Settings:
        """The settings. A change is effective from the next call on."""
        return self.service.settings

    @property
    def ledger(self) -> Ledger:
        """Calls, bills and jobs since the start or the last reset."""
        return self.service.ledger

    @property
    def headers_seen(self) -> list[Call]:
        """The calls with an Authorization header, or with this simulator's key anywhere."""
        return [call for call in self.ledger.calls() if call.authorization != "missing" or call.key_seen]

    def fault(self, call: str, kind: str, **params: Any) -> Active:
        """Add a fault.

        :param call: `submit`, `status`, `result`, `content`, or `any`
        :param kind: the kind; `--help` of the command line lists them
        :param params: conditions (`times`, `after`, `request_id`, `model`, `prompt`, `when`) and parameters of the kind
        """
        return self.service.faults.add(read_fault({"call": call, "kind": kind, **params}))

    def add_fault(self, fault: Fault) -> Active:
        """Add a `Fault`."""
        return self.service.faults.add(fault)

    def clear_faults(self) -> None:
        """Remove all faults."""
        self.service.faults.remove()

    def reset(self) -> None:
        """Remove all jobs, calls, bills and faults, and restore the initial settings."""
        self.service.reset()

    def status(self, request_id: str) -> str:
        """Return the status of a job. No call is counted."""
        return self.ledger.jobs[request_id].status(self.service.clock())


def is_loopback(host: str) -> bool:
    """Return whether a host is a loopback address."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # asyncio turns Nagle off only if the protocol is named; with it a call takes 40 ms more.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: App, tls: tuple[str, str] | None) -> uvicorn.Config:
    """Return the loaded configuration: an unreadable certificate is an error here, not in the server's thread."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,  # or a client could claim to come from loopback
        log_config=None,
        timeout_keep_alive=KEEP_ALIVE,
        ssl_certfile=tls and tls[0],
        ssl_keyfile=tls and tls[1],
    )
    try:
        config.load()
    except OSError as error:
        raise ValueError(
            f"cannot use the certificate {tls and tls[0]} with the key {tls and tls[1]}: {error}"
        ) from error
    return config
