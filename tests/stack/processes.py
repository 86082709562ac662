"""Ports, processes and waiting, which every server of the stack needs. Knows none of them."""

from __future__ import annotations

import contextlib
import functools
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import psutil

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from typing_extensions import Self

T = TypeVar("T")

PROJECT = Path(__file__).resolve().parents[2]
TAG = "MODELMAX_STACK_PROCESS"
UV = shutil.which("uv", path=os.path.dirname(sys.executable)) or "uv"  # noqa: PTH120
_handed_out: set[int] = set()


def free_port(*offsets: int) -> int:
    """Find a port P such that P and P plus each offset are free.

    The port is below the range for outgoing connections, and random, so that two
    runs that start at the same moment do not collide.
    """
    for _ in range(200):
        port = random.randrange(15_000, 32_000 - max(offsets, default=0))  # no secret
        wanted = {port, *(port + offset for offset in offsets)}
        if not wanted & _handed_out and all(is_free(each) for each in wanted):
            _handed_out.update(wanted)
            return port
    raise RuntimeError("no free port between 15000 and 32000")


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port of 127.0.0.1 now."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return False
    return True


def wait_until(
    condition: Callable[[], T | None], timeout: float, what: str, evidence: Callable[[], str] | None = None
) -> T:
    """Return the first true result of `condition`; after `timeout` seconds fail and show the evidence."""
    deadline = time.monotonic() + timeout
    pause = 0.05
    while True:
        if answer := condition():
            return answer
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {timeout:g} s: {what}\n{evidence() if evidence else ''}")
        time.sleep(pause)
        pause = min(pause * 1.3, 0.5)


def child_environment(settings: Mapping[str, str]) -> dict[str, str]:
    """Return the environment of a child process: ours, without what would leak in or slow it down, plus `settings`."""
    inherited = {
        name: value
        for name, value in os.environ.items()
        # Without bytecode files every process would compile Airflow again: 20 s instead of 3.
        if not name.startswith(("AIRFLOW", "AWS_", "PYTEST_")) and name != "PYTHONDONTWRITEBYTECODE"
    }
    local = ",".join(filter(None, [inherited.get("NO_PROXY"), "127.0.0.1", "localhost"]))
    path = os.pathsep.join(filter(None, [str(Path(sys.executable).parent), inherited.get("PATH")]))
    return {**inherited, "NO_PROXY": local, "no_proxy": local, "PATH": path, **settings}


class Service:
    """A server in its own process and its own session, with its output in a file."""

    def __init__(self, name: str, command: Sequence[str], environment: Mapping[str, str], log: Path) -> None:
        """Prepare the process; `start` runs it."""
        self.name = name
        self.command = list(command)
        self.environment = dict(environment)
        self.log = log
        self.popen: subprocess.Popen[bytes] | None = None
        self._tag = ""

    def start(self) -> Self:
        """Run it, appending to its log."""
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self._tag = uuid.uuid4().hex
        with self.log.open("ab") as output:
            self.popen = subprocess.Popen(
                self.command,
                env={**self.environment, TAG: self._tag},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                # Not the project: `python -m` would put its folder before the installed package.
                cwd=self.log.parent,
                start_new_session=True,
            )
        _tell_guard(f"started {self.popen.pid} {self._tag}\n")
        return self

    def run(self) -> int:
        """Run it until it ends and return the exit code."""
        with running(self):
            return self.popen.wait() if self.popen else -1

    def running(self) -> bool:
        """Return whether the main process is alive."""
        return self.popen is not None and self.popen.poll() is None

    def check(self) -> None:
        """Raise, with the end of the log, if the process is gone."""
        if not self.running():
            code = self.popen.returncode if self.popen else "never started"
            raise RuntimeError(f"{self.name} ended (exit code {code})\n{self.tail()}")

    def family(self) -> list[psutil.Process]:
        """Find the process and all that it started, including those whose parent is already dead.

        Tasks run in their own process groups and keep the session; a bash command of a task has its own
        session and keeps the tag in its environment.
        """
        return family(self.popen.pid, self._tag) if self.popen else []

    def signal(self, number: signal.Signals) -> None:
        """Send a signal to only the main process."""
        if self.popen:
            self.popen.send_signal(number)

    def kill(self) -> None:
        """Kill it and all that it started at once, as a power failure would."""
        # Repeated until none is left: one may have started another in the meantime.
        for _ in range(100):
            if not (living := self.family()):
                break
            send(living, signal.SIGKILL)
            time.sleep(0.02)
        if self.popen:
            self.popen.wait()
            _tell_guard(f"ended {self.popen.pid} {self._tag}\n")

    def tail(self, lines: int = 40) -> str:
        """Return the end of the log."""
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return f"--- {self.log}\n" + "\n".join(text.splitlines()[-lines:])


def stop(services: Iterable[Service], grace: float = 2) -> None:
    """Send SIGTERM to all at once, then kill those that are left, including strays."""
    services = list(services)
    for each in services:
        if each.running():
            each.signal(signal.SIGTERM)
    deadline = time.monotonic() + grace
    while any(each.running() for each in services) and time.monotonic() < deadline:
        time.sleep(0.05)
    for each in services:
        each.kill()


def send(processes: Iterable[psutil.Process], number: signal.Signals) -> None:
    """Signal each process that still lives."""
    for each in processes:
        with contextlib.suppress(psutil.NoSuchProcess):
            each.send_signal(number)


@contextlib.contextmanager
def running(service: Service) -> Iterator[Service]:
    """Start a service and always stop it at the end."""
    service.start()
    try:
        yield service
    finally:
        stop([service])


def family(leader: int, tag: str) -> list[psutil.Process]:
    """Find the living processes of a session, and those with its tag."""
    return [each for each in psutil.process_iter() if _belongs(each, leader, tag)]


@functools.cache
def _guard() -> subprocess.Popen[str]:
    environment = {**os.environ, "PYTHONPATH": str(PROJECT)}
    command = [sys.executable, "-m", "tests.stack.guard"]
    return subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, text=True, start_new_session=True)


def _tell_guard(line: str) -> None:
    """Start a process that cleans up if we are killed before we can."""
    if pipe := _guard().stdin:
        pipe.write(line)
        pipe.flush()


def _belongs(process: psutil.Process, leader: int, tag: str) -> bool:
    try:
        ours = os.getsid(process.pid) == leader or process.environ().get(TAG) == tag
        return bool(ours and process.status() != psutil.STATUS_ZOMBIE)
    except (psutil.Error, OSError):
        return False
