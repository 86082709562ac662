"""A real S3 server (SeaweedFS) for one run. It checks signatures and permissions, and can be killed."""

from __future__ import annotations

import contextlib
import functools
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import botocore.config
import botocore.exceptions
import botocore.handlers
import botocore.session

from tests.stack.processes import Service, child_environment, free_port, stop
from tests.stack.server import StoreServer
from tests.stack.tls import Certificate

BUCKET = StoreServer.bucket
GRPC_OFFSET = 10_000


@dataclass(frozen=True)
class Identity:
    """An identity: an access key, its secret, and what SeaweedFS allows it."""

    login: str
    password: str
    actions: tuple[str, ...]


OWNER = Identity("owner", "secret-of-the-owner", ("Admin", "Read", "Write", "List", "Tagging"))
WRITER = Identity("writer", "secret-of-the-writer", (f"Read:{BUCKET}", f"List:{BUCKET}", f"Write:{BUCKET}"))
READER = Identity("reader", "secret-of-the-reader", (f"Read:{BUCKET}", f"List:{BUCKET}"))


class SeaweedFS(StoreServer):
    """An S3 server with the bucket `videos`, as a context manager."""

    ready_within = 60.0

    def __init__(self, certificate: Certificate | None = None) -> None:
        """Choose the ports; entering the context starts it.

        :param certificate: for HTTPS
        """
        super().__init__()
        self.certificate = certificate
        self.port = free_port(GRPC_OFFSET)
        self.url = f"{'https' if certificate else 'http'}://127.0.0.1:{self.port}"
        (self.home / "data").mkdir()
        (self.home / "identities.json").write_text(_identities(OWNER, WRITER, READER))
        self._ports = {name: free_port(GRPC_OFFSET) for name in ("master", "volume", "filer", "admin")}
        self.service = Service("seaweedfs", self._command(), child_environment({}), self.home / "weed.log")

    def __exit__(self, *error: Any) -> None:
        """Stop it and remove its files."""
        super().__exit__(*error)
        ports = (self.port, *self._ports.values())
        for port in (*ports, *(port + GRPC_OFFSET for port in ports)):
            for socket in Path(tempfile.gettempdir()).glob(f"seaweedfs-*-{port}.sock"):
                socket.unlink(missing_ok=True)

    def start(self) -> None:
        """Start it (again) with what was stored, and wait until a put succeeds, which is long after it listens."""
        super().start()
        self.client().delete_object(Bucket=BUCKET, Key=".probe")

    def stop(self) -> None:
        """Stop it with SIGTERM."""
        stop([self.service])

    @property
    def connection(self) -> dict[str, Any]:
        """The Airflow connection of the bucket's owner."""
        return self.connection_as(OWNER)

    @property
    def read_only_connection(self) -> dict[str, Any]:
        """An Airflow connection that may only list and read the bucket."""
        return self.connection_as(READER)

    def connection_as(self, identity: Identity) -> dict[str, Any]:
        """Return the Airflow connection of an identity."""
        extra = {
            "endpoint_url": self.url,
            "region_name": "us-east-1",
            "config_kwargs": {"s3": {"addressing_style": "path"}},
        }
        return {"conn_type": "aws", "login": identity.login, "password": identity.password, "extra": extra}

    @functools.cache  # noqa: B019 - one server a run; to make a client costs 0.3 s
    def client(self, identity: Identity = OWNER) -> Any:
        """Return a botocore client; threads may share it."""
        config = botocore.config.Config(
            s3={"addressing_style": "path"},
            retries={"total_max_attempts": 1},
            connect_timeout=2,
            read_timeout=10,
            proxies={},
        )
        made = botocore.session.Session().create_client(
            "s3",
            endpoint_url=self.url,
            region_name="us-east-1",
            aws_access_key_id=identity.login,
            aws_secret_access_key=identity.password,
            config=config,
            verify=str(self.certificate.ca) if self.certificate else None,
        )
        # Without it an old botocore (seen with 1.43.0) gets out of sync with the server after an empty object.
        made.meta.events.unregister("before-call.s3", botocore.handlers.add_expect_header)
        return made

    def list_objects(self, prefix: str = "") -> dict[str, int]:
        """Return the size of each object, by key."""
        pages = self.client().get_paginator("list_objects_v2").paginate(Bucket=BUCKET, Prefix=prefix)
        return {item["Key"]: item["Size"] for page in pages for item in page.get("Contents", [])}

    def list_multipart_uploads(self, prefix: str = "") -> list[str]:
        """Return the keys of uploads that were neither completed nor aborted."""
        answer = self.client().list_multipart_uploads(Bucket=BUCKET, Prefix=prefix)
        return [upload["Key"] for upload in answer.get("Uploads", [])]

    def read(self, key: str) -> bytes:
        """Return the bytes of an object."""
        return bytes(self.client().get_object(Bucket=BUCKET, Key=key)["Body"].read())

    def _is_ready(self) -> bool:
        with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            self.client().put_object(Bucket=BUCKET, Key=".probe", Body=b"probe")
            return True
        return False

    def _command(self) -> list[str]:
        certificate = self.certificate
        options = {
            "dir": self.home / "data",
            "ip": "127.0.0.1",
            "ip.bind": "127.0.0.1",
            "master.telemetry": "false",  # it would call its constructor
            **{f"{name}.port": port for name, port in self._ports.items()},
            "s3.port": self.port,
            "s3.config": self.home / "identities.json",
            **({"s3.cert.file": certificate.chain, "s3.key.file": certificate.key} if certificate else {}),
            "s3.port.iceberg": 0,
            "s3.port.lance": 0,
            "s3.autoCreateBucket": "false",
            "bucket": BUCKET,
            "webdav": "false",
            "admin.ui": "false",
            "volume.preStopSeconds": 0,
        }
        return ["weed", f"-logdir={self.home}", "mini", *(f"-{name}={value}" for name, value in options.items())]


def _identities(*identities: Identity) -> str:
    entries = [
        {
            "name": each.login,
            "credentials": [{"accessKey": each.login, "secretKey": each.password}],
            "actions": list(each.actions),
        }
        for each in identities
    ]
    return json.dumps({"identities": entries})
