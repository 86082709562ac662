"""Runs the service in a thread of its own, on a loopback port: for tests, for demos, for the command line."""

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
except ModuleNotFoundError:  # httptools is faster, h11 is always there
    from uvicorn.protocols.http.h11_impl import H11Protocol as HTTPProtocol  # type: ignore[assignment]  # same shape

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from .ledger import Call, Ledger

KEEP_ALIVE = 75  # as gateways do; uvicorn's 5 s would close just when a client polls every 5 s
START_WITHIN = 10.0
MOST_PORTS = 65_535


class Protocol(HTTPProtocol):
    """uvicorn's own, which also hands the transport on: resets and cut bodies need it."""

    def connection_made(self, transport: Any) -> None:
        """Put the transport where the application finds it."""
        super().connection_made(transport)
        self.app_state = {"transport": transport}


class Server(uvicorn.Server):
    """uvicorn's own, which stops at once when told to, and not at the next tenth of a second."""

    async def main_loop(self) -> None:
        """Tick until told to stop."""
        self.loop, self.wake = asyncio.get_running_loop(), asyncio.Event()
        waiting, ticks = asyncio.ensure_future(self.wake.wait()), 0
        while not await self.on_tick(ticks):
            ticks = (ticks + 1) % 864_000
            await asyncio.wait({waiting}, timeout=0.1)

    def stop(self) -> None:
        """Stop, from any thread, also what has not quite begun; open exchanges are cut."""
        self.should_exit = self.force_exit = True
        with contextlib.suppress(AttributeError, RuntimeError):  # no loop yet, or no more
            self.loop.call_soon_threadsafe(self._cut)

    def _cut(self) -> None:
        for each in list(self.server_state.connections):
            each.transport.abort()
        self.wake.set()


class Simulator:
    """`with Simulator(key="sk-test", run_seconds=0.2) as sim:` and the service stands at `sim.url`.

    Further keywords are fields of `Settings`. `clock` is what jobs live by.
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
        if not 0 <= port <= MOST_PORTS:
            raise ValueError(f"port must be from 0 to {MOST_PORTS}, not {port}")
        self.host, self.port, self._tls = host, port, tls
        self._wanted = Settings(**settings), clock, seed

    def __enter__(self) -> Simulator:
        """Listen, and wait until a call would be answered; what goes wrong on the way leaves nothing behind."""
        with contextlib.ExitStack() as undo:
            listener = undo.enter_context(_listener(self.host, self.port))
            self.port = listener.getsockname()[1]
            self.service = Service(*self._wanted)
            undo.callback(self.service.studio.close)
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
        """Stop listening and remove the videos."""
        self._stop()
        self.service.studio.close()

    def _stop(self) -> None:
        self._server.stop()
        self._thread.join(timeout=5)

    def _await_start(self) -> None:
        deadline = time.monotonic() + START_WITHIN
        while not (self._server.started and hasattr(self._server, "wake")):
            if not self._thread.is_alive() or time.monotonic() > deadline:
                raise RuntimeError("the simulator did not start: see the log of uvicorn")
            time.sleep(0.001)

    @property
    def url(self) -> str:
        """The base URL, for the connection's host."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{'https' if self._tls else 'http'}://{host}:{self.port}"

    @property
    def key(self) -> str:
        """The key that is right at the moment."""
        return self.service.settings.key

    @property
    def connection(self) -> dict[str, str]:
        """The Airflow connection that leads here."""
        return connection(self.url, self.key)

    @property
    def settings(self) -> Settings:
        """Set a field and the next call sees it."""
        return self.service.settings

    @property
    def ledger(self) -> Ledger:
        """What happened since the start or the last reset."""
        return self.service.ledger

    @property
    def headers_seen(self) -> list[Call]:
        """The calls that carried an Authorization header, or this simulator's key anywhere."""
        return [call for call in self.ledger.calls() if call.authorization != "missing" or call.key_seen]

    def fault(self, call: str, kind: str, **params: Any) -> Active:
        """Put a fault in force; `times`, `after`, `request_id`, `model`, `prompt`, `when` narrow it down."""
        return self.service.faults.add(read_fault({"call": call, "kind": kind, **params}))

    def add_fault(self, fault: Fault) -> Active:
        """Put a ready-made fault in force."""
        return self.service.faults.add(fault)

    def clear_faults(self) -> None:
        """Lift all faults."""
        self.service.faults.remove()

    def reset(self) -> None:
        """Forget jobs, calls, bills and faults; settings go back to the first ones."""
        self.service.reset()

    def status(self, request_id: str) -> str:
        """Say a job's status without a call."""
        return self.ledger.jobs[request_id].status(self.service.clock())


def is_loopback(host: str) -> bool:
    """Say whether only this machine can reach a host."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _listener(host: str, port: int) -> socket.socket:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # The protocol has to be named, or asyncio leaves Nagle on: 40 ms more a call.
    listener = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((host, port))
    except OSError:
        listener.close()
        raise
    return listener


def _config(app: App, tls: tuple[str, str] | None) -> uvicorn.Config:
    """Lay out uvicorn, loaded: a certificate that cannot be read is an error here, and none in the server's thread."""
    config = uvicorn.Config(
        app,
        http=Protocol,
        loop="asyncio",
        ws="none",
        lifespan="off",
        access_log=False,
        proxy_headers=False,  # or a header could claim to come from loopback
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
