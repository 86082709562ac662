"""Bytes -> checked object, all or nothing. Knows nothing of ModelMax.

Leaving an fsspec file by an exception publishes what was written so far (on every store that was tried), so the raw
file is handled here: ``close()`` is the one call that publishes, and everything else ends in ``discard()``.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import logging
import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import unquote, urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath

from airflow_provider_modelmax.mp4 import BrokenVideoError, Mp4Check

log = logging.getLogger(__name__)

BLOCK = 8 * 1024 * 1024
"""Bytes of one part of an upload. Measured: memory is 3 to 4 times this; the default of s3fs is 50 MiB."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "s3n": "s3", "gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure"}


class StorageError(Exception):
    """The store failed. What was paid for is kept; a retry goes on from there."""


class DestinationError(StorageError, ValueError):
    """The destination cannot be used. Found before anything was spent; the message says what to correct."""


@dataclass(frozen=True)
class Saved:
    """An object that was written and checked.

    :param uri: where it is
    :param size: bytes
    :param sha256: of its bytes, in hex
    """

    uri: str
    size: int
    sha256: str


def connect(uri: str) -> ObjectStoragePath:
    """Return the path of ``uri`` with a working filesystem behind it.

    :param uri: ``s3://conn_id@bucket/key``, ``gs://…``, ``abfs://…``, ``file:///…`` or a local path
    :raises DestinationError: when scheme, connection or the library for it is missing
    """
    parts = urlsplit(uri)
    if parts.scheme in {"", "file"}:
        return ObjectStoragePath(f"file://{_local(uri).absolute()}")
    if parts.scheme not in _EXTRAS:
        raise DestinationError(
            f"{uri}: nothing can be written all-or-nothing to {parts.scheme}://. Use one of file, {', '.join(_EXTRAS)}."
        )
    if parts.username:
        _require_connection(uri, unquote(parts.username))
    try:
        path = ObjectStoragePath(uri)
        _ = path.fs
    except (ImportError, ValueError) as error:
        raise DestinationError(
            f"{uri} cannot be opened ({error}). Install what {parts.scheme}:// needs: "
            f"pip install 'airflow-provider-modelmax[{_EXTRAS[parts.scheme]}]'"
        ) from error
    return path


def check_writable(uri: str) -> None:
    """Make sure that objects can be written below the folder ``uri``, leaving nothing behind.

    An upload is begun and discarded, so that nothing is ever visible and no right to delete is needed.

    :raises DestinationError: when the bucket is not there or the connection may not write
    :raises StorageError: when the store cannot be reached
    """
    probe = connect(f"{uri.rstrip('/')}/.write-check-{uuid.uuid4().hex}")
    with _named(uri):
        if _is_local(probe):
            with contextlib.suppress(_Unpublished), _local_file(Path(probe.path)) as file:
                file.write(b".")
                raise _Unpublished
            return
        file = probe.fs.open(probe.path, "wb", autocommit=False)
        try:
            file.write(b".")
            file.flush(force=True)
        finally:
            _discard(file)
        if _EXTRAS[probe.protocol] == "azure":  # adlfs knows no autocommit=False
            probe.fs.rm(probe.path)


def save_video(
    uri: str, chunks: Iterable[bytes], *, size: int | None = None, on_progress: Callable[[int], None] = lambda _: None
) -> Saved:
    """Write an MP4 so that at ``uri`` stands the whole of it, or what stood there before.

    :param uri: the object
    :param chunks: its bytes; an exception from them discards everything
    :param size: how many bytes must come, None when nobody said
    :param on_progress: told how many bytes are written, after each chunk
    :raises BrokenVideoError: when the bytes are no whole MP4
    :raises StorageError: when the store fails
    """
    path, digest, check, written = connect(uri), hashlib.sha256(), Mp4Check(), 0
    if size is None or size >= BLOCK:
        _abort_leftovers(path)
    with _published(path, uri, "video/mp4") as write:
        for chunk in chunks:
            check.feed(chunk)
            digest.update(chunk)
            write(chunk)
            written += len(chunk)
            on_progress(written)
        if size is not None and written != size:
            raise BrokenVideoError(f"{written:,} bytes came of {size:,}")
        check.finish()
    return Saved(uri, written, digest.hexdigest())


def save_json(uri: str, document: Mapping[str, Any]) -> None:
    """Write a JSON document, all or nothing."""
    path = connect(uri)
    with _published(path, uri, "application/json") as write:
        write(json.dumps(document, indent=2, ensure_ascii=False).encode())


def load_json(uri: str) -> dict[str, Any] | None:
    """Return the JSON object at ``uri``, or None when nothing is there.

    :raises DestinationError: when something else is there
    """
    if size_of(uri) is None:
        return None
    path = connect(uri)
    with _named(uri):
        text = path.fs.cat_file(path.path)
    try:
        document = json.loads(text)
    except ValueError:
        document = None
    if not isinstance(document, dict):
        raise DestinationError(
            f"{uri} is in the way: it should be a JSON object. Move it, or choose another destination."
        )
    return document


