"""Azure Blob Storage, through Microsoft's client and the connections of Airflow's Azure provider.

A video is uploaded in blocks, one after the other, and becomes visible when the list of its blocks is committed.
"""

from __future__ import annotations

import contextlib
import io
import logging
import os
import uuid
from collections.abc import Iterable, Iterator, Mapping
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.storage.bucket import BucketLocation, missing_named
from airflow_provider_modelmax.storage.errors import answered
from airflow_provider_modelmax.storage.location import Location
from airflow_provider_modelmax.storage.prefetch import AHEAD, read_ahead

BLOCK = 8 * 1024 * 1024
"""Bytes of a block. A smaller blob is sent in one piece."""

_PIECE = 4 * 1024 * 1024
"""Bytes that are read at once: the client would begin with 32 MiB, and take twice that."""

_IDENTITY = ("managed_identity_client_id", "workload_identity_client_id", "workload_identity_tenant_id")

_ONLY_ABFS = {"account_name", "account_host", "anon", "managed_identity_client_id", "workload_identity_client_id"}
"""Fields of a connection that Airflow's ``abfs://`` reads, and its ``WasbHook`` does not, or only beside another."""

_FIELDS = {
    *_ONLY_ABFS,
    *_IDENTITY,
    *("connection_string", "account_key", "shared_access_key", "sas_token"),
    *("tenant_id", "client_id", "client_secret", "client_secret_auth_config"),
}
"""All fields that are read here. What else a connection has is handed to the client, as ``WasbHook`` does."""

_HTTP_LOG = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")


class AzureUpload:
    """A blob that is being uploaded.

    No other upload has the same block ids. So if two write one blob, the second to commit fails, as the first commit
    discards its blocks; with numbers for ids the blob would be a mixture of both.

    :param blob: client of the blob
    :param settings: of its content
    """

    def __init__(self, blob: Any, settings: Any) -> None:
        self._blob = blob
        self._settings = settings
        self._buffer = io.BytesIO()
        self._staged: list[str] = []

    def write(self, data: bytes) -> int:
        """Take bytes. A full block is sent at once."""
        rest = memoryview(data)
        while rest:
            taken = rest[: BLOCK - self._buffer.tell()]
            self._buffer.write(taken)
            rest = rest[len(taken) :]
            if self._buffer.tell() == BLOCK:
                self._stage()
        return len(data)

    def close(self) -> None:
        """Publish what was written."""
        from azure.storage.blob import BlobBlock  # noqa: PLC0415 - an extra

        if not self._staged:
            self._blob.upload_blob(self._buffer.getvalue(), overwrite=True, content_settings=self._settings)
            return
        if self._buffer.tell():
            self._stage()
        self._blob.commit_block_list([BlobBlock(each) for each in self._staged], content_settings=self._settings)

    def discard(self) -> None:
        """Forget what was written. Azure discards the blocks with the next write of the blob, or after a week."""
        self._buffer, self._staged = io.BytesIO(), []

    def _stage(self) -> None:
        # As long as those of adlfs: Azure refuses ids of another length beside blocks that a killed upload has left.
        block = uuid.uuid4().hex
        self._blob.stage_block(block, self._buffer.getvalue())
        self._staged.append(block)
        self._buffer = io.BytesIO()


class AzureLocation(BucketLocation):
    """A blob in Azure."""

    extra = "azure"

    @staticmethod
    def client_of(conn_id: str | None) -> Any:
        """Return a client with all that the connection says, to Microsoft's own operators or to ``abfs://``."""
        if _HTTP_LOG.level == logging.NOTSET:
            _HTTP_LOG.setLevel(logging.WARNING)  # or every request puts 25 lines of headers into the task's log
        if conn_id is None:
            return _client(_environment(), {})
        connection = BaseHook.get_connection(conn_id)
        extra = _extra(connection)
        if _is_for_abfs(connection, extra):
            return _client(_given(connection, extra), _environment())
        from airflow.providers.microsoft.azure.hooks.wasb import WasbHook  # noqa: PLC0415 - takes 0.2 s of CPU

        return WasbHook(wasb_conn_id=conn_id).get_conn()

    @classmethod
    def _problem_with(cls, bucket: str, key: str) -> str:
        if why := super()._problem_with(bucket, key):
            return why
        if "?versionid=" in key:
            return "ObjectStoragePath reads ?versionid= as a version of the object, not as a part of its name"
        if any(part.endswith(".") for part in key.rstrip("/").split("/")):
            return "a part of it ends in a dot, which Azure may remove"
        return ""

    @classmethod
    def _length(cls, key: str) -> tuple[int, str]:
        return len(key), "characters"

    def open(self, content_type: str) -> AzureUpload:
        """Begin to write the blob."""
        return AzureUpload(self._blob, _settings(content_type))

    def _create(self, data: bytes, content_type: str) -> None:
        self._blob.upload_blob(data, overwrite=False, content_settings=_settings(content_type))

    def _read(self, limit: int | None) -> bytes:
        part = {} if limit is None else {"offset": 0, "length": limit}
        return bytes(self._blob.download_blob(**part).readall())

    def blocks(self) -> Iterator[bytes]:
        """Return the bytes of the blob, a piece at a time. It fails if the blob is replaced meanwhile."""
        blob = self._blob
        from azure.core import MatchConditions  # noqa: PLC0415 - after the client, which says what to install

        with missing_named():
            found = blob.get_blob_properties()
            same = {"etag": found.etag, "match_condition": MatchConditions.IfNotModified}
            for begin in range(0, found.size, _PIECE):
                yield blob.download_blob(begin, _PIECE, **same).readall()

    def size(self) -> int | None:
        """Return the size of the blob in bytes, None if there is none.

        An account with a hierarchical namespace has a blob for each folder, too.
        """
        try:
            with missing_named():
                found = self._blob.get_blob_properties()
        except FileNotFoundError:
            return None
        return None if found.metadata.get("hdi_isfolder") == "true" else int(found.size)

    def remove(self) -> None:
        """Remove the blob.

        :raises FileNotFoundError: if there is none
        """
        with missing_named():
            self._blob.delete_blob()

    def before_upload(self, chunks: Iterable[bytes], size: int | None) -> contextlib.AbstractContextManager[Any]:
        """Read on while a block is uploaded. In ``with``, return the chunks."""
        if size is not None and size < BLOCK:
            return contextlib.nullcontext(chunks)
        return read_ahead(chunks, AHEAD)

    def try_out(self, longest: Location | None) -> None:
        """Try to replace a blob that does not exist, which Azure refuses: blocks that are staged cannot be removed."""
        blob = self._blob
        from azure.core import MatchConditions  # noqa: PLC0415 - after the client, which says what to install

        try:
            blob.upload_blob(b".", overwrite=True, etag='"0x0"', match_condition=MatchConditions.IfNotModified)
        except Exception as error:
            if "412" not in answered(error):  # comes only if the container exists and may be written
                raise

    @property
    def _blob(self) -> Any:
        return self.client.get_blob_client(self.bucket, self.key)


