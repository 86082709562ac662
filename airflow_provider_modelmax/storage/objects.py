"""Bytes -> checked object, all or nothing. Knows nothing of ModelMax.

Leaving an fsspec file by an exception publishes what was written so far (on every store that was tried), so the raw
file is handled here: ``close()`` is the one call that publishes, and everything else ends in ``discard()``.
"""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from airflow_provider_modelmax.api.errors import BrokenVideoError, DestinationError, OverwrittenError, StorageError
from airflow_provider_modelmax.storage import local as local_file
from airflow_provider_modelmax.storage import throwaway
from airflow_provider_modelmax.storage.errors import answered
from airflow_provider_modelmax.storage.location import AZURE, LOCAL, S3, Place, connect, content_type, named
from airflow_provider_modelmax.storage.mp4 import Mp4Check
from airflow_provider_modelmax.storage.prefetch import read_ahead
from airflow_provider_modelmax.storage.s3 import PART, S3Upload

log = logging.getLogger(__name__)

_JSON = "application/json"

_TAKEN = {"PreconditionFailed", "412", "ConditionalRequestConflict", "409"}
"""What stores answer if the object exists, or is being written at the moment."""

_UNCONDITIONAL = {"NotImplemented", "501"}

SETTLING = 1.0
"""Seconds after which a document is read back if the store cannot decide: the last writer wins."""

BLOCK = 8 * 1024 * 1024
"""Bytes of one part of an upload to GCS and Azure. Measured: memory is 3 to 4 times this."""

AHEAD = 8
"""Chunks of a video that are read while a part of it is uploaded there: their writers do one thing at a time."""


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


def check_writable(uri: str, longest: str | None = None, replaced: Iterable[str] = ()) -> None:
    """Check that objects can be written below the folder ``uri``, and leave nothing behind.

    Does all that writes do, on throw-away names. In object stores nothing becomes visible, and no right to delete is
    needed. Removes what killed checks have left.

    :param longest: URI of the object with the longest name that will be written there
    :param replaced: URIs of objects that will be written there, and may exist
    :raises DestinationError: when the bucket is not there, the connection may not write, the file system cannot do what
        a safe write needs, or the name is too long
    :raises StorageError: when the store cannot be reached, or is full
    """
    path = connect(longest).path if longest else ""
    length = len(os.fsencode(path.rpartition("/")[2]))
    probe = connect(f"{uri.rstrip('/')}/{throwaway.new_name(length)}")
    with named(longest or uri):
        if probe.store == LOCAL:
            local_file.try_out(Path(probe.path), Path(path) if path else None)
            for each in replaced:
                local_file.check_replaceable(Path(connect(each).path))
        elif probe.store == AZURE:
            _try_out_azure(probe)
        elif probe.store == S3:
            _try_out_s3(probe)
        else:
            _try_out(probe)


def save_video(
    uri: str, chunks: Iterable[bytes], *, size: int | None = None, on_progress: Callable[[int], None] = lambda _: None
) -> Saved:
    """Write an MP4, all or nothing: if it fails, ``uri`` has what it had before.

    :param uri: the object
    :param chunks: its bytes; an exception from them discards everything
    :param size: how many bytes must come, None if that is not known
    :param on_progress: called after each chunk with the number of bytes written
    :raises BrokenVideoError: when the bytes are no whole MP4
    :raises OverwrittenError: when the store shows another object there afterwards
    :raises StorageError: when the store fails
    """
    place, digest, check, written = connect(uri), hashlib.sha256(), Mp4Check(size_known=size is not None), 0
    source: contextlib.AbstractContextManager[Iterable[bytes]] = contextlib.nullcontext(chunks)
    if place.store != LOCAL and (size is None or size >= PART):
        if place.store == S3:
            _abort_leftovers(place)
        else:
            source = read_ahead(chunks, AHEAD)
    with source as ready, _published(place, uri, "video/mp4") as write:
        for chunk in ready:
            check.feed(chunk)
            digest.update(chunk)
            write(chunk)
            written += len(chunk)
            on_progress(written)
        if size is not None and written != size:
            raise BrokenVideoError(f"{written:,} bytes came of {size:,}")
        check.finish()
    saved = Saved(uri, written, digest.hexdigest())
    _check_stored(place, saved)
    if check.trailing:
        log.warning(
            "%s is a whole MP4, followed by %s bytes that belong to no box. They were kept; players ignore them.",
            uri,
            f"{check.trailing:,}",
        )
    return saved