def size_of(uri: str) -> int | None:
    """Return the size of the object at ``uri`` in bytes, or None when there is none."""
    path = connect(uri)
    with _named(uri):
        try:
            info = path.fs.info(path.path)
        except FileNotFoundError:
            return None
    return int(info["size"]) if info["type"] == "file" else None


def read_bytes(uri: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of the object at ``uri``.

    :raises FileNotFoundError: when there is none
    :raises StorageError: when the store fails
    """
    path = connect(uri)
    try:
        with path.fs.open(path.path, "rb") as file:
            return bytes(file.read(limit))
    except FileNotFoundError:
        raise
    except Exception as error:
        raise StorageError(f"{uri} cannot be read: {type(error).__name__}: {error}") from error


class _Unpublished(Exception):  # noqa: N818 - a signal, not an error
    """Leaves a write without publishing it."""


def _local(uri: str) -> Path:
    return Path(unquote(urlsplit(uri).path) if uri.startswith("file:") else uri)


def _is_local(path: ObjectStoragePath) -> bool:
    return path.protocol in {"", "file", "local"}


def _require_connection(uri: str, conn_id: str) -> None:
    """Without this check an unknown connection would silently become the machine's own credentials."""
    try:
        _look_up(conn_id)
    except AirflowNotFoundException:
        raise DestinationError(
            f"{uri} names the connection {conn_id!r}, which does not exist. Create it, or leave out {conn_id}@ to use "
            "the worker's own credentials."
        ) from None


@lru_cache
def _look_up(conn_id: str) -> None:
    """Ask once per process: a look-up is a call to the API server, and one video opens half a dozen objects."""
    BaseHook.get_connection(conn_id)


@contextlib.contextmanager
def _named(uri: str) -> Iterator[None]:
    """Turn what filesystems raise into errors that name the object and the next step."""
    try:
        yield
    except StorageError:
        raise
    except FileNotFoundError as error:
        raise DestinationError(f"{uri}: the bucket or folder does not exist ({error}). Create it first.") from error
    except PermissionError as error:
        raise DestinationError(
            f"{uri}: access denied ({error}). Give the connection's user the right to read and write objects there."
        ) from error
    except Exception as error:
        raise StorageError(f"{uri}: the store failed ({type(error).__name__}: {error}).") from error


@contextlib.contextmanager
def _published(path: ObjectStoragePath, uri: str, content_type: str) -> Iterator[Callable[[bytes], object]]:
    """Yield a ``write``; what was written stands at ``path`` only when the block ends well."""
    with contextlib.ExitStack() as stack:
        with _named(uri):
            file = stack.enter_context(
                _local_file(Path(path.path)) if _is_local(path) else _object(path, content_type, uri)
            )

        def write(data: bytes) -> None:
            with _named(uri):
                file.write(data)

        yield write


@contextlib.contextmanager
def _object(path: ObjectStoragePath, content_type: str, uri: str) -> Iterator[BinaryIO]:
    file = path.fs.open(path.path, "wb", block_size=BLOCK, **_content_type(path.protocol, content_type))
    try:
        yield file
        with _named(uri):
            file.close()
    except BaseException:
        _discard(file)
        raise


def _discard(file: Any) -> None:
    try:
        file.discard()
    except Exception as error:
        log.warning("An unfinished upload may be left behind: %s: %s", type(error).__name__, error)
    finally:
        file.closed = True  # or its __del__ would publish it


@contextlib.contextmanager
def _local_file(final: Path) -> Iterator[BinaryIO]:
    """Write to a locked, hidden sibling, then rename: whoever dies in between leaves a file that is not locked."""
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(final)
    part = final.with_name(f".{final.name}.{uuid.uuid4().hex[:8]}.part")
    try:
        with part.open("xb") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield file
            file.flush()
            os.fsync(file.fileno())
            part.replace(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def _remove_leftovers(final: Path) -> None:
    for part in final.parent.glob(f".{_escaped(final.name)}.*.part"):
        with contextlib.suppress(OSError), part.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)


def _escaped(name: str) -> str:
    return "".join(f"[{char}]" if char in "*?[" else char for char in name)


def _abort_leftovers(path: ObjectStoragePath) -> None:
    """Abort what a killed try left of this object: S3 keeps, and charges for, invisible unfinished uploads."""
    if _EXTRAS.get(path.protocol) != "s3":
        return
    bucket, _, key = path.path.partition("/")
    try:
        found = path.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
        for upload in found.get("Uploads", []):
            if upload["Key"] == key:
                path.fs.abort_mpu(bucket, key, upload["UploadId"])
    except Exception as error:
        log.info("Unfinished uploads of %s could not be looked for: %s: %s", path.path, type(error).__name__, error)


def _content_type(protocol: str, content_type: str) -> dict[str, Any]:
    arguments: dict[str, dict[str, Any]] = {
        "s3": {"ContentType": content_type},
        "gcs": {"content_type": content_type},
        "azure": {"content_settings": {"content_type": content_type}},
    }
    return arguments[_EXTRAS[protocol]]
