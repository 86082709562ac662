"""Bytes -> checked object, all or nothing. Knows nothing of ModelMax.

What is particular about a store is in its class, see ``location.py``.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from airflow_provider_modelmax.api.errors import BrokenVideoError, DestinationError, OverwrittenError, StorageError
from airflow_provider_modelmax.storage import throwaway
from airflow_provider_modelmax.storage.location import Location, locate, named
from airflow_provider_modelmax.storage.mp4 import Mp4Check

log = logging.getLogger(__name__)

_JSON = "application/json"


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

    Does all that writes do, on throw-away names. In object stores nothing becomes visible, and only Google's needs the
    right to delete, as it demands that to replace an object. Removes what killed checks have left.

    :param longest: URI of the object with the longest name that will be written there
    :param replaced: URIs of objects that will be written there, and may exist
    :raises DestinationError: when the bucket is not there, the connection may not write, the file system cannot do what
        a safe write needs, or the name is too long
    :raises StorageError: when the store cannot be reached, or is full
    """
    longest_place = locate(longest) if longest else None
    length = len(os.fsencode(longest_place.name)) if longest_place else 0
    probe = locate(f"{uri.rstrip('/')}/{throwaway.new_name(length)}")
    with named(longest or uri):
        probe.try_out(longest_place)
        for each in replaced:
            locate(each).check_replaceable()


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
    place, digest, check, written = locate(uri), hashlib.sha256(), Mp4Check(size_known=size is not None), 0
    with place.before_upload(chunks, size) as ready, contextlib.ExitStack() as published:
        with named(uri):
            file = published.enter_context(place.writing("video/mp4"))
        for chunk in ready:
            check.feed(chunk)
            digest.update(chunk)
            with named(uri):
                file.write(chunk)
            written += len(chunk)
            on_progress(written)
        if size is not None and written != size:
            raise BrokenVideoError(f"{written:,} bytes came of {size:,}")
        check.finish()
        with named(uri):
            published.close()
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
    data = _encoded(document)
    with named(uri), locate(uri).writing(_JSON) as file:
        file.write(data)


def create_json(uri: str, document: Mapping[str, Any]) -> bool:
    """Write a JSON document if nothing exists at ``uri``: of all processes that try at once, one gets True.

    The store decides, see :meth:`.S3Location.create` for S3 servers that cannot.

    :returns: False if something exists already
    """
    with named(uri):
        return locate(uri).create(_encoded(document), _JSON)


def load_json(uri: str, parse_int: Callable[[str], Any] = int) -> dict[str, Any] | None:
    """Return the JSON object at ``uri``, or None when nothing is there.

    :param parse_int: reads an integer, given its digits
    :raises DestinationError: when something else is there
    """
    place = locate(uri)
    with named(uri):
        try:
            text = place.read()
        except FileNotFoundError:
            return None
    try:
        document = json.loads(text, parse_int=parse_int)
    except (ValueError, RecursionError):
        document = None
    if not isinstance(document, dict):
        raise DestinationError(
            f"{uri} is in the way: it should be a JSON object. Move it, or choose another destination."
        )
    return document


def remove(uri: str) -> None:
    """Remove the object at ``uri``, if there is one.

    :raises StorageError: if the store fails, or the connection may not delete
    """
    place = locate(uri)
    with named(uri), contextlib.suppress(FileNotFoundError):
        place.remove()


def sha256_of(uri: str) -> str | None:
    """Return the SHA-256 of the object at ``uri`` in hex, or None if there is none. Reads the whole object."""
    place, digest = locate(uri), hashlib.sha256()
    with named(uri):
        try:
            for block in place.blocks():
                digest.update(block)
        except FileNotFoundError:
            return None
    return digest.hexdigest()


def size_of(uri: str) -> int | None:
    """Return the size of the object at ``uri`` in bytes, or None when there is none.

    :raises DestinationError: when a folder is in its place
    """
    place = locate(uri)
    with named(uri):
        return place.size()


def read_bytes(uri: str, limit: int) -> bytes:
    """Return the first ``limit`` bytes of the object at ``uri``.

    :raises FileNotFoundError, IsADirectoryError: when there is none, or a folder
    :raises DestinationError: when scheme, bucket, connection or the library for it is missing
    :raises StorageError: when the store fails
    """
    place = locate(uri)
    try:
        return place.read(limit)
    except (FileNotFoundError, IsADirectoryError, StorageError):
        raise
    except Exception as error:
        raise StorageError(f"{uri} cannot be read: {type(error).__name__}: {error}") from error


def _check_stored(place: Location, saved: Saved) -> None:
    """Look at what exists at ``uri`` now; a store may need a moment to show it."""
    for pause in (0, 1, 3):
        time.sleep(pause)
        with named(saved.uri):
            found = place.size()
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
