"""Is this a whole MP4? Told from its boxes while the bytes stream by, without a codec. No I/O.

Source: ISO/IEC 14496-12, section 4.2: a box is a 32-bit size, a four-letter type and a body; size 1 puts a 64-bit
size behind the type, size 0 lets the last box run to the end of the file.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

_NESTED: Final = (b"trak", b"mdia", b"minf", b"stbl")
"""What must be in the index, each inside the one before."""

_MAX_MOOV: Final = 64 * 1024 * 1024
"""Bytes of index that are looked into; a larger one (days of video) is only measured."""


class BrokenVideoError(Exception):
    """The bytes are no whole MP4. Fetch them again."""


class Mp4Check:
    """Feed it every byte in order, then call :meth:`finish`."""

    def __init__(self) -> None:
        self._header = b""
        self._left = 0
        self._to_the_end = False
        self._moov: bytearray | None = None
        self._seen: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        :raises BrokenVideoError: as soon as they cannot be an MP4 any more
        """
        at = 0
        while at < len(data):
            if self._to_the_end:
                self._keep_index(data, at, len(data))
                return
            if self._left:
                at += self._body(data, at)
            else:
                at += self._start(data, at)

    def finish(self) -> None:
        """Say that the bytes are over.

        :raises BrokenVideoError: when something is missing
        """
        if not self._seen:
            raise BrokenVideoError(f"this is no MP4: it is {self._header!r}" if self._header else "nothing came")
        if self._left or self._header or self._seen[-1] == b"moof":
            raise BrokenVideoError("the video is cut off: its last box is not complete")
        for kind in (b"ftyp", b"moov", b"mdat"):
            if kind not in self._seen:
                raise BrokenVideoError(f"the video has no {kind.decode()} box; it has {self._shown()}")
        if self._moov is not None:
            _check_index(self._moov)

    def _body(self, data: bytes, at: int) -> int:
        taken = min(self._left, len(data) - at)
        self._keep_index(data, at, at + taken)
        self._left -= taken
        return taken

    def _keep_index(self, data: bytes, begin: int, end: int) -> None:
        if self._moov is not None and self._seen[-1] == b"moov":
            self._moov += data[begin:end]
            if len(self._moov) > _MAX_MOOV:  # one without a size, and too long to be looked into
                self._moov = None

    def _start(self, data: bytes, at: int) -> int:
        """Collect the header of a box: 8 bytes, or 16 with a 64-bit size."""
        wanted = 16 if self._header[:4] == b"\0\0\0\1" else 8
        taken = min(wanted - len(self._header), len(data) - at)
        self._header += data[at : at + taken]
        if len(self._header) == wanted and not (wanted == 8 and self._header[:4] == b"\0\0\0\1"):
            self._enter()
        return taken

    def _enter(self) -> None:
        header, self._header = self._header, b""
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        if not self._seen and kind != b"ftyp":
            raise BrokenVideoError(f"this is no MP4: it begins with {header[:8]!r}")
        if not _is_kind(kind):
            raise BrokenVideoError(f"the video is damaged: {kind!r} stands where a box should begin")
        self._seen.append(kind)
        if size == 0:
            self._to_the_end = True
            self._moov = bytearray() if kind == b"moov" else self._moov
            return
        self._left = (int.from_bytes(header[8:], "big") if size == 1 else size) - len(header)
        if self._left < 0:
            raise BrokenVideoError(f"the video has a box {kind!r} with an impossible size")
        if kind == b"moov" and self._left <= _MAX_MOOV:
            self._moov = bytearray()

    def _shown(self) -> str:
        return ", ".join(kind.decode() for kind in dict.fromkeys(self._seen))


def _is_kind(kind: bytes) -> bool:
    return kind.isascii() and kind.decode().isprintable()


def _check_index(moov: bytes | bytearray) -> None:
    if b"mvhd" not in {kind for kind, _ in _boxes(moov)}:
        raise BrokenVideoError("the video's index (moov) is damaged: it has no mvhd box")
    _check_nested(moov, _NESTED)


def _check_nested(body: bytes | bytearray, nested: tuple[bytes, ...]) -> None:
    boxes = list(_boxes(body))
    if not nested:
        return
    inner = [content for kind, content in boxes if kind == nested[0]]
    if not inner:
        raise BrokenVideoError(f"the video's index (moov) is damaged: it has no {nested[0].decode()} box")
    for content in inner:
        _check_nested(content, nested[1:])


def _boxes(body: bytes | bytearray) -> Iterator[tuple[bytes, bytes]]:
    at = 0
    while at < len(body):
        size, kind, begin = int.from_bytes(body[at : at + 4], "big"), bytes(body[at + 4 : at + 8]), at + 8
        if size == 1:
            size, begin = int.from_bytes(body[at + 8 : at + 16], "big"), at + 16
        end = at + size
        if not begin <= end <= len(body) or not _is_kind(kind):
            raise BrokenVideoError("the video's index (moov) is damaged")
        yield kind, bytes(body[begin:end])
        at = end
