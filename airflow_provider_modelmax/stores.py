"""What a store is: its URIs, its extra, its connection, and what its errors mean. Writes nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath
from airflow.sdk.io import has_fs
from fsspec.implementations.local import LocalFileSystem

LOCAL, S3, GCS, AZURE = "local", "s3", "gcs", "azure"

EXTRAS = {"s3": S3, "s3a": S3, "gs": GCS, "gcs": GCS, "abfs": AZURE, "abfss": AZURE}
"""Scheme: the extra that brings its library, and the name of the store here."""

_OVERTAKEN = {"NoSuchUpload", "InvalidBlockList"}
"""What S3 and Azure answer when the parts of an upload are gone."""

_DENIED = {"401", "403"}

_WINDOWS_PATH = re.compile(r"(file:/*)?[A-Za-z]:(?!//)|\\\\")

_CHATTY = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")


class StorageError(Exception):
    """The store failed. What was paid for is kept; a retry goes on from there."""


class DestinationError(StorageError, ValueError):
    """The destination cannot be used; as a rule that is found before anything is spent. What was paid for is kept.

    :param message: what is wrong, and what to do
    :param leads_nowhere: whether the URI itself is wrong: no store was asked, and a retry cannot help
    """

    def __init__(self, message: str, *, leads_nowhere: bool = False) -> None:
        super().__init__(message)
        self.leads_nowhere = leads_nowhere


@dataclass(frozen=True)
class Place:
    """Where an object is.

    :param store: ``local``, ``s3``, ``gcs`` or ``azure``
    :param path: in that store, as its filesystem takes it
    :param fs: opens it
    """

    store: str
    path: str
    fs: Any = field(repr=False)


def connect(uri: str) -> Place:
    """Return where ``uri`` leads, with a working filesystem.

    A URI is read as ObjectStoragePath reads it, so that others find the object under the same name: literally, with
    ``#``, ``?`` and ``%`` as part of the name.

    :param uri: ``s3://conn_id@bucket/key``, ``gs://…``, ``abfs://…``, ``file:///…`` or a local path
    :raises DestinationError: when scheme, bucket, connection or the library for it is missing
    """
    scheme, netloc = _split(uri)
    if scheme in {"", "file"}:
        # Not through ObjectStoragePath: for its first path it loads the filesystems of all providers (150 CPU-ms).
        return Place(LOCAL, str(_local(uri)), LocalFileSystem())
    if scheme not in EXTRAS:
        raise DestinationError(
            f"{uri}: {scheme}:// is not supported. Use one of file, {', '.join(EXTRAS)}.", leads_nowhere=True
        )
    conn_id, at, bucket = netloc.rpartition("@")
    if not bucket:
        raise DestinationError(f"{uri} names no bucket. Write {scheme}://conn_id@bucket/folder.", leads_nowhere=True)
    if at:
        _require_connection(uri, conn_id)
    place = _open_store(uri, scheme)
    place.fs.invalidate_cache()  # who listed this folder before us left what was there then
    return place


def as_text(place: object) -> object:
    """Return the URI of a path object (``ObjectStoragePath``, ``pathlib``), and anything else as it is."""
    return str(place) if isinstance(place, os.PathLike | ObjectStoragePath) else place


def is_windows_path(uri: str) -> bool:
    """Return whether this is a path of Windows: with a drive letter, or a network share."""
    return bool(_WINDOWS_PATH.match(uri))


def is_relative(uri: str) -> bool:
    """Return whether this is a local path that depends on the current directory."""
    scheme, netloc = _split(uri)
    return scheme in {"", "file"} and not netloc and not uri[len(scheme) :].lstrip(":").startswith(("/", "~"))


def from_anywhere(uri: str) -> str:
    """Return a URI that leads to the same place on every worker: a local path from the root.

    :raises DestinationError: when ``uri`` is none
    """
    return uri if _split(uri)[0] else str(_local(uri))


def plain(uri: str) -> str:
    """Return a URI as others name the same object: with a scheme, and without the connection that opens it."""
    scheme, found, rest = uri.partition("://")
    if not found or scheme == "file":
        return f"file://{_local(uri)}"
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}/{key}"


def content_type(place: Place, value: str) -> dict[str, Any]:
    """Return what the store's own library calls the content type of an object."""
    if place.store == AZURE:
        from azure.storage.blob import ContentSettings  # noqa: PLC0415 - an extra; no dict before adlfs 2026.8.0

        return {"content_settings": ContentSettings(content_type=value)}
    return {"ContentType" if place.store == S3 else "content_type": value}


