"""What the object stores have in common: a connection, a bucket and a key in the URI, and rules for names."""

from __future__ import annotations

import contextlib
import logging
import os
import re
from abc import abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Protocol

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_modelmax.api.errors import DestinationError, StorageError
from airflow_provider_modelmax.storage.errors import answered
from airflow_provider_modelmax.storage.location import Location, Upload, split

log = logging.getLogger(__name__)

LONGEST_KEY = 1024
"""Bytes of UTF-8 in S3 and Google Cloud Storage, characters in Azure."""

TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""What stores answer if the object exists, or is being written at the moment."""

_EMPTY = {"416", "InvalidRange"}
"""What stores answer if a range of an empty object is asked for."""

_BUCKET = re.compile(r"arn:.+|[A-Za-z0-9$._-]+")


class ObjectUpload(Upload, Protocol):
    """A file to write to that is published by closing it."""

    def close(self) -> None:
        """Publish what was written."""

    def discard(self) -> None:
        """Forget what was written."""


@dataclass(frozen=True)
class BucketLocation(Location):
    """An object in a bucket (in Azure: a blob in a container).

    :param root: what stands before the key in the URI, as in ``s3://conn_id@bucket``
    :param bucket: its name
    :param key: of the object
    """

    root: str
    bucket: str
    key: str

    @staticmethod
    @abstractmethod
    def client_of(conn_id: str | None) -> Any:
        """Return a new client.

        :param conn_id: of the connection that it uses; None for the worker's own credentials
        """

    @abstractmethod
    def open(self, content_type: str) -> ObjectUpload:
        """Begin to write the object."""

    @classmethod
    def of(cls, uri: str) -> BucketLocation:
        """Return the location of a URI. Refuse a name that the store or its library would change, or that is too long.

        :raises DestinationError: if it cannot be used
        """
        scheme, netloc = split(uri)
        if not netloc.rpartition("@")[2]:
            raise DestinationError(
                f"{uri} names no bucket. Write {scheme}://conn_id@bucket/folder.", leads_nowhere=True
            )
        bucket, key = _bucket_and_key(uri)
        if why := cls._problem_with(bucket, key):
            raise DestinationError(f"{uri} cannot be used: {why}. Choose another name.", leads_nowhere=True)
        return cls(f"{scheme}://{netloc}", bucket, key)

    @property
    def client(self) -> Any:
        """The client of the connection that the URI names.

        :raises DestinationError: if the library or the connection cannot be used
        :raises StorageError: if the connection cannot be looked up at the moment
        """
        scheme, _, netloc = self.root.partition("://")
        conn_id, at, _ = netloc.rpartition("@")
        try:
            return _client(type(self), conn_id if at else None)
        except ImportError as error:
            raise DestinationError(
                f"{self.root} cannot be opened ({type(error).__name__}: {error}). Install what {scheme}:// needs: "
                f"pip install 'airflow-provider-modelmax[{self.extra}]'"
            ) from error
        except AirflowNotFoundException:  # raised for every failure of a look-up
            raise DestinationError(
                f"{self.root}: Airflow did not find the connection {conn_id!r}: it does not exist, or Airflow's API "
                f"server did not answer. If it does not exist, create it, or leave out {conn_id}@ to use the worker's "
                "own credentials."
            ) from None
        except StorageError as error:
            raise type(error)(f"{self.root}: {error}") from error
        except Exception as error:
            raise DestinationError(
                f"{self.root} cannot be opened ({type(error).__name__}: {error}). Correct the connection."
            ) from error

    @property
    def name(self) -> str:
        """The last part of the key."""
        return self.key.rpartition("/")[2]

    @contextlib.contextmanager
    def writing(self, content_type: str) -> Iterator[Upload]:
        """Yield a file whose content is published if the block ends without an exception, and discarded otherwise."""
        upload = self.open(content_type)
        try:
            yield upload
            upload.close()
        except BaseException:
            discard(upload)
            raise

    def create(self, data: bytes, content_type: str) -> bool:
        """Write the object if there is none, and return whether it was written. The store decides."""
        try:
            self._create(data, content_type)
        except Exception as error:
            if answered(error) & TAKEN:
                return False
            raise
        return True

    @abstractmethod
    def _create(self, data: bytes, content_type: str) -> None:
        """Write the object, on the condition that there is none."""

    def read(self, limit: int | None = None) -> bytes:
        """Return the object, or its first bytes.

        :param limit: how many bytes at most; None for all
        :raises FileNotFoundError: if there is none
        """
        with missing_named():
            try:
                return self._read(limit)
            except Exception as error:
                if answered(error) & _EMPTY:
                    return b""
                raise

    @abstractmethod
    def _read(self, limit: int | None) -> bytes:
        """Return the object, or its first bytes. Of an empty one, a store may refuse the range."""

    @classmethod
    def _problem_with(cls, bucket: str, key: str) -> str:
        """Return why the name of an object cannot be used, empty if it can."""
        segments = key.rstrip("/").split("/")
        if not _BUCKET.fullmatch(bucket):
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


def discard(upload: ObjectUpload) -> None:
    """Forget what was written to an upload that was not closed."""
    try:
        upload.discard()
    except Exception as error:
        log.warning("An unfinished upload may be left behind: %s: %s", type(error).__name__, error)


def check_endpoint(field: str, endpoint: str) -> None:
    """Refuse an endpoint that is no URL.

    :param field: of the extra of the connection
    :raises DestinationError: if it is none; an empty one is the store's own
    """
    if endpoint and not re.match("https?://.", endpoint, re.IGNORECASE):
        raise DestinationError(
            f"the {field} {endpoint!r} in the extra of the connection is no URL. Begin it with http:// or https://."
        )


def _bucket_and_key(uri: str) -> tuple[str, str]:
    path = uri.partition("://")[2]
    before, at, _ = path.partition("/")[0].rpartition("@")
    bucket, _, key = path[len(before + at) :].partition("/")
    if bucket.startswith("arn:") and bucket.endswith(":accesspoint"):  # S3 writes the name after a slash, too
        name, _, key = key.partition("/")
        bucket = f"{bucket}/{name}"
    return bucket, key


@contextlib.contextmanager
def missing_named() -> Iterator[None]:
    """Turn the answer of a store that there is no object into ``FileNotFoundError``."""
    try:
        yield
    except Exception as error:
        if "404" in answered(error):
            raise FileNotFoundError(str(error)) from error
        raise


@lru_cache
def _client(store: type[BucketLocation], conn_id: str | None) -> Any:
    """Return the client of a connection, the same one every time.

    Without the look-up an unknown connection would silently become the machine's own credentials.
    """
    if conn_id is not None:
        try:
            BaseHook.get_connection(conn_id)
        except AirflowNotFoundException:
            raise
        except Exception as error:
            raise StorageError(
                f"Airflow could not look up the connection {conn_id!r}: {type(error).__name__}: {error}"
            ) from error
    return store.client_of(conn_id)


os.register_at_fork(after_in_child=_client.cache_clear)  # sockets cannot be shared with the parent
