"""Where an object is, and how its store reads and writes it: URIs, connections, and the base class of all stores."""

from __future__ import annotations

import contextlib
import functools
import os
import re
import unicodedata
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, ClassVar, Protocol
from urllib.parse import urlsplit

from airflow_provider_modelmax.api.errors import DestinationError, StorageError

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

_WINDOWS_PATH = re.compile(r"(file:/*)?[A-Za-z]:(?!//)|\\\\")


class Upload(Protocol):
    """A file to write to. Nothing of it is visible before it is closed."""

    def write(self, data: bytes, /) -> object:
        """Take bytes."""


class Location(ABC):
    """Where an object is. Each store has a subclass, which says how it is reached, read and written.

    Whoever calls a method wraps it in :func:`named`, which translates what the libraries raise.
    """

    extra: ClassVar[str] = ""
    """The extra of this package that installs the library of the store."""

    @classmethod
    @abstractmethod
    def of(cls, uri: str) -> Location:
        """Return the location of a URI.

        :raises DestinationError: if the store would read the URI as something else
        """

    @property
    @abstractmethod
    def name(self) -> str:
        """The last part of the URI's path."""

    @abstractmethod
    def writing(self, content_type: str) -> contextlib.AbstractContextManager[Upload]:
        """Return a file whose content is published if the block ends without an exception, and discarded otherwise."""

    @abstractmethod
    def create(self, data: bytes, content_type: str) -> bool:
        """Write an object if there is none, and return whether it was written. The store decides."""

    @abstractmethod
    def read(self, limit: int | None = None) -> bytes:
        """Return the object, or its first bytes.

        :param limit: how many bytes at most; None for all
        :raises FileNotFoundError: if there is none
        """

    @abstractmethod
    def blocks(self) -> Iterator[bytes]:
        """Return the bytes of an object of any size, a block at a time.

        :raises FileNotFoundError: if there is none
        """

    @abstractmethod
    def size(self) -> int | None:
        """Return the size of the object in bytes, None if there is none."""

    @abstractmethod
    def remove(self) -> None:
        """Remove the object.

        :raises FileNotFoundError: if there is none; object stores need not say so
        """

    @abstractmethod
    def try_out(self, longest: Location | None) -> None:
        """Do all that writes do, under a throw-away name, and leave nothing visible behind.

        :param longest: the object with the longest name that will be written
        """

    def before_upload(self, chunks: Iterable[bytes], size: int | None) -> contextlib.AbstractContextManager[Any]:
        """Prepare the upload of a video. In ``with``, return its chunks.

        :param size: bytes, None if not known
        """
        return contextlib.nullcontext(chunks)

    def check_replaceable(self) -> None:  # noqa: B027 - a store that has rights for each object overrides it
        """Raise ``PermissionError`` if the object exists and may not be replaced."""

    @classmethod
    def console_page(cls, uri: str) -> str:
        """Return the page of an object in the console of its store, empty if there is none."""
        return ""


@functools.lru_cache
def locate(uri: str) -> Location:
    """Return where ``uri`` leads. Nothing is connected to yet.

    A URI is read literally, as ObjectStoragePath does: ``#``, ``?`` and ``%`` are part of the name.

    :param uri: ``s3://conn_id@bucket/key``, ``gs://…``, ``abfs://…``, ``file:///…`` or a local path
    :raises DestinationError: if it cannot be used
    """
    if not uri.isprintable():
        _refuse_control_characters(uri)
    return store_of(uri).of(uri)


def store_of(uri: str) -> type[Location]:
    """Return the class of the store that a URI leads to.

    :raises DestinationError: if its scheme is not known
    """
    scheme = split(uri)[0]
    if scheme not in STORES:
        known = ", ".join(filter(None, STORES))
        raise DestinationError(f"{uri}: {scheme}:// is not supported. Use one of {known}.", leads_nowhere=True)
    return _class_of(STORES[scheme])


@functools.lru_cache
def _class_of(name: str) -> type[Location]:
    module, _, class_name = name.partition(".")
    store: type[Location] = getattr(import_module(f"{__package__}.{module}"), class_name)
    return store


def as_text(place: object) -> object:
    """Return the URI of a path object (``ObjectStoragePath``, ``pathlib``), and anything else as it is."""
    if isinstance(place, str):
        return place
    from airflow.providers.common.compat.sdk import ObjectStoragePath  # noqa: PLC0415 - loads fsspec

    return str(place) if isinstance(place, os.PathLike | ObjectStoragePath) else place


def is_windows_path(uri: str) -> bool:
    """Return whether this is a Windows path: with a drive letter, or a network share."""
    return bool(_WINDOWS_PATH.match(uri))


def is_relative(uri: str) -> bool:
    """Return whether this is a local path that depends on the current directory."""
    scheme, netloc = split(uri)
    return scheme in {"", "file"} and not netloc and not uri[len(scheme) :].lstrip(":").startswith(("/", "~"))


def from_anywhere(uri: str) -> str:
    """Return a URI that means the same on every worker: a local path becomes absolute.

    :raises DestinationError: if ``uri`` is not a URI
    """
    return uri if split(uri)[0] else str(local_path(uri))


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
        from airflow_provider_modelmax.storage.errors import meaning  # noqa: PLC0415 - rarely needed

        raise meaning(uri, error) from error


@functools.lru_cache
def split(uri: str) -> tuple[str, str]:
    """Return the scheme of a URI, and what stands before its path.

    :raises DestinationError: if it cannot be read
    """
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise DestinationError(f"{uri} is no URI: {error}.", leads_nowhere=True) from error
    return parts.scheme, parts.netloc


def _refuse_control_characters(uri: str) -> None:
    """Control characters may be removed on the way, so that the object gets another name."""
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
    return path_of(uri).absolute()


def path_of(uri: str) -> Path:
    """Return the path of a local path or ``file`` URI, relative if it is."""
    scheme, host = split(uri)
    if scheme and host:
        raise DestinationError(
            f"{uri} names the host {host!r}. Write file:/// and the path from the root.", leads_nowhere=True
        )
    try:
        path = Path(uri[len(scheme) + 1 :].removeprefix("//") if scheme else uri).expanduser()
    except RuntimeError as error:
        raise DestinationError(f"{uri}: {error} Write the path from the root.") from error
    # Two slashes at the start would make the first folder a host again.
    return Path("/", *path.parts[1:]) if path.is_absolute() else path