def save_json(uri: str, document: Mapping[str, Any]) -> None:
    """Write a JSON document, all or nothing."""
    place = connect(uri)
    with _published(place, uri, _JSON) as write:
        write(_encoded(document))


def create_json(uri: str, document: Mapping[str, Any]) -> bool:
    """Write a JSON document if nothing exists at ``uri``: of all processes that try at once, one gets True.

    S3, GCS and Azure decide it themselves (``If-None-Match: *`` or its equivalent). On a store that ignores that header
    (seen: rclone's), all processes get True. On one that refuses it (501), the last writer does, so the documents must
    differ.

    :returns: False if something exists already
    """
    place, data = connect(uri), _encoded(document)
    with named(uri):
        try:
            if place.store == LOCAL:
                local_file.create(Path(place.path), data)
            else:
                place.fs.pipe_file(place.path, data, mode="create", **content_type(place, _JSON))
        except FileExistsError:
            return False
        except Exception as error:
            if answered(error) & _TAKEN:
                return False
            if place.store != S3 or not answered(error) & _UNCONDITIONAL:
                raise
        else:
            return True
    return _create_unconditionally(place, uri, data)


def load_json(uri: str) -> dict[str, Any] | None:
    """Return the JSON object at ``uri``, or None when nothing is there.

    :raises DestinationError: when something else is there
    """
    place = connect(uri)
    with named(uri):
        try:
            text = _content(place)
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


def _content(place: Place) -> bytes:
    """Return the bytes of a small object. s3fs makes one call for a range; else it looks for the size first."""
    if place.store != S3:
        return bytes(place.fs.cat_file(place.path))
    try:
        return bytes(place.fs.cat_file(place.path, start=0))
    except Exception as error:
        if answered(error) & {"416", "InvalidRange"}:  # it is empty
            return b""
        raise


def remove(uri: str) -> None:
    """Remove the object at ``uri``, if there is one.

    :raises StorageError: if the store fails, or the connection may not delete
    """
    place = connect(uri)
    with named(uri), contextlib.suppress(FileNotFoundError):
        place.fs.rm_file(place.path)


def sha256_of(uri: str) -> str | None:
    """Return the SHA-256 of the object at ``uri`` in hex, or None if there is none. Reads the whole object."""
    place, digest = connect(uri), hashlib.sha256()
    with named(uri):
        try:
            with place.fs.open(place.path, "rb", block_size=BLOCK) as file:
                while block := file.read(BLOCK):
                    digest.update(block)
        except FileNotFoundError:
            return None
    return digest.hexdigest()


def size_of(uri: str) -> int | None:
    """Return the size of the object at ``uri`` in bytes, or None when there is none.

    :raises DestinationError: when a folder is in its place
    """
    return _size_at(connect(uri), uri)


def _size_at(place: Place, uri: str) -> int | None:
    with named(uri):
        try:
            info = place.fs.info(place.path)
        except FileNotFoundError:
            return None
    if info["type"] == "file":
        return int(info["size"])
    if place.store == LOCAL:  # in an object store a folder and an object can have one name
        raise DestinationError(f"{uri} is in the way: it should be a file. Move it, or choose another destination.")
    return None


