"""Both colours of one question, a bare server that writes down what it hears, and certificates of our own."""

from __future__ import annotations

import asyncio
import ipaddress
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api.parameters import VideoParameters
from airflow_provider_modelmax.hooks import modelmax
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.simulator import Simulator
from tests.stack import processes
from tests.stack.listener import Listener

NONE = {"model": "veo-3.1", "request_id": "none"}
"""A job that no service knows."""

SHORT: VideoParameters = {"duration_seconds": 1, "generate_audio": False}

FAULTS = {
    "500": {"kind": "error", "status": 500},
    "502 of a gateway": {"kind": "error", "status": 502, "html": True},
    "404 of a gateway": {"kind": "error", "status": 404, "html": True},
    "429": {"kind": "error", "status": 429},
    "lost answer": {"kind": "lost_answer"},
    "reset": {"kind": "reset"},
    "cut JSON": {"kind": "cut_json"},
    "HTML": {"kind": "html_200"},
    "cut body": {"kind": "cut_body"},
}


def statuses(simulator: Simulator, call: str) -> list[int | None]:
    return [each.status for each in simulator.ledger.calls(call)]


def soon(seconds: float = 30) -> datetime:
    return datetime.now(timezone.utc) + timedelta(seconds=seconds)


@pytest.fixture
def hook(modelmax_conn: str, slept: list[float]) -> ModelMaxHook:
    """Return a hook that does not wait before it sends again."""
    return ModelMaxHook(modelmax_conn)


@pytest.fixture
def job(hook: ModelMaxHook, simulator: Simulator) -> api.Job:
    """Return a job that is COMPLETED."""
    simulator.settings.run_seconds = 0
    return hook.submit_video("veo-3.1", "a boat", SHORT)


@pytest.fixture
def connect(monkeypatch: pytest.MonkeyPatch) -> Callable[..., ModelMaxHook]:
    """Return a hook whose connection has this host and these extras."""

    def connect(host: str, password: str = "sk-simulator", **extra: object) -> ModelMaxHook:
        connection = {"conn_type": "modelmax", "host": host, "password": password, "extra": extra}
        monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(connection))
        return ModelMaxHook()

    return connect


@pytest.fixture(params=["sync", "async"])
def ask(request: pytest.FixtureRequest, slept: list[float]) -> Callable[..., Any]:
    """Ask for the status of jobs, on the worker or in an event loop, and return the last answer."""

    def ask(hook: ModelMaxHook, *jobs: Any) -> Any:
        if request.param == "sync":
            return [hook.get_status(job) for job in jobs or (NONE,)][-1]

        async def in_a_loop() -> Any:
            try:
                return [await hook.aget_status(job) for job in jobs or (NONE,)][-1]
            finally:
                await hook.aclose()

        return asyncio.run(in_a_loop())

    ask.colour = request.param
    return ask


@pytest.fixture
def slept(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Return how long the hook wanted to wait before it sent again; it does not wait."""
    seconds: list[float] = []
    monkeypatch.setattr(modelmax, "time", SimpleNamespace(sleep=seconds.append))
    return seconds


@pytest.fixture
def free_port() -> int:
    """Return a port on which nobody listens."""
    return processes.free_port()


@pytest.fixture
def listener() -> Iterator[Listener]:
    """Run a bare server."""
    with Listener() as running:
        yield running


@dataclass
class Certificate:
    """Where a server's certificate, its key and the certificate of its CA are."""

    chain: str
    key: str
    ca: str


@pytest.fixture(scope="session")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    """Return a certificate for 127.0.0.1, signed by a CA that nobody knows."""
    folder = tmp_path_factory.mktemp("tls")
    ca_key, server_key = ec.generate_private_key(ec.SECP256R1()), ec.generate_private_key(ec.SECP256R1())
    ca = _certificate("Test CA", ca_key, "Test CA", ca_key, is_ca=True)
    server = _certificate("127.0.0.1", server_key, "Test CA", ca_key, is_ca=False)
    key = server_key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    pem = serialization.Encoding.PEM
    return Certificate(
        _written(folder / "chain.pem", server.public_bytes(pem)),
        _written(folder / "key.pem", key),
        _written(folder / "ca.pem", ca.public_bytes(pem)),
    )


def _written(path: Path, data: bytes) -> str:
    path.write_bytes(data)
    return str(path)


def _certificate(name: str, key: Any, issuer: str, issuer_key: Any, *, is_ca: bool) -> x509.Certificate:
    now = datetime.now(timezone.utc)
    usage = dict.fromkeys(("content_commitment", "data_encipherment", "key_encipherment", "key_agreement"), False)
    usage |= {"crl_sign": is_ca, "key_cert_sign": is_ca, "digital_signature": True}
    builder = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]))
        .issuer_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, issuer)]))
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
        .add_extension(x509.KeyUsage(**usage, encipher_only=False, decipher_only=False), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_public_key(issuer_key.public_key()), critical=False)
    )
    if not is_ca:
        address = x509.IPAddress(ipaddress.ip_address(name))
        builder = builder.add_extension(x509.SubjectAlternativeName([address]), critical=False)
    return builder.sign(issuer_key, hashes.SHA256())


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return the ids of the connections that are looked up in an event loop."""
    found: list[str] = []
    look_up = ModelMaxHook.aget_connection

    async def counted(conn_id: str) -> object:
        found.append(conn_id)
        return await look_up(conn_id)

    monkeypatch.setattr(ModelMaxHook, "aget_connection", staticmethod(counted))
    return found
