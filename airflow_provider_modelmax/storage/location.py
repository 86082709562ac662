"""What a store is: its URIs, its extra and its connection. Writes nothing."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath
from airflow.sdk.io import has_fs
from fsspec.implementations.local import LocalFileSystem

from airflow_provider_modelmax.api.errors import DestinationError, StorageError
from airflow_provider_modelmax.storage.errors import meaning

__all__ = ["DestinationError", "Place", "StorageError", "connect"]

LOCAL, S3, GCS, AZURE = "local", "s3", "gcs", "azure"

EXTRAS = {"s3": S3, "s3a": S3, "gs": GCS, "gcs": GCS, "abfs": AZURE, "abfss": AZURE}
"""Scheme: the extra that brings its library, and the name of the store here."""

LONGEST_KEY = 1024
"""Bytes of UTF-8 in S3 and Google Cloud Storage, characters in Azure."""

_VERSION = {S3: "?versionId=", AZURE: "?versionid="}
"""What s3fs and adlfs read as the start of a version id, anywhere in a name."""

_BUCKET = re.compile(r"arn:.+|[A-Za-z0-9$._-]+")

_WINDOWS_PATH = re.compile(r"(file:/*)?[A-Za-z]:(?!//)|\\\\")

_CHATTY = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")


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
    _check_characters(uri)
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
    _check_key(uri, EXTRAS[scheme])
    if at:
        _require_connection(uri, conn_id)
    place = _open_store(uri, scheme)
    place.fs.invalidate_cache()  # fsspec shares it: an earlier listing of this folder may be out of date
    return place


def as_text(place: object) -> object:
    """Return the URI of a path object (``ObjectStoragePath``, ``pathlib``), and anything else as it is."""
    return str(place) if isinstance(place, os.PathLike | ObjectStoragePath) else place


def is_windows_path(uri: str) -> bool:
    """Return whether this is a Windows path: with a drive letter, or a network share."""
    return bool(_WINDOWS_PATH.match(uri))


def is_relative(uri: str) -> bool:
    """Return whether this is a local path that depends on the current directory."""
    scheme, netloc = _split(uri)
    return scheme in {"", "file"} and not netloc and not uri[len(scheme) :].lstrip(":").startswith(("/", "~"))


def from_anywhere(uri: str) -> str:
    """Return a URI that means the same on every worker: a local path becomes absolute.

    :raises DestinationError: if ``uri`` is not a URI
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
        raise meaning(uri, error) from error


def _split(uri: str) -> tuple[str, str]:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise DestinationError(f"{uri} is no URI: {error}.", leads_nowhere=True) from error
    return parts.scheme, parts.netloc


def _check_characters(uri: str) -> None:
    """Refuse control characters: some are removed on the way, so that the object gets another name."""
    if uri.isprintable():
        return
    for character in uri:
        if unicodedata.category(character) in {"Cc", "Cs"}:
            raise DestinationError(
                f"{uri!r} holds the character {character!r}, which names cannot have. Remove it; if it comes from "
                "a template, look at the task's rendered templates.",
                leads_nowhere=True,
            )


def _check_key(uri: str, store: str) -> None:
    """Refuse a name that the store or its library would change, or that is too long."""
    bucket, _, key = uri.partition(":")[2].lstrip("/").partition("/")
    segments = key.rstrip("/").split("/")
    if not _BUCKET.fullmatch(bucket.rpartition("@")[2]):
        why = "the bucket's name may have letters, digits, dots, hyphens and underscores only"
    elif key and not all(segments):
        why = "it has two slashes in a row, which some stores turn into one"
    elif {".", ".."} & {*segments}:
        why = "it has a folder named . or .., which stores refuse, or remove from the name"
    elif "\\" in key:
        why = "it has a backslash, which some stores turn into a slash"
    elif _VERSION.get(store, "\0") in key:
        why = f"the library of the store reads {_VERSION[store]} as a version of the object, not as a part of its name"
    elif store == AZURE and any(segment.endswith(".") for segment in segments):
        why = "a part of it ends in a dot, which Azure may remove"
    else:
        length = len(key) if store == AZURE else len(key.encode())
        if length <= LONGEST_KEY:
            return
        unit = "characters" if store == AZURE else "bytes in UTF-8"
        why = f"its name has {length:,} {unit}, and the store allows {LONGEST_KEY:,}. Shorten it"
    raise DestinationError(f"{uri} cannot be used: {why}. Choose another name.", leads_nowhere=True)


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
    endpoint = getattr(place.fs, "endpoint_url", None)
    if place.store == S3 and endpoint and not re.match("https?://.", endpoint, re.IGNORECASE):
        raise DestinationError(
            f"{uri}: the endpoint_url {endpoint!r} in the extra of the connection is no URL. Begin it with http:// or "
            "https://."
        )
    if EXTRAS[scheme] == AZURE and _CHATTY.level == logging.NOTSET:
        _CHATTY.setLevel(logging.WARNING)  # or every request puts 25 lines of headers into the task's log
    return place


def _remedy(scheme: str, error: Exception) -> str:
    if isinstance(error, ImportError) or not has_fs(scheme):
        return f"Install what {scheme}:// needs: pip install 'airflow-provider-modelmax[{EXTRAS[scheme]}]'"
    return "Correct the connection."