def read_bytes(uri: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of the object at ``uri``.

    :raises FileNotFoundError, IsADirectoryError: when there is none, or a folder
    :raises DestinationError: when scheme, bucket, connection or the library for it is missing
    :raises StorageError: when the store fails
    """
    place = connect(uri)
    try:
        with place.fs.open(place.path, "rb") as file:
            return bytes(file.read(limit))
    except (FileNotFoundError, IsADirectoryError):
        raise
    except Exception as error:
        raise StorageError(f"{uri} cannot be read: {type(error).__name__}: {error}") from error


@contextlib.contextmanager
def _published(place: Place, uri: str, kind: str) -> Iterator[Callable[[bytes], object]]:
    """Yield a ``write``; what was written is published only if the block ends without an exception."""
    with contextlib.ExitStack() as stack:
        with named(uri):
            file = stack.enter_context(
                local_file.writing(Path(place.path)) if place.store == LOCAL else _object(place, kind)
            )

        def write(data: bytes) -> None:
            with named(uri):
                file.write(data)

        yield write
        with named(uri):
            stack.close()


@contextlib.contextmanager
def _object(place: Place, kind: str) -> Iterator[BinaryIO | S3Upload]:
    attributes = content_type(place, kind)
    file = (
        S3Upload(place.fs, place.path, attributes)
        if place.store == S3
        else place.fs.open(place.path, "wb", block_size=BLOCK, **attributes)
    )
    try:
        yield file
        file.close()
    except BaseException:
        _discard(file)
        raise


def _try_out_s3(place: Place) -> None:
    """Begin an upload, send a part and abort it; then ask for a conditional write that must be refused."""
    upload = S3Upload(place.fs, place.path, content_type(place, "video/mp4"))
    try:
        upload.write(b".")
        upload.flush()
        _abort_abandoned_checks(place)
    finally:
        _discard(upload)
    bucket, _, key = place.path.partition("/")
    request = {"Bucket": bucket, "Key": key, "Body": b".", **content_type(place, _JSON)}
    try:  # with an invalid checksum: refused after the permissions are checked, so nothing is written
        place.fs.call_s3("put_object", **request, IfNoneMatch="*", ContentMD5="0")
    except Exception as error:
        answer = answered(error)
        if answer & _UNCONDITIONAL:
            _warn_that_claims_may_collide(bucket)
        elif "400" not in answer and not answer & _TAKEN:
            raise
    else:  # this store compares no checksums
        with contextlib.suppress(Exception):
            place.fs.call_s3("delete_object", Bucket=bucket, Key=key)


def _abort_abandoned_checks(place: Place) -> None:
    """Abort the uploads of checks that were killed. Their age is measured against our own new upload: one clock."""
    bucket, _, key = place.path.partition("/")
    folder = key[: -len(key.rpartition("/")[2])]
    try:
        found = place.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{folder}{throwaway.PREFIX}")
        uploads = found.get("Uploads", [])
        now = max((upload["Initiated"] for upload in uploads), default=None)
        for upload in uploads:
            name, age = upload["Key"].removeprefix(folder), (now - upload["Initiated"]).total_seconds()
            if throwaway.is_abandoned(name, age):
                place.fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
    except Exception as error:
        log.info("Could not list the unfinished uploads of %s: %s: %s", place.path, type(error).__name__, error)


@functools.cache
def _warn_that_claims_may_collide(bucket: str) -> None:
    log.warning(
        "The store of the bucket %s refuses conditional writes (If-None-Match). If two executions of one task begin "
        "at the same moment, both may be billed.",
        bucket,
    )


def _create_unconditionally(place: Place, uri: str, data: bytes) -> bool:
    """Write if nothing exists, wait for other writers, and read back which one was last."""
    _warn_that_claims_may_collide(place.path.partition("/")[0])
    if _size_at(place, uri) is not None:
        return False
    with _published(place, uri, _JSON) as write:
        write(data)
    time.sleep(SETTLING)
    with named(uri):
        place.fs.invalidate_cache()
        return _content(place) == data


def _try_out(place: Place) -> None:
    """Begin an upload and discard it."""
    file = place.fs.open(place.path, "wb", autocommit=False)
    try:
        file.write(b".")
        file.flush(force=True)
    finally:
        _discard(file)


def _try_out_azure(place: Place) -> None:
    """Try to replace a blob that does not exist, which Azure refuses: an upload there cannot be discarded."""
    try:
        place.fs.pipe_file(place.path, b".", headers={"If-Match": '"0x0"'})
    except Exception as error:
        if "412" not in answered(error):  # comes only if the container exists and may be written
            raise


def _check_stored(place: Place, saved: Saved) -> None:
    """Look at what exists at ``uri`` now; a store may need a moment to show it."""
    for pause in (0, 1, 3):
        time.sleep(pause)
        place.fs.invalidate_cache()
        found = _size_at(place, saved.uri)
        if found == saved.size:
            return
    shown = "nothing" if found is None else f"an object of {found:,} bytes"
    raise OverwrittenError(
        f"{saved.uri}: {saved.size:,} bytes were written, but the store shows {shown} there. Another process writes "
        "the same object, or the store has lost the video. Retry: it is fetched once more, free of charge.",
        size=saved.size,
        sha256=saved.sha256,
    )


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


def _abort_leftovers(place: Place) -> None:
    """Abort what killed tries left of this object: S3 stores, and charges for, unfinished uploads."""
    bucket, _, key = place.path.partition("/")
    try:
        found = place.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
        for upload in found.get("Uploads", []):
            if upload["Key"] == key:
                place.fs.abort_mpu(bucket, key, upload["UploadId"])
    except Exception as error:
        log.info("Could not list the unfinished uploads of %s: %s: %s", place.path, type(error).__name__, error)