@contextlib.contextmanager
def named(uri: str) -> Iterator[None]:
    """Turn what filesystems raise into errors that name the object and the next step."""
    try:
        yield
    except Exception as error:
        raise _meaning(uri, error) from error


def answered(error: BaseException) -> set[str]:
    """Return status and code of the store's answer, as far as its library kept them."""
    found = set()
    for each in filter(None, (error, error.__cause__)):
        response = getattr(each, "response", None)
        if isinstance(response, Mapping):  # S3
            found.add(str(response.get("Error", {}).get("Code")))
        for name in ("status_code", "error_code", "code"):  # Azure, Azure, Google
            value = getattr(each, name, None)
            found.add(str(getattr(value, "value", value)))
    if type(error) is OSError and str(error).startswith("Forbidden: "):
        found.add("403")  # gcsfs keeps nothing else
    return found


def _meaning(uri: str, error: Exception) -> StorageError:
    answer = answered(error)
    if answer & _OVERTAKEN:
        return StorageError(f"{uri}: the upload was aborted, as another process writes the same object. Retry.")
    if isinstance(error, FileNotFoundError) or "404" in answer:
        return DestinationError(f"{uri}: the bucket or folder does not exist ({error}). Create it first.")
    if isinstance(error, (FileExistsError, IsADirectoryError, NotADirectoryError)):
        return DestinationError(
            f"{uri}: something else is in the way ({error}). Move it, or choose another destination."
        )
    if isinstance(error, PermissionError) or answer & _DENIED:
        # S3 also answers so when asked for an object that is not there by someone who may not list
        return DestinationError(
            f"{uri}: access denied ({error}). Look at the credentials, and give their user the right to list, read and "
            "write objects there."
        )
    return StorageError(
        f"{uri}: the store failed ({type(error).__name__}: {error}). Retry; if it stays, look at the store."
    )


def _split(uri: str) -> tuple[str, str]:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise DestinationError(f"{uri} is no URI: {error}.", leads_nowhere=True) from error
    return parts.scheme, parts.netloc


def _local(uri: str) -> Path:
    scheme, host = _split(uri)
    if scheme and host:
        raise DestinationError(
            f"{uri} names the host {host!r}. Write file:/// and the path from the root.", leads_nowhere=True
        )
    try:
        path = Path(uri[len(scheme) + 1 :].removeprefix("//") if scheme else uri).expanduser().absolute()
    except RuntimeError as error:
        raise DestinationError(f"{uri}: {error} Write the path from the root.") from error
    return Path("/", *path.parts[1:])  # two slashes at the start would make the first folder a host again


def _require_connection(uri: str, conn_id: str) -> None:
    """Without this check an unknown connection would silently become the machine's own credentials.

    :raises DestinationError: if Airflow does not find it. Airflow's SDK raises the same for every failure of a look-up.
    :raises StorageError: if the look-up failed
    """
    try:
        _look_up(conn_id)
    except AirflowNotFoundException:
        raise DestinationError(
            f"Airflow did not find the connection {conn_id!r} of {uri}: it does not exist, or Airflow's API server did "
            f"not answer. If it does not exist, create it, or leave out {conn_id}@ to use the worker's own credentials."
        ) from None
    except Exception as error:
        raise StorageError(
            f"Airflow could not look up the connection {conn_id!r} of {uri}: {type(error).__name__}: {error}"
        ) from error


@lru_cache
def _look_up(conn_id: str) -> None:
    """Ask once per process: a look-up is a call to the API server, and one video opens half a dozen objects."""
    BaseHook.get_connection(conn_id)


def _open_store(uri: str, scheme: str) -> Place:
    try:
        path = ObjectStoragePath(uri)
        place = Place(EXTRAS[scheme], path.path, path.fs)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise DestinationError(f"{uri} cannot be opened ({reason}). {_remedy(scheme, error)}") from error
    if EXTRAS[scheme] == AZURE and _CHATTY.level == logging.NOTSET:
        _CHATTY.setLevel(logging.WARNING)  # or every request puts 25 lines of headers into the task's log
    return place


def _remedy(scheme: str, error: Exception) -> str:
    if isinstance(error, ImportError) or not has_fs(scheme):
        return f"Install what {scheme}:// needs: pip install 'airflow-provider-modelmax[{EXTRAS[scheme]}]'"
    return "Correct the connection."
