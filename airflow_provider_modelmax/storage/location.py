"""Where an object is, and how its store reads and writes it: URIs, connections, and the base class of all stores."""

from __future__ import annotations

import contextlib
import logging
import os
import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath
from airflow.sdk.io import has_fs

from airflow_provider_modelmax.api.errors import DestinationError, StorageError
from airflow_provider_modelmax.storage.errors import answered, meaning
from airflow_provider_modelmax.storage.prefetch import read_ahead

log = logging.getLogger(__name__)

STORES = {
    "": "local.LocalLocation",
    "file": "local.LocalLocation",
    "s3": "s3.S3Location",
    "s3a": "s3.S3Location",
    "gs": "gcs.GcsLocation",
    "gcs": "gcs.GcsLocation",
    "abfs": "azure.AzureLocation",
    "abfss": "azure.AzureLocation",
}
"""The scheme of a URI, and the class of its store in this package."""

LONGEST_KEY = 1024
"""Bytes of UTF-8 in S3 and Google Cloud Storage, characters in Azure."""

PART = 5 * 1024 * 1024
"""Bytes. A smaller object is sent in one piece."""

BLOCK = 8 * 1024 * 1024
"""Bytes of one part of an upload to GCS and Azure. Measured: memory is 3 to 4 times this."""

AHEAD = 8
"""Chunks of a video that are read while a part of it is uploaded there: their writers do one thing at a time."""

TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""What stores answer if the object exists, or is being written at the moment."""

_BUCKET = re.compile(r"arn:.+|[A-Za-z0-9$._-]+")

_WINDOWS_PATH = re.compile(r"(file:/*)?[A-Za-z]:(?!//)|\\\\")


@dataclass(frozen=True)
class Location:
    """Where an object is. Each store has a subclass, which says what is particular about it.

    Whoever calls a method wraps it in :func:`named`, which translates what the libraries raise.

    :param path: in the store, as its filesystem takes it
    :param fs: opens it
    """

    extra: ClassVar[str] = ""
    """The extra of this package that brings the library of the store."""

    path: str
    fs: Any = field(repr=False)

    @classmethod
    def of(cls, uri: str) -> Location:
        """Return the location of a checked URI, with a working filesystem.

        :raises DestinationError: if the library or the connection cannot be used
        """
        try:
            path = ObjectStoragePath(uri)
            found = cls(path.path, path.fs)
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
            raise DestinationError(f"{uri} cannot be opened ({reason}). {cls._remedy(uri, error)}") from error
        found.fs.invalidate_cache()  # fsspec shares it: an earlier listing of this folder may be out of date
        return found

    @classmethod
    def check_uri(cls, uri: str) -> None:
        """Refuse a URI whose name the store or its library would change, or that is too long.

        :raises DestinationError: if it cannot be used
        """
        scheme, netloc = _split(uri)
        conn_id, at, bucket = netloc.rpartition("@")
        if not bucket:
            raise DestinationError(
                f"{uri} names no bucket. Write {scheme}://conn_id@bucket/folder.", leads_nowhere=True
            )
        if why := cls._problem_with(uri):
            raise DestinationError(f"{uri} cannot be used: {why}. Choose another name.", leads_nowhere=True)
        if at:
            _require_connection(uri, conn_id)

    @classmethod
    def _problem_with(cls, uri: str) -> str:
        """Return why the name of an object cannot be used, empty if it can."""
        bucket, _, key = uri.partition(":")[2].lstrip("/").partition("/")
        segments = key.rstrip("/").split("/")
        if not _BUCKET.fullmatch(bucket.rpartition("@")[2]):
            return "the bucket's name may have letters, digits, dots, hyphens and underscores only"
        if key and not all(segments):
            return "it has two slashes in a row, which some stores turn into one"
        if {".", ".."} & {*segments}:
            return "it has a folder named . or .., which stores refuse, or remove from the name"
        if "\\" in key:
            return "it has a backslash, which some stores turn into a slash"
        length, unit = cls._length(key)
        if length > LONGEST_KEY:
            return f"its name has {length:,} {unit}, and the store allows {LONGEST_KEY:,}. Shorten it"
        return ""

    @classmethod
    def _length(cls, key: str) -> tuple[int, str]:
        return len(key.encode()), "bytes in UTF-8"

    @classmethod
    def _remedy(cls, uri: str, error: Exception) -> str:
        scheme = _split(uri)[0]
        if isinstance(error, ImportError) or not has_fs(scheme):
            return f"Install what {scheme}:// needs: pip install 'airflow-provider-modelmax[{cls.extra}]'"
        return "Correct the connection."

    # What every store does

    def content_type(self, value: str) -> dict[str, Any]:
        """Return the argument of the library for the content type of an object."""
        return {"content_type": value}

    def open(self, content_type: str) -> Any:
        """Return a file to write to: ``close()`` publishes what was written, ``discard()`` forgets it."""
        return self.fs.open(self.path, "wb", block_size=BLOCK, **self.content_type(content_type))

    @contextlib.contextmanager
    def writing(self, content_type: str) -> Iterator[Any]:
        """Yield a file whose content is published if the block ends without an exception, and discarded otherwise.

        Leaving an fsspec file by an exception publishes what was written so far (on every store that was tried).
        """
        file = self.open(content_type)
        try:
            yield file
            file.close()
        except BaseException:
            discard(file)
            raise

    def create(self, data: bytes, content_type: str) -> bool:
        """Write an object if there is none, and return whether it was written. The store decides."""
        try:
            self._create(data, content_type)
        except FileExistsError:
            return False
        except Exception as error:
            if answered(error) & TAKEN:
                return False
            raise
        return True

    def _create(self, data: bytes, content_type: str) -> None:
        self.fs.pipe_file(self.path, data, mode="create", **self.content_type(content_type))

    def read(self) -> bytes:
        """Return the bytes of a small object.

        :raises FileNotFoundError: if there is none
        """
        return bytes(self.fs.cat_file(self.path))

    def size(self) -> int | None:
        """Return the size of the object in bytes, None if there is none."""
        try:
            info = self.fs.info(self.path)
        except FileNotFoundError:
            return None
        return int(info["size"]) if info["type"] == "file" else None  # a folder and an object can have one name

    def before_upload(self, chunks: Iterable[bytes], size: int | None) -> contextlib.AbstractContextManager[Any]:
        """Prepare the upload of a video. In ``with``, return its chunks.

        :param size: bytes, None if not known
        """
        if size is not None and size < PART:
            return contextlib.nullcontext(chunks)
        return read_ahead(chunks, AHEAD)

    def try_out(self, longest: Location | None) -> None:
        """Do all that writes do, on a throw-away name, and leave nothing visible behind.

        :param longest: the object with the longest name that will be written
        """
        file = self.fs.open(self.path, "wb", autocommit=False)
        try:
            file.write(b".")
            file.flush(force=True)
        finally:
            discard(file)

    def check_replaceable(self) -> None:
        """Raise ``PermissionError`` if the object is there and may not be replaced."""

    @classmethod
    def console_page(cls, uri: str) -> str:
        """Return the page of an object in the console of its store, empty if there is none."""
        return ""


def connect(uri: str) -> Location:
    """Return where ``uri`` leads, with a working filesystem.

    A URI is read as ObjectStoragePath reads it, so that others find the object under the same name: literally, with
    ``#``, ``?`` and ``%`` as part of the name.

    :param uri: ``s3://conn_id@bucket/key``, ``gs://…``, ``abfs://…``, ``file:///…`` or a local path
    :raises DestinationError: when scheme, bucket, connection or the library for it is missing
    """
    return _checked(uri).of(uri)


@lru_cache
def _checked(uri: str) -> type[Location]:
    """Return the class of the store, once the URI and its connection are checked. One video opens a URI many times."""
    _check_characters(uri)
    store = store_of(uri)
    store.check_uri(uri)
    return store


def store_of(uri: str) -> type[Location]:
    """Return the class of the store that a URI leads to.

    :raises DestinationError: if its scheme is not known
    """
    scheme = _split(uri)[0]
    if scheme not in STORES:
        known = ", ".join(filter(None, STORES))
        raise DestinationError(f"{uri}: {scheme}:// is not supported. Use one of {known}.", leads_nowhere=True)
    module, _, name = STORES[scheme].partition(".")
    store: type[Location] = getattr(import_module(f"{__package__}.{module}"), name)
    return store


def discard(file: Any) -> None:
    """Forget what was written to a file that was not closed."""
    try:
        file.discard()
    except Exception as error:
        log.warning("An unfinished upload may be left behind: %s: %s", type(error).__name__, error)
    finally:
        file.closed = True  # or its __del__ would publish it


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
    return uri if _split(uri)[0] else str(local_path(uri))


def plain(uri: str) -> str:
    """Return a URI as others name the same object: with a scheme, and without the connection that opens it."""
    scheme, found, rest = uri.partition("://")
    if not found or scheme == "file":
        return f"file://{local_path(uri)}"
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket.rpartition('@')[2]}/{key}"


@contextlib.contextmanager
def named(uri: str) -> Iterator[None]:
    """Turn what filesystems raise into errors that name the object and the next step."""
    try:
        yield
    except StorageError:
        raise
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


def local_path(uri: str) -> Path:
    """Return the absolute path of a local path or ``file`` URI.

    :raises DestinationError: if it names another host, or an unknown user's home
    """
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