def _settings(content_type: str) -> Any:
    from azure.storage.blob import ContentSettings  # noqa: PLC0415 - an extra

    return ContentSettings(content_type=content_type)


def _extra(connection: Any) -> dict[str, Any]:
    """Return what is in the extra of a connection. The names in old ones begin with the type of the connection."""
    old = f"extra__{connection.conn_type}__"
    found = {name.removeprefix(old): value for name, value in connection.extra_dejson.items()}
    return {name: value for name, value in found.items() if value not in (None, "")}


def _is_for_abfs(connection: Any, extra: Mapping[str, Any]) -> bool:
    """Return whether to read a connection as Airflow's ``abfs://`` does: its ``WasbHook`` would not understand it.

    A connection string is the same to both.
    """
    if "connection_string" in extra:
        return True
    signature = extra.get("sas_token", "?")
    if signature.startswith("https"):
        return False
    is_data_lake = ".dfs." in (connection.host or "")
    return is_data_lake or not signature.startswith("?") or bool(_ONLY_ABFS & extra.keys())


def _given(connection: Any, extra: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a connection says, as ``abfs://`` reads it: all by the names of the fields of its extra."""
    host, login, password = connection.host, connection.login, connection.password
    if "tenant_id" in extra:
        found = {"client_id": login, "client_secret": password}
    else:
        found = {"account_name": login, "account_key": extra.get("shared_access_key") or password}
    if host and "account_name" not in extra:
        from airflow.providers.microsoft.azure.utils import parse_blob_account_url  # noqa: PLC0415 - an extra

        found["account_host"] = parse_blob_account_url(host.replace(".dfs.", ".blob."), login)
    return {**{name: value for name, value in found.items() if value}, **extra}


def _environment() -> dict[str, Any]:
    """Return the variables that adlfs reads, by the names of the fields."""
    found = {name: os.environ.get(f"AZURE_STORAGE_{name.upper()}") for name in _FIELDS}
    return {name: value for name, value in found.items() if value}


def _client(given: Mapping[str, Any], environment: Mapping[str, Any]) -> Any:
    """Return a client.

    :param given: fields of a connection
    :param environment: the same of the worker's environment, where the connection names no account or no credential
    """
    from azure.storage.blob import BlobServiceClient  # noqa: PLC0415 - an extra

    options = {name: value for name, value in given.items() if name not in _FIELDS}
    if text := given.get("connection_string"):
        return BlobServiceClient.from_connection_string(text, **options)
    account, host = given.get("account_name", ""), given.get("account_host", "")
    if not account and not host:
        account = environment.get("account_name", "")
    if not account and not host:
        raise DestinationError(
            "no storage account is named. Put account_name into the extra of the connection, or set "
            "AZURE_STORAGE_ACCOUNT_NAME in the environment of the workers."
        )
    host = host or f"{account}.blob.core.windows.net"
    url = host if "://" in host else f"https://{host}"
    account = account or (urlsplit(url).hostname or "").partition(".")[0]
    credential = _credential(account, given) or _credential(account, environment)
    is_anonymous = str(given.get("anon", environment.get("anon", False))).lower() not in {"false", "0", "f"}
    if credential is None and not is_anonymous:
        from azure.identity import DefaultAzureCredential  # noqa: PLC0415

        credential = DefaultAzureCredential(**{name: given[name] for name in _IDENTITY if name in given})
    return BlobServiceClient(url, credential=credential, **options)


def _credential(account: str, given: Mapping[str, Any]) -> Any:
    """Return the first credential of those given, in the order of adlfs; None if there is none."""
    from azure.core.credentials import AzureNamedKeyCredential, AzureSasCredential  # noqa: PLC0415 - an extra

    if "account_key" in given:
        return AzureNamedKeyCredential(account, given["account_key"])
    if "sas_token" in given:
        return AzureSasCredential(given["sas_token"])
    names = ("tenant_id", "client_id", "client_secret")
    if all(name in given for name in names):
        from azure.identity import ClientSecretCredential  # noqa: PLC0415

        return ClientSecretCredential(*(given[name] for name in names), **given.get("client_secret_auth_config", {}))
    return None
