"""The stores that the storage tests run on: real ones, each seen from outside by something that is not ours."""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

import pytest
import requests

from tests.stack import azure, gcs
from tests.stack.s3 import WRITER, Identity, SeaweedFS

if TYPE_CHECKING:
    from collections.abc import Callable

CONN_ID = "store"


class Store(Protocol):
    """A folder of its own for one test, and what a bystander finds in it."""

    kind: str
    keeps_unfinished: bool
    """Whether unfinished writes stay until someone removes them."""

    def uri(self, name: str) -> str:
        """Return the URI of a name in the folder; the name "" is the folder."""

    def names(self) -> list[str]:
        """Return the names of all that can be seen."""

    def read(self, name: str) -> bytes:
        """Return the bytes of an object."""

    def put(self, name: str, data: bytes) -> None:
        """Put an object there, as another program would."""

    def leftovers(self) -> list[str]:
        """Return what unfinished writes left behind that nobody but we will remove."""

    def content_type(self, name: str) -> str | None:
        """Return the content type of an object; None where the store keeps none."""

    def environment(self) -> dict[str, str]:
        """Return what another process needs to reach the store."""


@dataclass
class LocalStore:
    """A local folder."""

    root: Path
    kind: str = "local"
    keeps_unfinished: bool = True

    def uri(self, name: str) -> str:
        return f"file://{self.root}/{name}"

    def names(self) -> list[str]:
        return sorted(str(path.relative_to(self.root)) for path in self._files() if path.suffix != ".part")

    def read(self, name: str) -> bytes:
        return (self.root / name).read_bytes()

    def put(self, name: str, data: bytes) -> None:
        (self.root / name).parent.mkdir(parents=True, exist_ok=True)
        (self.root / name).write_bytes(data)

    def leftovers(self) -> list[str]:
        return sorted(path.name for path in self._files() if path.suffix == ".part")

    def content_type(self, name: str) -> str | None:
        assert (self.root / name).is_file()

    def environment(self) -> dict[str, str]:
        return {}

    def _files(self) -> list[Path]:
        return [path for path in self.root.rglob("*") if not path.is_dir()]


@dataclass
class S3Store:
    """A prefix in the bucket of a SeaweedFS."""

    server: SeaweedFS
    prefix: str
    conn_id: str = CONN_ID
    kind: str = "s3"
    keeps_unfinished: bool = True

    def uri(self, name: str) -> str:
        return f"s3://{self.conn_id}@{self.server.bucket}/{self.prefix}/{name}"

    def names(self) -> list[str]:
        found = self._client.list_objects_v2(Bucket=self.server.bucket, Prefix=f"{self.prefix}/")
        return sorted(item["Key"].removeprefix(f"{self.prefix}/") for item in found.get("Contents", []))

    def read(self, name: str) -> bytes:
        return bytes(self._client.get_object(**self._object(name))["Body"].read())

    def put(self, name: str, data: bytes) -> None:
        self._client.put_object(**self._object(name), Body=data)

    def leftovers(self) -> list[str]:
        found = self._client.list_multipart_uploads(Bucket=self.server.bucket, Prefix=f"{self.prefix}/")
        return [upload["Key"] for upload in found.get("Uploads", [])]

    def content_type(self, name: str) -> str | None:
        return str(self._client.head_object(**self._object(name))["ContentType"])

    def environment(self) -> dict[str, str]:
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(self.server.connection)}

    def strangers(self) -> list[dict[str, Any]]:
        """Return connections with credentials that are wrong."""
        return [self.server.connection_as(Identity(name, "wrong", ())) for name in ("owner", "nobody")]

    def reader(self) -> dict[str, Any]:
        """Return a connection that may only read."""
        return self.server.read_only_connection

    def writer(self) -> dict[str, Any]:
        """Return a connection that may list, read and write."""
        return self.server.connection_as(WRITER)

    def begin(self, name: str) -> None:
        """Begin an upload and forget it."""
        self._client.create_multipart_upload(**self._object(name))

    def _object(self, name: str) -> dict[str, str]:
        return {"Bucket": self.server.bucket, "Key": f"{self.prefix}/{name}"}

    @property
    def _client(self) -> Any:
        return self.server.client()


