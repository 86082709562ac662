"""An MP4 as it is served: a file, followed by a `free` box of zeros that is never held in memory."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

CHUNK = 256 * 1024
ZEROS = bytes(CHUNK)
SINGLE_RANGE = re.compile(r"bytes=(\d*)-(\d*)")


@dataclass(frozen=True)
class VideoFile:
    """A file, or a byte range of it.

    :param path: The encoded video.
    :param file_size: Its size in bytes.
    :param filler: Size in bytes of the `free` box that follows it.
    :param patch: Offset and bytes of a part that is overwritten.
    :param start: First byte of the range.
    :param stop: End of the range (exclusive); None is the end of the file.
    """

    path: Path
    file_size: int
    filler: int = 0
    patch: tuple[int, bytes] = (0, b"")
    start: int = 0
    stop: int | None = None

    @property
    def total(self) -> int:
        """The size of the whole file in bytes."""
        return self.file_size + self.filler

    @property
    def size(self) -> int:
        """The size of the range in bytes."""
        return (self.total if self.stop is None else self.stop) - self.start

    def chunks(self) -> Iterator[bytes]:
        """Read the range."""
        place, stop = self.start, self.start + self.size
        with self.path.open("rb") as file:
            file.seek(place)
            while place < stop:
                chunk = self._chunk(file.read(min(CHUNK, stop - place)), place, stop)
                yield self._patched(chunk, place)
                place += len(chunk)

    def _chunk(self, read: bytes, place: int, stop: int) -> bytes:
        if read:
            return read
        into = place - self.file_size
        header = free_header(self.filler)
        if into < len(header):
            return header[into : into + stop - place]
        return ZEROS[: stop - place]

    def _patched(self, chunk: bytes, place: int) -> bytes:
        offset, new = self.patch
        begin, end = max(offset, place), min(offset + len(new), place + len(chunk))
        if begin >= end:
            return chunk
        return chunk[: begin - place] + new[begin - offset : end - offset] + chunk[end - place :]


def free_header(size: int) -> bytes:
    """Return the header of a `free` box of `size` bytes, header included."""
    if size < 1 << 32:
        return size.to_bytes(4, "big") + b"free"
    return b"\x00\x00\x00\x01free" + size.to_bytes(8, "big")


def sha256_of(file: VideoFile) -> str:
    """Return the SHA-256 of the whole file."""
    sha = hashlib.sha256()
    for chunk in file.chunks():
        sha.update(chunk)
    return sha.hexdigest()


def garble(file: VideoFile, offset: int | None = None) -> VideoFile:
    """Overwrite the size of the second box, or eight bytes at `offset`. The length stays the same."""
    if offset is None:
        with file.path.open("rb") as opened:
            offset = int.from_bytes(opened.read(4), "big")
    return replace(file, patch=(offset, b"\x00\x00\x00\x03\xde\xad\xbe\xef"))


def parse_range(header: str, total: int) -> tuple[int, int] | None:
    """Read a Range header.

    :returns: Start and end (exclusive); None if it is not a single range
    :raises ValueError: if the range is outside the file
    """
    found = SINGLE_RANGE.fullmatch(header.strip())
    if not found or found.groups() == ("", ""):
        return None
    first, last = found.groups()
    if not first:
        start, stop = max(0, total - int(last)), total
    else:
        start, stop = int(first), min(int(last) + 1 if last else total, total)
    if start >= stop:
        raise ValueError("range not satisfiable")
    return start, stop
