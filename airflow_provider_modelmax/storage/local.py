"""Local files, all or nothing: written to a locked, hidden sibling, then renamed.

A killed process leaves a sibling that is not locked; the next writer of the same file removes it.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import stat
import uuid
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.storage import throwaway
from airflow_provider_modelmax.storage.location import Location, Upload, path_of

_BLOCK = 1024 * 1024

_NOT_SUPPORTED = {errno.ENOSYS, errno.EOPNOTSUPP, errno.EINVAL}
_ATTEMPTS_TO_LOCK = 5
_REFUSED = {*_NOT_SUPPORTED, errno.EPERM, errno.EXDEV, errno.EBUSY}


class UnsupportedError(OSError):
    """The file system cannot do what every write needs.

    :param what: what it cannot do, as in "it cannot rename files"
    """

    def __init__(self, what: str, error: OSError) -> None:
        super().__init__(error.errno, error.strerror)
        self.what = what


@contextlib.contextmanager
def writing(final: Path) -> Iterator[BinaryIO]:
    """Yield a file that becomes ``final`` if the block ends without an exception, and is removed otherwise."""
    with _part_of(final) as file:
        yield file
        _flush(file)
        _needed("rename files", os.replace, file.name, final, refused=_REFUSED)
        _flush_name(final)


def create(final: Path, data: bytes) -> None:
    """Write ``final`` if nothing is there yet.

    :raises FileExistsError: if something is
    """
    with _part_of(final) as file:
        file.write(data)
        _flush(file)
        try:
            os.link(file.name, final)  # unlike a rename it fails when something is there
        except FileExistsError:
            raise
        except OSError:  # no hard links here
            _create_openly(final, data)
        _flush_name(final)


@contextlib.contextmanager
def _part_of(final: Path) -> Iterator[BinaryIO]:
    """Yield a new, locked, hidden sibling of ``final``; unless it was renamed, it is removed at the end."""
    if not final.parent.is_dir():
        _needed("create folders", os.makedirs, final.parent, exist_ok=True)
    # Those of a check are recognised by the next check. The length of names is limited, so the name is shortened.
    family = throwaway.stem(final.name) or f".{short_name(final)}"
    for left in final.parent.glob(f"{family}.????????.part"):
        with contextlib.suppress(OSError), left.open("r+b") as file:  # NFS locks only what is open for writing
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            left.unlink(missing_ok=True)
    part = final.with_name(f"{family}.{uuid.uuid4().hex[:8]}.part")
    try:
        with _locked(part) as file:
            yield file
    finally:
        if os.path.lexists(part):
            _needed("delete files", part.unlink, missing_ok=True, refused=_REFUSED)


def _create_openly(final: Path, data: bytes) -> None:
    with final.open("xb") as new:
        try:
            new.write(data)
            _flush(new)
        except BaseException:
            final.unlink(missing_ok=True)
            raise


def _flush(file: BinaryIO) -> None:
    file.flush()
    try:
        os.fsync(file.fileno())
    except OSError as error:
        if error.errno not in _NOT_SUPPORTED:  # without fsync only a power cut may lose the file
            raise
    os.close(os.dup(file.fileno()))  # some network file systems report a full disk at a close only


def _flush_name(final: Path) -> None:
    """Flush the folder, which holds the name of the file, so that a power cut does not lose it."""
    with contextlib.suppress(OSError):  # not permitted or not supported: the file is there all the same
        folder = os.open(final.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def try_out(probe: Path, longest: Path | None = None) -> None:
    """Do all that writes do, in a folder or its nearest existing parent, and leave nothing behind.

    :param probe: a throw-away name in the folder
    :param longest: the longest name that will be written there
    """
    with contextlib.suppress(FileNotFoundError):
        (longest or probe).lstat()  # raises if the whole path is too long
    there = next(each for each in probe.parents if os.path.lexists(each))
    missing = probe.parts[len(there.parts) : -1]
    final = there / probe.name.ljust(max((len(os.fsencode(part)) for part in missing), default=0), "x")
    try:
        if missing:
            _needed("create folders", final.mkdir)
            final.rmdir()
        create(final, b".")
        _remove_abandoned(final)
        _try_to_create_twice(final)
        with writing(final) as file:
            file.write(b"written")
        if final.read_bytes() != b"written":
            raise UnsupportedError("return what was written", OSError(errno.EIO, "other bytes were read"))
        _needed("delete files", final.unlink, refused=_REFUSED)
    finally:
        for left in there.glob(f"{throwaway.stem(final.name)}*"):
            _remove(left)


def _try_to_create_twice(final: Path) -> None:
    try:
        create(final, b".")
    except FileExistsError:
        return
    raise UnsupportedError("create a file only if it does not exist", OSError(errno.EEXIST, "it was created twice"))


def _remove_abandoned(final: Path) -> None:
    """Remove what killed checks left. Their age is measured against ``final``, which is new: one clock."""
    now = final.stat().st_mtime
    for path in final.parent.glob(f"{throwaway.PREFIX}*"):
        with contextlib.suppress(OSError):
            if throwaway.is_abandoned(path.name, now - path.lstat().st_mtime):
                _remove(path)


def _remove(path: Path) -> None:
    with contextlib.suppress(OSError):
        if path.is_dir():
            path.rmdir()
        else:
            path.unlink()


def _needed(
    what: str, act: Callable[..., Any], *args: Any, refused: Collection[int] = _NOT_SUPPORTED, **kwargs: Any
) -> Any:
    """Do what every write needs.

    :param what: completes "it cannot"
    :param refused: the ``errno`` by which a file system says that it cannot
    """
    try:
        return act(*args, **kwargs)
    except OSError as error:
        if error.errno in refused:
            raise UnsupportedError(what, error) from error
        raise


def _locked(part: Path) -> BinaryIO:
    """Create and lock a file; again if another process removed it as a leftover before it was locked."""
    for _ in range(_ATTEMPTS_TO_LOCK):
        file: BinaryIO = _needed("create a file only if it does not exist", part.open, "xb")
        with contextlib.suppress(OSError):  # where there are no locks, leftovers stay
            fcntl.flock(file, fcntl.LOCK_EX)
        if os.path.lexists(part):
            return file
        file.close()
    raise UnsupportedError("show a file that is being written", OSError(errno.ENOENT, "it vanished"))


def short_name(final: Path) -> str:
    """Return a name for a part that is never longer than what it becomes; the length of names is limited."""
    return hashlib.sha256(final.name.encode(errors="surrogateescape")).hexdigest()[:16]


@dataclass(frozen=True)
class LocalLocation(Location):
    """A local file.

    :param path: as it was given: a relative one is of the current directory at the time of use
    """

    path: Path

    @classmethod
    def of(cls, uri: str) -> LocalLocation:
        """Return the location of a local path or ``file`` URI. The file system decides about names."""
        return cls(path_of(uri))

    @property
    def name(self) -> str:
        """The name of the file."""
        return self.path.name

    def writing(self, content_type: str) -> contextlib.AbstractContextManager[Upload]:
        """Return a file whose content is published if the block ends without an exception, and removed otherwise."""
        return writing(self.path)

    def create(self, data: bytes, content_type: str) -> bool:
        """Write the file if there is none, and return whether it was written."""
        try:
            create(self.path, data)
        except FileExistsError:
            return False
        return True

    def read(self, limit: int | None = None) -> bytes:
        """Return the file, or its first bytes."""
        with self.path.open("rb") as file:
            return file.read(limit)

    def blocks(self) -> Iterator[bytes]:
        """Return the bytes of the file, a block at a time."""
        with self.path.open("rb") as file:
            while block := file.read(_BLOCK):
                yield block

    def size(self) -> int | None:
        """Return the size of the file in bytes, None if there is none.

        :raises DestinationError: if a folder is in its place
        """
        try:
            found = self.path.stat()
        except FileNotFoundError:
            return None
        if not stat.S_ISREG(found.st_mode):
            raise DestinationError(
                f"{self.path} is in the way: it should be a file. Move it, or choose another destination."
            )
        return found.st_size

    def remove(self) -> None:
        """Remove the file."""
        self.path.unlink()

    def try_out(self, longest: Location | None) -> None:
        """Do all that writes do, under a throw-away name, and leave nothing behind."""
        try_out(self.path, longest.path if isinstance(longest, LocalLocation) else None)

    def check_replaceable(self) -> None:
        """Refuse a file that only another user may replace: it is in a folder with the sticky bit, such as ``/tmp``.

        :raises PermissionError: if it is one
        """
        try:
            folder, file = self.path.parent.stat(), self.path.lstat()
        except FileNotFoundError:
            return
        if folder.st_mode & stat.S_ISVTX and os.geteuid() not in {0, folder.st_uid, file.st_uid}:
            why = "The folder has the sticky bit, and the file belongs to another user, who alone may replace it"
            raise PermissionError(errno.EPERM, why, str(self.path))
