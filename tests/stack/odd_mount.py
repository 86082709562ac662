"""A folder mounted through FUSE that refuses some operations, like mounted buckets and unusual network shares.

Run as a program: ``python -m tests.stack.odd_mount SOURCE MOUNTPOINT rename=ENOSYS write=ENOSPC``. All other
operations are done in SOURCE. ``nlink=0`` and ``room=N`` (bytes, then ENOSPC) are not operations.
"""

from __future__ import annotations

import errno
import functools
import os
import subprocess
import sys
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from tests.stack.processes import PROJECT, wait_until

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator


@functools.cache
def why_not() -> str:
    """Return why nothing can be mounted here; empty if it can."""
    if not os.access("/dev/fuse", os.R_OK | os.W_OK):
        return "there is no /dev/fuse that this user may open"
    if find_spec("mfusepy") is None:
        return "mfusepy is not installed"
    done = subprocess.run([sys.executable, "-c", "import mfusepy"], capture_output=True, check=False)
    return "libfuse is not installed (Debian: libfuse3-3)" if done.returncode else ""


@contextmanager
def mounted(folder: Path, *refusals: str) -> Iterator[Path]:
    """Yield a folder whose file system refuses the operations in ``refusals``."""
    if reason := why_not():
        pytest.skip(reason)
    source, mountpoint = folder / "source", folder / "mount"
    source.mkdir()
    mountpoint.mkdir()
    command = [sys.executable, "-m", "tests.stack.odd_mount", str(source), str(mountpoint), *refusals]
    process = subprocess.Popen(command, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    try:
        wait_until(lambda: process.poll() is not None or mountpoint.is_mount(), 20, "the folder is mounted")
        if process.poll() is not None:
            pytest.skip(f"FUSE cannot mount here: {process.stdout.read() if process.stdout else ''}")
        yield mountpoint
    finally:
        if mountpoint.is_mount():
            subprocess.run(["umount", "--lazy", str(mountpoint)], check=False)
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


def _serve(source: Path, mountpoint: Path, settings: dict[str, str]) -> None:
    import mfusepy

    room = int(settings.pop("room", 1 << 40))
    nlink = settings.pop("nlink", None)
    refused = {name: getattr(errno, value) for name, value in settings.items()}

    def passing(operation: Callable[..., Any]) -> Callable[..., Any]:
        """Refuse an operation or do it in the source folder."""
        name = operation.__name__

        def done(self: Any, path: str, *args: Any) -> Any:
            if name in refused:
                raise mfusepy.FuseOSError(refused[name])
            try:
                return operation(self, source / path.lstrip("/"), *args)
            except OSError as error:
                raise mfusepy.FuseOSError(error.errno) from error

        return done

    class Passing(mfusepy.Operations):  # type: ignore[misc]
        use_ns = True

        @passing
        def getattr(self, path: Path, _: Any = None) -> dict[str, Any]:
            found = path.lstat()
            names = ("st_mode", "st_nlink", "st_size", "st_uid", "st_gid", "st_ino")
            times = {f"st_{name}time": getattr(found, f"st_{name}time_ns") for name in "amc"}
            shown = {**{name: getattr(found, name) for name in names}, **times}
            return {**shown, "st_nlink": int(nlink)} if nlink is not None else shown

        @passing
        def readdir(self, path: Path, _: Any) -> list[str]:
            return [".", "..", *(each.name for each in path.iterdir())]

        @passing
        def mkdir(self, path: Path, mode: int) -> None:
            path.mkdir(mode)

        @passing
        def rmdir(self, path: Path) -> None:
            path.rmdir()

        @passing
        def unlink(self, path: Path) -> None:
            path.unlink()

        @passing
        def rename(self, path: Path, new: str, *_: Any) -> None:
            path.rename(source / new.lstrip("/"))

        @passing
        def link(self, path: Path, existing: str) -> None:
            os.link(source / existing.lstrip("/"), path)

        @passing
        def create(self, path: Path, mode: int, _: Any = None) -> int:
            return os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, mode)

        @passing
        def open(self, path: Path, flags: int) -> int:
            return os.open(path, flags)

        @passing
        def read(self, _: Path, size: int, offset: int, fh: int) -> bytes:
            return os.pread(fh, size, offset)

        @passing
        def write(self, _: Path, data: bytes, offset: int, fh: int) -> int:
            if offset + len(data) > room:
                raise OSError(errno.ENOSPC, "full")
            return os.pwrite(fh, data, offset)

        @passing
        def truncate(self, path: Path, length: int, _: Any = None) -> None:
            os.truncate(path, length)

        @passing
        def flush(self, _: Path, __: int) -> None:
            pass

        @passing
        def fsync(self, _: Path, __: int, fh: int) -> None:
            os.fsync(fh)

        @passing
        def release(self, _: Path, fh: int) -> None:
            os.close(fh)

        @passing
        def chmod(self, path: Path, mode: int) -> None:
            path.chmod(mode)

        @passing
        def utimens(self, path: Path, times: tuple[int, int] | None = None) -> None:
            os.utime(path, ns=times or None)

    mfusepy.FUSE(Passing(), str(mountpoint), foreground=True, nothreads=True)


if __name__ == "__main__":
    _serve(Path(sys.argv[1]), Path(sys.argv[2]), dict(each.split("=") for each in sys.argv[3:]))
