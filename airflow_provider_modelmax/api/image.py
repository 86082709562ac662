"""Which bytes are an image file, and whether its end is missing. Reads the structure of the file only. No I/O."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

_BRANDS = frozenset(
    {
        b"avif",
        b"avis",
        b"heic",
        b"heix",
        b"heim",
        b"heis",
        b"hevc",
        b"hevx",
        b"hevm",
        b"hevs",
        b"mif1",
        b"mif2",
        b"msf1",
    }
)
"""Of AVIF and HEIC."""

_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"free", b"skip", b"wide", b"uuid"})
"""What AVIF and HEIC files are made of at their top level."""

_TIFF_OFFSETS, _TIFF_SIZES = {273, 324}, {279, 325}
"""Of strips, and of tiles."""

_TIFF_NEEDED = {258, 347} | _TIFF_OFFSETS | _TIFF_SIZES
"""Bits of a sample, tables of JPEG, and where the picture's data is."""

_TIFF_WIDTHS = {3: 2, 4: 4, 7: 1}
"""Bytes of one value, for the types of these fields."""

_JPEG_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
"""One that begins a segment, or ends the file; ``FF 00`` and ``FF D0`` to ``FF D7`` are part of the picture's data."""


class _CutOffError(Exception):
    """The file ends before its structure does."""


def is_image(data: bytes) -> bool:
    """Return whether ``data`` begins as an image file does."""
    return _reader(data) is not None


def is_cut_off(data: bytes) -> bool:
    """Return whether the end of an image file is missing. What follows its end, as some cameras write, is no fault."""
    reader = _reader(data)
    try:
        if reader:
            reader(data)
    except _CutOffError:
        return True
    return False


def _reader(data: bytes) -> Callable[[bytes], None] | None:
    """Return what reads an image file to its end, for the format that ``data`` begins with."""
    if data[:4] == b"RIFF":
        return _webp if data[8:12] == b"WEBP" else None
    if data[4:8] == b"ftyp":
        return _avif_or_heic if _brands(data) & _BRANDS else None
    return next((reader for magic, reader in _READERS.items() if data.startswith(magic)), None)


def _brands(data: bytes) -> set[bytes]:
    """Return the brands of an ISO base media file: the major one, and those that it is compatible with."""
    end = min(int.from_bytes(data[:4], "big"), 1024)
    return {data[8:12], *(data[at : at + 4] for at in range(16, end, 4))}


def _png(data: bytes) -> None:
    at = 8
    while True:
        size, kind = _number(data, at, 4), data[at + 4 : at + 8]
        _need(data, at + 12 + size)
        if kind == b"IEND":
            return
        at += 12 + size


def _jpeg(data: bytes) -> None:
    at = 2
    while marker := _JPEG_MARKER.search(data, at):
        if marker[0] == b"\xff\xd9":  # the end
            return
        at = marker.end() + _number(data, marker.end(), 2)
    raise _CutOffError


def _gif(data: bytes) -> None:
    at = 13 + _gif_colours(_number(data, 10, 1))
    while True:
        kind = _number(data, at, 1)
        at += 1
        if kind == 0x3B:  # the trailer
            return
        if kind == 0x21:  # an extension
            at = _gif_blocks(data, at + 1)
        elif kind == 0x2C:  # a picture
            at = _gif_blocks(data, at + 10 + _gif_colours(_number(data, at + 8, 1)))


def _gif_colours(flags: int) -> int:
    return 3 * 2 ** ((flags & 7) + 1) if flags & 0x80 else 0


def _gif_blocks(data: bytes, at: int) -> int:
    while size := _number(data, at, 1):
        at += 1 + size
    return at + 1


def _webp(data: bytes) -> None:
    at, end = 12, 8 + _number(data, 4, 4, "little")
    while at + 8 <= end:
        size = _number(data, at + 4, 4, "little")
        _need(data, at + 8 + size)
        at += 8 + size + size % 2  # some leave out the last byte of padding


def _bmp(data: bytes) -> None:
    """Go by the dimensions: the size of the file that is in the header is often wrong."""
    start, header = _number(data, 10, 4, "little"), _number(data, 14, 4, "little")
    if header == 12:
        width, height, bits = (_number(data, at, 2, "little") for at in (18, 20, 24))
        compression = 0
    else:
        width, height, bits = (_number(data, at, size, "little") for at, size in ((18, 4), (22, 4), (28, 2)))
        height = min(height, 2**32 - height)  # a negative one means from top to bottom
        compression = _number(data, 30, 4, "little") if header >= 40 else 0
    if compression in {0, 3, 6}:  # none
        _need(data, start + (width * bits + 31) // 32 * 4 * height)
    else:
        _need(data, start + _number(data, 34, 4, "little"))


def _tiff(data: bytes) -> None:
    """Go by the strips or tiles of the first picture."""
    order: Literal["big", "little"] = "little" if data.startswith(b"II") else "big"
    directory = _number(data, 4, 4, order)
    end = directory + 2 + 12 * _number(data, directory, 2, order)
    _need(data, end + 4)
    fields = {}
    for at in range(directory + 2, end, 12):
        tag, kind, count = _number(data, at, 2, order), _number(data, at + 2, 2, order), _number(data, at + 4, 4, order)
        width = _TIFF_WIDTHS.get(kind)
        if tag in _TIFF_NEEDED and width:
            first = at + 8 if width * count <= 4 else _number(data, at + 8, 4, order)
            _need(data, first + width * count)
        if tag in _TIFF_OFFSETS | _TIFF_SIZES and width:
            fields[tag in _TIFF_SIZES] = [_number(data, first + width * each, width, order) for each in range(count)]
    offsets, sizes = fields.get(False, []), fields.get(True, [])
    for offset, size in zip(offsets, sizes, strict=False):
        _need(data, offset + size)


def _avif_or_heic(data: bytes) -> None:
    """Follow the boxes until all that is needed has come: what describes the pictures, and what holds them."""
    at, seen = 0, set()
    while (kind := data[at + 4 : at + 8]) in _BOXES:
        size = _number(data, at, 4)
        if size == 1:
            size = _number(data, at + 8, 8)
        seen.add(kind)
        if kind == b"meta" and b"idat" in data[at : at + size]:
            seen.add(b"mdat")
        if size < 8:  # 0: up to the end of the file
            break
        _need(data, at + size)
        at += size
    if b"mdat" not in seen or not seen & {b"meta", b"moov"}:
        raise _CutOffError


_READERS: dict[bytes, Callable[[bytes], None]] = {
    b"\x89PNG\r\n\x1a\n": _png,
    b"\xff\xd8\xff": _jpeg,
    b"GIF8": _gif,
    b"BM": _bmp,
    b"II*\0": _tiff,
    b"MM\0*": _tiff,
}


def _need(data: bytes, end: int) -> None:
    if end > len(data):
        raise _CutOffError


def _number(data: bytes, at: int, size: int, order: Literal["big", "little"] = "big") -> int:
    _need(data, at + size)
    return int.from_bytes(data[at : at + size], order)
