"""The image of a request: decoded, checked by the structure of its file, and encoded. No I/O."""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Mapping
from typing import Any, Literal
from urllib.parse import unquote, unquote_to_bytes

from airflow_provider_modelmax.api.errors import InvalidInputError

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""Bytes. The contract names no limit; a larger file is assumed to be a mistake (a video, a raw photo)."""

_MIN_BASE64 = 200
"""Characters. A shorter text is decoded to find out whether it is an image; a path of this length has a dot."""

_BLANKS = " \t\r\n\f\v\ufeff\u200b"
"""Whitespace, and a byte order mark: they may precede Base64."""

_BASE64 = r"[A-Za-z0-9+/_%\-\s]+={0,2}\s*"  # compiled at its first use: not when a DAG is parsed
_URL_SAFE_TO_STANDARD = str.maketrans("-_", "+/")

# fmt: off
_BRANDS = frozenset({
    b"avif", b"avis", b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"hevm", b"hevs", b"mif1", b"mif2", b"msf1",
})
# fmt: on
"""Brands of AVIF and HEIC."""

_BOXES = frozenset({b"ftyp", b"meta", b"mdat", b"moov", b"moof", b"mfra", b"sidx", b"free", b"skip", b"wide", b"uuid"})
"""Boxes at the top level of AVIF and HEIC files."""

_TIFF_OFFSETS, _TIFF_SIZES = {273, 324}, {279, 325}
"""Tags: the offsets and sizes of strips, and of tiles."""

_TIFF_NEEDED = {258, 347} | _TIFF_OFFSETS | _TIFF_SIZES
"""Tags that are read: bits of a sample, JPEG tables, and the two above."""

_TIFF_WIDTHS = {3: 2, 4: 4, 7: 1}
"""Bytes of one value, by the type of a field."""

_JPEG_MARKER = rb"\xff[^\x00\x01\xd0-\xd8\xff]"
"""A marker that begins a segment or ends the file; ``FF 00`` and ``FF D0`` to ``FF D7`` are part of the image data."""


class HiddenImage:
    """An image that a DAG author wrote into ``parameters``; shows its size where Airflow would show the bytes.

    :param text: its Base64
    :param is_bytes: whether it was given as bytes
    """

    def __init__(self, text: str, *, is_bytes: bool = False) -> None:
        self.text, self.is_bytes = text, is_bytes

    def __str__(self) -> str:
        digest = hashlib.sha256(self.text.encode()).hexdigest()[:12]
        return f"<image, {len(self.text):,} characters of Base64, sha256 {digest}…>"

    __repr__ = __str__


def hide_image(parameters: Any) -> Any:
    """Return ``parameters`` with an image given as Base64 hidden from rendered templates, logs and the database."""
    if not isinstance(parameters, Mapping):
        return parameters
    image = parameters.get("image")
    if isinstance(image, bytes | bytearray | memoryview):
        return {**parameters, "image": HiddenImage(base64.b64encode(image).decode(), is_bytes=True)}
    if not isinstance(image, str) or not (may_be_base64(image) or decode_image(image)):
        return parameters
    return {**parameters, "image": HiddenImage(image)}


def encode_image(data: bytes, source: str) -> str:
    """Return ``data`` as the Base64 that the service takes.

    :param data: the image file
    :param source: where it came from, for the message
    :raises InvalidInputError: if it is empty, too large, not an image, or cut off
    """
    if not data:
        raise InvalidInputError(f"The image {source} is empty.")
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidInputError(
            f"The image {source} has {len(data):,} bytes; at most {MAX_IMAGE_BYTES:,} are sent. Scale it down: "
            "the largest video is 3840 x 2160."
        )
    walk = _reader(data)
    if not walk:
        raise InvalidInputError(
            f"{source} is not an image: it is neither PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF nor HEIC."
        )
    try:
        walk(data)
    except _CutOffError:
        raise InvalidInputError(
            f"The image {source} is cut off: its end is missing after {len(data):,} bytes. Check how it was written or "
            "copied, and give the whole file."
        ) from None
    return base64.b64encode(data).decode()


def check_image_kind(image: object) -> None:
    """Check the type of an image that is not read yet.

    :raises InvalidInputError: if it is on the web, or not a path, URI, Base64 or bytes
    """
    if isinstance(image, str):
        scheme, _, rest = image.strip().partition("://")
        if scheme.lower() in {"http", "https"}:
            host = rest.partition("/")[0].rpartition("@")[2]  # the rest may hold a password or a signature
            raise InvalidInputError(
                f"The image is on the web, at {host}. Give a path that workers can read, a URI such as "
                "s3://conn_id@bucket/key.png, or its bytes as Base64."
            )
    if isinstance(image, int | float | list | tuple | set | Mapping) or (isinstance(image, str) and not image.strip()):
        raise InvalidInputError(
            f"parameters['image'] is {type(image).__name__} {str(image)[:60]!r}, but must be a path, a URI or Base64."
        )


def check_encoded_image(image: object) -> str:
    """Return ``image`` as the Base64 that the service takes. The hook reads no files.

    :raises InvalidInputError: if it is not Base64 of an image
    """
    data = decode_image(image) if isinstance(image, str) else None
    if data is None:
        raise InvalidInputError(
            "parameters['image'] must be Base64 of an image here; the operators also take a path or a URI."
        )
    return encode_image(data, "given as Base64")


def decode_image(text: str) -> bytes | None:
    """Return the image in ``text``, which is Base64 or a ``data:`` URL; None if it is neither.

    Padding may be missing, ``-_`` may replace ``+/``, and characters may be percent-encoded, as in URLs.
    """
    text = text.lstrip(_BLANKS)
    if is_data_url(text):
        header, _, text = text.partition(",")
        if not header.lower().rstrip().endswith(";base64"):
            data = unquote_to_bytes(text)
            return data if is_image(data) else None
    text = "".join(unquote(text).split()).translate(_URL_SAFE_TO_STANDARD).rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if is_image(data) else None


def is_data_url(text: str) -> bool:
    """Return whether ``text`` is a ``data:`` URL, also in capitals or after blanks."""
    return text.lstrip(_BLANKS)[:5].lower() == "data:"


def may_be_base64(text: str) -> bool:
    """Return whether ``text`` looks like Base64 and not like a path. Then it must not be logged."""
    text = text.lstrip(_BLANKS)
    return is_data_url(text) or (len(text) >= _MIN_BASE64 and re.fullmatch(_BASE64, text) is not None)


class _CutOffError(Exception):
    """The file ends before its structure does."""


def is_image(data: bytes) -> bool:
    """Return whether ``data`` begins as an image file does."""
    return _reader(data) is not None


def _reader(data: bytes) -> Callable[[bytes], None] | None:
    """Return the function that walks an image file to its end, by the format that ``data`` begins with.

    It raises :class:`_CutOffError` if the end is missing. Bytes after it, as some cameras write, are allowed.
    """
    if data[:4] == b"RIFF":
        return _webp if data[8:12] == b"WEBP" else None
    if data[4:8] == b"ftyp":
        return _avif_or_heic if _brands(data) & _BRANDS else None
    for magic, reader in _READERS.items():
        if data.startswith(magic):
            return reader
    return None


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
    at, markers = 2, re.compile(_JPEG_MARKER)
    while marker := markers.search(data, at):
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
    """Use the dimensions: the file size in the header is often wrong."""
    start, header = _number(data, 10, 4, "little"), _number(data, 14, 4, "little")
    if header == 12:
        width, height, bits = (_number(data, at, 2, "little") for at in (18, 20, 24))
        compression = 0
    else:
        width, height, bits = (_number(data, at, size, "little") for at, size in ((18, 4), (22, 4), (28, 2)))
        height = min(height, 2**32 - height)  # negative: from top to bottom
        compression = _number(data, 30, 4, "little") if header >= 40 else 0
    if compression in {0, 3, 6}:  # none
        _need(data, start + (width * bits + 31) // 32 * 4 * height)
    else:
        _need(data, start + _number(data, 34, 4, "little"))


def _tiff(data: bytes) -> None:
    """Use the strips or tiles of the first picture."""
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
    """Follow the boxes until both the description and the data of the pictures were seen."""
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
