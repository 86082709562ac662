"""A simulator over a real socket, with a clock that the test turns."""

from __future__ import annotations

import socket
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import pytest
import requests

ROOT = str(Path(__file__).parents[2])
if ROOT not in sys.path:
    sys.path.insert(0, ROOT)

from airflow_provider_modelmax.simulator import Simulator  # noqa: E402 -- after the path
from tests.stack import tls  # noqa: E402

if TYPE_CHECKING:
    from collections.abc import Iterator

KEY = "sk-test"
SHORT = {"duration_seconds": 1, "generate_audio": False}


class Clock:
    """Time that stands still until it is turned."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def __call__(self) -> float:
        return self.now


class Client:
    """The four calls, spelled as a client would."""

    def __init__(self, sim: Simulator, clock: Clock) -> None:
        self.sim, self.clock = sim, clock
        self.session = requests.Session()
        self.session.trust_env = False
        self.session.headers["Authorization"] = f"Bearer {KEY}"

    def submit(self, prompt: Any = "a boat", model: str = "veo-3.1", **parameters: Any) -> requests.Response:
        body = {"prompt": prompt, "parameters": {**SHORT, **parameters}}
        return self.session.post(f"{self.sim.url}/v1/queue/{model}", json=body, timeout=10)

    def get(self, path: str, **more: Any) -> requests.Response:
        return self.session.get(self.sim.url + path, timeout=60, **more)  # a 4k video is encoded meanwhile

    def job(self, prompt: str = "a boat", **parameters: Any) -> dict[str, Any]:
        answer = self.submit(prompt, **parameters)
        assert answer.status_code == 202, answer.text
        return answer.json()

    def done(self, prompt: str = "a boat", **parameters: Any) -> dict[str, Any]:
        """Submit, and turn the clock until the job is over."""
        job = self.job(prompt, **parameters)
        self.clock.now += 100
        return job

    def result(self, prompt: str = "a boat", **parameters: Any) -> dict[str, Any]:
        return self.get(self.done(prompt, **parameters)["response_url"]).json()

    def video_url(self, prompt: str = "a boat", **parameters: Any) -> str:
        return self.result(prompt, **parameters)["data"][0]["url"]


@pytest.fixture(scope="session")
def clock() -> Clock:
    return Clock()


@pytest.fixture(scope="session")
def running(clock: Clock) -> Iterator[Simulator]:
    with Simulator(key=KEY, queue_seconds=2, run_seconds=5, clock=clock, plain_videos=True) as sim:
        yield sim


@pytest.fixture
def sim(running: Simulator) -> Simulator:
    running.reset()
    return running


@pytest.fixture
def client(sim: Simulator, clock: Clock) -> Client:
    return Client(sim, clock)


@pytest.fixture
def raw_get(sim: Simulator) -> Any:
    """Fetch a path on a bare socket: all bytes that came, and how the connection ended."""

    def get(path: str) -> tuple[bytes, str]:
        got, port = b"", urlsplit(sim.url).port
        with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
            connection.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n\r\n".encode())
            try:
                while chunk := connection.recv(65536):
                    got += chunk
            except ConnectionResetError:
                return got, "reset"
        return got, "closed"

    return get


@pytest.fixture
def certificate(tmp_path: Path) -> tls.Certificate:
    """Make a certificate for 127.0.0.1."""
    return tls.certificate(tmp_path)
