"""Local files, all or nothing: written to a locked, hidden sibling, then renamed.

Whoever dies in between leaves a sibling that is not locked; the next writer of the same file removes it.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import os
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO


class _Unpublished(Exception):  # noqa: N818 - a signal, not an error
    """Leaves a write without publishing it."""


@contextlib.contextmanager
def writing(final: Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes ``final`` when the block ends well, and leaves it untouched otherwise."""
    final.parent.mkdir(parents=True, exist_ok=True)
    _remove_leftovers(final)
    part = final.with_name(f".{short_name(final)}.{uuid.uuid4().hex[:8]}.part")
    try:
        with _locked(part) as file:
            yield file
            _flushed(file)
            part.replace(final)
            _flush_name(final)
    except BaseException:
        part.unlink(missing_ok=True)
        raise


def create(final: Path, data: bytes) -> None:
    """Write ``final`` where nothing stands yet.

    :raises FileExistsError: when something does
    """
    with contextlib.suppress(_Unpublished), writing(final) as file:
        file.write(data)
        _flushed(file)
        try:
            os.link(file.name, final)  # unlike a rename it fails when something is there
        except FileExistsError:
            raise
        except OSError:  # no hard links here
            _create_openly(final, data)
        _flush_name(final)
        raise _Unpublished


def _create_openly(final: Path, data: bytes) -> None:
    with final.open("xb") as new:
        try:
            new.write(data)
            _flushed(new)
        except BaseException:
            final.unlink(missing_ok=True)
            raise


def _flushed(file: BinaryIO) -> None:
    file.flush()
    os.fsync(file.fileno())


def _flush_name(final: Path) -> None:
    """See to it that also after a power cut the file has its name, which is kept in its folder."""
    with contextlib.suppress(OSError):  # a folder that may not be read, a file system that cannot: the file is there
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def try_out(final: Path) -> None:
    """Make sure that ``final`` could be written, leaving nothing behind, not even a folder."""
    folder = next(folder for folder in final.parents if os.path.lexists(folder))
    with contextlib.suppress(_Unpublished), writing(folder / final.name) as file:
        file.write(b".")
        file.flush()
        raise _Unpublished


def _locked(part: Path) -> BinaryIO:
    """Create and lock a file; again when someone took it for a leftover before it was locked."""
    while True:
        file = part.open("xb")
        with contextlib.suppress(OSError):  # where there are no locks, leftovers stay
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.fstat(file.fileno()).st_nlink:
            return file
        file.close()


def _remove_leftovers(final: Path) -> None:
    for part in final.parent.glob(f".{short_name(final)}.????????.part"):
        with contextlib.suppress(OSError), part.open("r+b") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            part.unlink(missing_ok=True)


def short_name(final: Path) -> str:
    """Return a name for a part that is never longer than what it becomes; the length of names is limited."""
    return hashlib.sha256(final.name.encode(errors="surrogateescape")).hexdigest()[:16]
