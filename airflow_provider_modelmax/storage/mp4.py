"""Is this a whole MP4? Told from its boxes while the bytes stream by, without a codec. No I/O.

Source: ISO/IEC 14496-12, section 4.2: a box is a 32-bit size, a four-letter type and a body; size 1 puts a 64-bit
size behind the type, size 0 lets the last box run to the end of the file.

Some writers append bytes that are no box: zeros, a line end, a tag. Players ignore them. They are accepted if as many
bytes came as were announced and the index names nothing that is missing; otherwise they are a sign of damage.
"""

from __future__ import annotations

from typing import Final

from airflow_provider_modelmax.api.errors import BrokenVideoError
from airflow_provider_modelmax.storage.mp4_index import BrokenIndexError, Media, check_index, is_kind

_TOP_LEVEL: Final = frozenset(
    b"ftyp moov mdat moof free skip wide pnot uuid udta meta mfra sidx ssix styp prft emsg pdin imda".split()
)
"""Types that ISO and QuickTime define for the top of a file. An incomplete box of another type may be no box at all."""

_PADDING: Final = b"\0\t\n\r "

_MAX_MOOV: Final = 64 * 1024 * 1024
"""Bytes of index that are looked into; a larger one (days of video) is only measured."""


class Mp4Check:
    """Feed it every byte in order, then call :meth:`finish`.

    :param size_known: whether the size was announced, so that the caller notices when bytes are missing at the end
    """

    def __init__(self, *, size_known: bool = False) -> None:
        self.trailing = 0
        """Bytes after the last box, which belong to none."""
        self._size_known = size_known
        self._padding_only = True
        self._box = (0, b"")
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
            if self.trailing:
                self._trail(data[at:])
                return
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
            self._end_within_a_box()
        self._check_whole()

    def _end_within_a_box(self) -> None:
        """Take an incomplete last box for trailing bytes, unless it looks like a part of the video."""
        begin, header, kind = self._at - len(self._header), self._header, self._header[4:8]
        if not header:
            (begin, header), kind = self._box, self._seen.pop()
        if kind in _TOP_LEVEL or not self._may_end():
            raise BrokenVideoError("the video is cut off: its last box is not complete")
        self._trail(header)
        self._padding_only = self._padding_only and bool(self._header)
        self.trailing = self._at - self._left - begin

    def _may_end(self) -> bool:
        """Return whether bytes that belong to no box may follow the boxes so far."""
        return self._size_known and {b"ftyp", b"moov", b"mdat"} <= {*self._seen} and self._seen[-1] != b"moof"

    def _trail(self, data: bytes) -> None:
        self.trailing += len(data)
        self._padding_only = self._padding_only and not data.strip(_PADDING)

    def _check_whole(self) -> None:
        for kind in (b"ftyp", b"moov", b"mdat"):
            if kind not in self._seen:
                raise BrokenVideoError(f"the video has no {kind.decode()} box; it has {self._shown()}")
        if self._moov is not None:
            try:
                check_index(memoryview(self._moov), Media(self._media_size, self._media_end))
            except BrokenIndexError as error:
                raise BrokenVideoError(str(error)) from None
        # With fragments, or an index too long to read, it is not known whether more should follow.
        is_indexed = self._moov is not None and b"moof" not in self._seen and b"mvex" not in self._moov
        if self.trailing and not is_indexed and not self._padding_only:
            raise BrokenVideoError(f"the video is damaged: {self.trailing:,} bytes after its last box are no box")

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
        left = (int.from_bytes(header[8:], "big") if size == 1 else size) - len(header) if size else 0
        is_box = is_kind(kind) and not kind.isspace() and (left >= 0 or kind in _TOP_LEVEL)
        if not is_box and self._may_end():
            self._trail(header)
            return
        self._check_kind(header, kind)
        if left < 0:
            raise BrokenVideoError(f"the video has a box {kind!r} with an impossible size")
        self._box = (self._at - len(header), header)
        self._seen.append(kind)
        self._to_the_end = size == 0
        self._left = left
        self._count(self._left)
        if kind == b"moov" and self._left <= _MAX_MOOV:
            self._moov = bytearray()

    def _check_kind(self, header: bytes, kind: bytes) -> None:
        if not self._seen and kind != b"ftyp":
            raise BrokenVideoError(f"this is no MP4: it begins with {header[:8]!r}")
        if not is_kind(kind):
            raise BrokenVideoError(f"the video is damaged: {kind!r} is where a box should begin")
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
