"""Bytes -> checked object, all or nothing. Knows nothing of ModelMax.

Leaving an fsspec file by an exception publishes what was written so far (on every store that was tried), so the raw
file is handled here: ``close()`` is the one call that publishes, and everything else ends in ``discard()``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, BinaryIO
from urllib.parse import urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook, ObjectStoragePath
from airflow.sdk.io import has_fs

from airflow_provider_modelmax import local_file
from airflow_provider_modelmax.mp4 import BrokenVideoError, Mp4Check
from airflow_provider_modelmax.read_ahead import read_ahead
from airflow_provider_modelmax.s3_upload import PART, S3Upload

log = logging.getLogger(__name__)

_JSON = "application/json"

_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""What S3 servers answer when something is there already, or is being written at this moment."""

BLOCK = 8 * 1024 * 1024
"""Bytes of one part of an upload to GCS and Azure. Measured: memory is 3 to 4 times this."""

AHEAD = 8
"""Chunks of a video that are read while a part of it is uploaded there: their writers do one thing at a time."""

_EXTRAS = {"s3": "s3", "s3a": "s3", "gs": "gcs", "gcs": "gcs", "abfs": "azure", "abfss": "azure"}


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

    A URI is read as ObjectStoragePath reads it, so that others find the object under the same name: literally, with
    ``#``, ``?`` and ``%`` as part of the name.

    :param uri: ``s3://conn_id@bucket/key``, ``gs://…``, ``abfs://…``, ``file:///…`` or a local path
    :raises DestinationError: when scheme, bucket, connection or the library for it is missing
    """
    scheme, netloc = _split(uri)
    if scheme in {"", "file"}:
        return ObjectStoragePath(f"file://{_local(uri)}")
    if scheme not in _EXTRAS:
        raise DestinationError(f"{uri}: {scheme}:// is not supported. Use one of file, {', '.join(_EXTRAS)}.")
    conn_id, at, bucket = netloc.rpartition("@")
    if not bucket:
        raise DestinationError(f"{uri} names no bucket. Write {scheme}://conn_id@bucket/folder.")
    if at:
        _require_connection(uri, conn_id)
    path = _open_store(uri, scheme)
    path.fs.invalidate_cache(path.path)  # who listed this folder before us left what was there then
    return path


def _open_store(uri: str, scheme: str) -> ObjectStoragePath:
    try:
        path = ObjectStoragePath(uri)
        _ = path.fs
    except Exception as error:
        reason = f"{type(error).__name__}: {error}"
        raise DestinationError(f"{uri} cannot be opened ({reason}). {_remedy(scheme, error)}") from error
    return path


def _remedy(scheme: str, error: Exception) -> str:
    if isinstance(error, ImportError) or not has_fs(scheme):
        return f"Install what {scheme}:// needs: pip install 'airflow-provider-modelmax[{_EXTRAS[scheme]}]'"
    return "Correct the connection."


def check_writable(uri: str) -> None:
    """Make sure that objects can be written below the folder ``uri``, leaving nothing behind.

    An upload is begun and discarded, so that nothing is ever visible and no right to delete is needed.

    :raises DestinationError: when the bucket is not there or the connection may not write
    :raises StorageError: when the store cannot be reached
    """
    probe = connect(f"{uri.rstrip('/')}/.write-check-{uuid.uuid4().hex}")
    with _named(uri):
        if _is_local(probe):
            local_file.try_out(Path(probe.path))
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
    source: contextlib.AbstractContextManager[Iterable[bytes]] = contextlib.nullcontext(chunks)
    if not _is_local(path) and (size is None or size >= PART):
        if _is_s3(path):
            _abort_leftovers(path)
        else:
            source = read_ahead(chunks, AHEAD)
    with source as ready, _published(path, uri, "video/mp4") as write:
        for chunk in ready:
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
    with _published(path, uri, _JSON) as write:
        write(_encoded(document))


def create_json(uri: str, document: Mapping[str, Any]) -> bool:
    """Write a JSON document where nothing stands: of all who try at once, one gets True.

    S3, GCS and Azure decide it themselves (``If-None-Match: *`` and its likes). A store that does not know that header
    (seen: rclone's) gives True to everybody.

    :returns: False when something is there already
    """
    path, data = connect(uri), _encoded(document)
    with _named(uri):
        try:
            if _is_local(path):
                local_file.create(Path(path.path), data)
            else:
                path.fs.pipe_file(path.path, data, mode="create", **_content_type(path.protocol, _JSON))
        except FileExistsError:
            return False
        except OSError as error:
            if _code(error) in _TAKEN:
                return False
            raise
    return True


def load_json(uri: str) -> dict[str, Any] | None:
    """Return the JSON object at ``uri``, or None when nothing is there.

    :raises DestinationError: when something else is there
    """
    path = connect(uri)
    with _named(uri):
        try:
            text = path.fs.cat_file(path.path)
        except FileNotFoundError:
            return None
    try:
        document = json.loads(text)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DestinationError(
            f"{uri} is in the way: it should be a JSON object. Move it, or choose another destination."
        )
    return document


def size_of(uri: str) -> int | None:
    """Return the size of the object at ``uri`` in bytes, or None when there is none.

    :raises DestinationError: when a folder is in its place
    """
    path = connect(uri)
    with _named(uri):
        try:
            info = path.fs.info(path.path)
        except FileNotFoundError:
            return None
    if info["type"] == "file":
        return int(info["size"])
    if _is_local(path):  # in an object store a folder and an object can have one name
        raise DestinationError(f"{uri} is in the way: it should be a file. Move it, or choose another destination.")
    return None


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


def _split(uri: str) -> tuple[str, str]:
    try:
        parts = urlsplit(uri)
    except ValueError as error:
        raise DestinationError(f"{uri} is no URI: {error}.") from error
    return parts.scheme, parts.netloc


def _local(uri: str) -> Path:
    scheme, host = _split(uri)
    if scheme and host:
        raise DestinationError(f"{uri} names the host {host!r}. Write file:/// and the path from the root.")
    path = Path(uri[len(scheme) + 1 :].removeprefix("//") if scheme else uri).expanduser().absolute()
    return Path("/", *path.parts[1:])  # two slashes at the start would make the first folder a host again


def _is_local(path: ObjectStoragePath) -> bool:
    return path.protocol in {"", "file", "local"}


def _is_s3(path: ObjectStoragePath) -> bool:
    return _EXTRAS.get(path.protocol) == "s3"


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
    except FileNotFoundError as error:
        if _code(error) == "NoSuchUpload":
            raise StorageError(f"{uri}: the upload was aborted, as another process writes the same object.") from error
        raise DestinationError(f"{uri}: the bucket or folder does not exist ({error}). Create it first.") from error
    except (FileExistsError, IsADirectoryError, NotADirectoryError) as error:
        raise DestinationError(
            f"{uri}: something else is in the way ({error}). Move it, or choose another destination."
        ) from error
    except PermissionError as error:
        # S3 also answers so when asked for an object that is not there by someone who may not list
        raise DestinationError(
            f"{uri}: access denied ({error}). Look at the credentials, and give their user the right to list, read and "
            "write objects there."
        ) from error
    except Exception as error:
        raise StorageError(f"{uri}: the store failed ({type(error).__name__}: {error}).") from error


def _code(error: BaseException) -> str | None:
    """Return what the store itself called the error, when the filesystem kept it."""
    response = getattr(error.__cause__, "response", None) or {}
    code: str | None = response.get("Error", {}).get("Code")
    return code


@contextlib.contextmanager
def _published(path: ObjectStoragePath, uri: str, content_type: str) -> Iterator[Callable[[bytes], object]]:
    """Yield a ``write``; what was written stands at ``path`` only when the block ends well."""
    with contextlib.ExitStack() as stack:
        with _named(uri):
            file = stack.enter_context(
                local_file.writing(Path(path.path)) if _is_local(path) else _object(path, content_type)
            )

        def write(data: bytes) -> None:
            with _named(uri):
                file.write(data)

        yield write
        with _named(uri):
            stack.close()


@contextlib.contextmanager
def _object(path: ObjectStoragePath, content_type: str) -> Iterator[BinaryIO | S3Upload]:
    attributes = _content_type(path.protocol, content_type)
    file = (
        S3Upload(path.fs, path.path, attributes)
        if _is_s3(path)
        else path.fs.open(path.path, "wb", block_size=BLOCK, **attributes)
    )
    try:
        yield file
        file.close()
    except BaseException:
        _discard(file)
        raise


def _encoded(document: Mapping[str, Any]) -> bytes:
    # Half of a surrogate pair, as a cut emoji leaves it, is no UTF-8; as an escape it is good JSON.
    return json.dumps(document, indent=2, ensure_ascii=False).encode(errors="backslashreplace")


def _discard(file: Any) -> None:
    try:
        file.discard()
    except Exception as error:
        log.warning("An unfinished upload may be left behind: %s: %s", type(error).__name__, error)
    finally:
        file.closed = True  # or its __del__ would publish it


def _abort_leftovers(path: ObjectStoragePath) -> None:
    """Abort what a killed try left of this object: S3 keeps, and charges for, invisible unfinished uploads."""
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