@dataclass
class GcsStore:
    """A prefix in the bucket of a fake-gcs-server, seen through the JSON API of Google's documentation."""

    server: gcs.FakeGcs
    prefix: str
    conn_id: str = CONN_ID
    kind: str = "gcs"
    keeps_unfinished: bool = False

    def uri(self, name: str) -> str:
        return f"gs://{self.conn_id}@{self.server.bucket}/{self.prefix}/{name}"

    def names(self) -> list[str]:
        found = self._get("", prefix=f"{self.prefix}/").json()
        return sorted(item["name"].removeprefix(f"{self.prefix}/") for item in found.get("items", []))

    def read(self, name: str) -> bytes:
        return bytes(self._get(name, alt="media").content)

    def put(self, name: str, data: bytes) -> None:
        url = f"{self.server.url}/upload/storage/v1/b/{self.server.bucket}/o"
        query = {"uploadType": "media", "name": f"{self.prefix}/{name}"}
        requests.post(url, params=query, data=data, timeout=30).raise_for_status()

    def leftovers(self) -> list[str]:
        """Return nothing: the service forgets unfinished uploads after a week, and lists them to nobody."""
        return []

    def content_type(self, name: str) -> str | None:
        return str(self._get(name).json()["contentType"])

    def environment(self) -> dict[str, str]:
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(self.server.connection), **self.server.environment}

    def _get(self, name: str, **query: str) -> requests.Response:
        key = f"/{quote(f'{self.prefix}/{name}', safe='')}" if name else ""
        url = f"{self.server.url}/storage/v1/b/{self.server.bucket}/o{key}"
        answer = requests.get(url, params=query, timeout=30)
        answer.raise_for_status()
        return answer


@dataclass
class AzureStore:
    """A prefix in the container of an azurite, seen through Microsoft's own client."""

    server: azure.Azurite
    prefix: str
    conn_id: str = CONN_ID
    kind: str = "azure"
    keeps_unfinished: bool = False

    def uri(self, name: str) -> str:
        return f"abfs://{self.conn_id}@{self.server.bucket}/{self.prefix}/{name}"

    def names(self) -> list[str]:
        found = self._container.list_blob_names(name_starts_with=f"{self.prefix}/")
        return sorted(name.removeprefix(f"{self.prefix}/") for name in found)

    def read(self, name: str) -> bytes:
        return bytes(self._blob(name).download_blob().readall())

    def put(self, name: str, data: bytes, **options: Any) -> None:
        self._blob(name).upload_blob(data, overwrite=True, **options)

    def stage(self, name: str, block: str, data: bytes) -> None:
        """Begin an upload, as another program would, and forget it."""
        self._blob(name).stage_block(block, data)

    def leftovers(self) -> list[str]:
        """Return nothing: the service discards blocks that were not committed after a week."""
        return []

    def uncommitted(self, name: str) -> int:
        """Return how many blocks of a blob wait for a commit."""
        return len(self._blob(name).get_block_list("all")[1])

    def content_type(self, name: str) -> str | None:
        return str(self._blob(name).get_blob_properties().content_settings.content_type)

    def environment(self) -> dict[str, str]:
        return {f"AIRFLOW_CONN_{self.conn_id.upper()}": json.dumps(self.server.connection)}

    def strangers(self) -> list[dict[str, Any]]:
        """Return connections with credentials that are wrong."""
        return [self.server.wrong_connection]

    def reader(self) -> dict[str, Any]:
        """Return a connection that may only read."""
        return self.server.connection_with(read=True)

    def writer(self) -> dict[str, Any]:
        """Return a connection that may read and write; no need to list."""
        return self.server.connection_with(read=True, write=True)

    def _blob(self, name: str) -> Any:
        return self._container.get_blob_client(f"{self.prefix}/{name}")

    @cached_property
    def _container(self) -> Any:
        return self.server.client()


MAKERS: dict[str, Callable[..., Store]] = {
    "local": lambda _request, folder, _name, _conn_id="": LocalStore(folder),
    "s3": lambda request, _folder, *place: S3Store(request.getfixturevalue("seaweedfs"), *place),
    "gcs": lambda request, _folder, *place: GcsStore(request.getfixturevalue("fake_gcs"), *place),
    "azure": lambda request, _folder, *place: AzureStore(request.getfixturevalue("azurite"), *place),
}
"""Of the request of a fixture, a local folder, a prefix and perhaps a connection's id."""

NEEDS = {"gcs": gcs.NEEDS, "azure": azure.NEEDS}
MISSING = sorted(name for names in NEEDS.values() for name in names if find_spec(name) is None)
ELSEWHERE = f"not installed here: {', '.join(MISSING)}; `make stores` runs this on Google Cloud Storage and Azure"
STORES = [kind for kind in MAKERS if not set(NEEDS.get(kind, ())) & set(MISSING)]
EVERY_STORE = [kind if kind in STORES else pytest.param(kind, marks=pytest.mark.skip(ELSEWHERE)) for kind in MAKERS]
"""For `parametrize`: those that are not here are skipped by name."""


def on(*kinds: str) -> pytest.MarkDecorator:
    """Run a test on these stores only, as far as they are here."""
    here = [kind for kind in kinds if kind in STORES]
    return pytest.mark.parametrize(
        "store", here or [pytest.param(kinds[0], marks=pytest.mark.skip(ELSEWHERE))], indirect=True
    )
