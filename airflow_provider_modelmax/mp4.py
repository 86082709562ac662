"""Is this a whole MP4? Told from its boxes while the bytes stream by, without a codec. No I/O.

Source: ISO/IEC 14496-12, section 4.2: a box is a 32-bit size, a four-letter type and a body; size 1 puts a 64-bit
size behind the type, size 0 lets the last box run to the end of the file.
"""

from __future__ import annotations

from typing import Final

from airflow_provider_modelmax.mp4_index import BrokenIndexError, Media, check_index, is_kind

_MAX_MOOV: Final = 64 * 1024 * 1024
"""Bytes of index that are looked into; a larger one (days of video) is only measured."""


class BrokenVideoError(Exception):
    """The bytes are no whole MP4. Fetch them again."""


class Mp4Check:
    """Feed it every byte in order, then call :meth:`finish`."""

    def __init__(self) -> None:
        self._header = b""
        self._at = 0
        self._left = 0
        self._to_the_end = False
        self._moov: bytearray | None = None
        self._media_size = 0
        self._media_end = 0
        self._seen: list[bytes] = []

    def feed(self, data: bytes) -> None:
        """Take the next bytes.

        :raises BrokenVideoError: as soon as they cannot be an MP4 any more
        """
        at = 0
        while at < len(data):
            if self._to_the_end:
                self._keep_index(data, at, len(data))
                self._count(len(data) - at)
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
            self._check_index(self._moov)

    def _check_index(self, moov: bytearray) -> None:
        try:
            check_index(memoryview(moov), Media(self._media_size, self._media_end))
        except BrokenIndexError as error:
            raise BrokenVideoError(str(error)) from None

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
        self._at += taken
        if len(self._header) == wanted and not (wanted == 8 and self._header[:4] == b"\0\0\0\1"):
            self._enter()
        return taken

    def _enter(self) -> None:
        header, self._header = self._header, b""
        size, kind = int.from_bytes(header[:4], "big"), header[4:8]
        self._check_kind(header, kind)
        self._seen.append(kind)
        self._to_the_end = size == 0
        if size:
            self._left = (int.from_bytes(header[8:], "big") if size == 1 else size) - len(header)
        if self._left < 0:
            raise BrokenVideoError(f"the video has a box {kind!r} with an impossible size")
        self._count(self._left)
        if kind == b"moov" and self._left <= _MAX_MOOV:
            self._moov = bytearray()

    def _check_kind(self, header: bytes, kind: bytes) -> None:
        if not self._seen and kind != b"ftyp":
            raise BrokenVideoError(f"this is no MP4: it begins with {header[:8]!r}")
        if not is_kind(kind):
            raise BrokenVideoError(f"the video is damaged: {kind!r} stands where a box should begin")
        if kind in {b"ftyp", b"moov"} and kind in self._seen:
            raise BrokenVideoError(f"the video is damaged: it has a second {kind.decode()} box, as if two were joined")

    def _count(self, size: int) -> None:
        """Count a body before it comes or, if it runs to the end, as it comes: feeding stays cheap."""
        self._at += size
        if self._seen[-1] == b"mdat":
            self._media_size += size
            self._media_end = self._at

    def _shown(self) -> str:
        return ", ".join(kind.decode() for kind in dict.fromkeys(self._seen))
