"""Does the index of an MP4 (moov) name more than came? No I/O.

Source: ISO/IEC 14496-12, sections 8.7.2 (dref), 8.7.3 (stsz, stz2), 8.7.4 (stsc) and 8.7.5 (stco, co64): a track's
samples lie in chunks, and runs of chunks hold equally many of them.
"""

from __future__ import annotations

import sys
from array import array
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from operator import mul, sub
from typing import Final, NamedTuple, TypeAlias

Tables: TypeAlias = dict[bytes, memoryview]

_DIGITS: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(16)))


class BrokenIndexError(Exception):
    """The index is damaged, or not all came that it names."""


class Media(NamedTuple):
    """How many bytes all mdat boxes hold, and where in the file the last of them ends."""

    size: int
    end: int


@dataclass(frozen=True)
class _Sizes:
    """How large each sample is: by a table, or all alike."""

    table: Sequence[int] = ()
    alike: int = 0
    count: int = 0

    def total(self, first: int = 0, stop: int | None = None) -> int:
        return self.alike * len(range(self.count)[first:stop]) or sum(self.table[first:stop])


def check_index(moov: memoryview, media: Media) -> None:
    """Look for all that must be in the index, and hold it against the media.

    :raises BrokenIndexError: when it is damaged, or names more than came
    """
    _required([moov], b"mvhd")
    for minf in _required(_required(_required([moov], b"trak"), b"mdia"), b"minf"):
        for stbl in _required([minf], b"stbl"):
            tables = dict(_boxes(stbl))
            if _is_in_this_file(minf):
                _check_track(tables, media)


def is_kind(kind: bytes) -> bool:
    """Say whether this can be the type of a box."""
    return kind.isascii() and kind.decode().isprintable()


def _required(bodies: list[memoryview], wanted: bytes) -> list[memoryview]:
    found = [_all(body, wanted) for body in bodies]
    if not all(found):
        raise _damage(f": it has no {wanted.decode()} box")
    return [content for each in found for content in each]


def _all(body: memoryview, wanted: bytes) -> list[memoryview]:
    return [content for kind, content in _boxes(body) if kind == wanted]


def _boxes(body: memoryview) -> Iterator[tuple[bytes, memoryview]]:
    at = 0
    while at < len(body):
        size, kind, begin = int.from_bytes(body[at : at + 4], "big"), bytes(body[at + 4 : at + 8]), at + 8
        if size == 1:
            size, begin = int.from_bytes(body[at + 8 : at + 16], "big"), at + 16
        end = at + size
        if not begin <= end <= len(body) or not is_kind(kind):
            raise _damage()
        yield kind, body[begin:end]
        at = end


def _damage(what: str = "") -> BrokenIndexError:
    return BrokenIndexError(f"the video's index (moov) is damaged{what}")


def _is_in_this_file(minf: memoryview) -> bool:
    """Say whether a track's media are in the file of the index: each reference to data has a flag for that."""
    references = [each for dinf in _all(minf, b"dinf") for dref in _all(dinf, b"dref") for each in _boxes(dref[8:])]
    return all(kind in {b"url ", b"urn ", b"alis"} and int.from_bytes(body[:4], "big") & 1 for kind, body in references)


def _check_track(tables: Tables, media: Media) -> None:
    sizes, offsets = _sizes(tables), _offsets(tables)
    end = _last_end(tables, offsets, sizes) if offsets else 0
    if end > media.end:
        raise _cut(f"media up to byte {end:,}, but they end at byte {media.end:,}")
    total = sizes.total()
    if total > media.size and len(set(offsets)) == len(offsets):  # a chunk that is shown twice is there once
        raise _cut(f"{total:,} bytes of one track, but {media.size:,} came of all")


def _cut(what: str) -> BrokenIndexError:
    return BrokenIndexError(f"the video is cut off: its index (moov) names {what}")


def _last_end(tables: Tables, offsets: array[int], sizes: _Sizes) -> int:
    """Find where the chunk ends that lies last: at least where it begins, if the runs do not tell more."""
    begin = max(offsets)
    chunk = len(offsets) - offsets[::-1].index(begin)  # the last of equals: those before it are empty
    runs = _table(tables, b"stsc", "I", 3)
    firsts, lengths = runs[::3], runs[1::3]
    run = bisect_right(firsts, chunk) - 1
    if run < 0:
        return begin
    before = sum(map(mul, map(sub, firsts[1 : run + 1], firsts), lengths)) + (chunk - firsts[run]) * lengths[run]
    return begin + sizes.total(before, before + lengths[run])


def _offsets(tables: Tables) -> array[int]:
    return _table(tables, b"co64", "Q") or _table(tables, b"stco", "I")


def _sizes(tables: Tables) -> _Sizes:
    if b"stz2" in tables:
        return _Sizes(_narrow_sizes(tables[b"stz2"]))
    if b"stsz" not in tables:
        return _Sizes()
    alike, count = _numbers(tables[b"stsz"], 4, "I", 2)
    if alike == 1:  # QuickTime says so of packed sound, whatever its size
        return _Sizes()
    return _Sizes((), alike, count) if alike else _Sizes(_numbers(tables[b"stsz"], 12, "I", count))


def _narrow_sizes(stz2: memoryview) -> Sequence[int]:
    bits, count = _numbers(stz2, 4, "I", 2)
    if bits & 0xFF == 4:
        packed = _numbers(stz2, 12, "B", (count + 1) // 2).tobytes()
        return packed.hex().encode().translate(_DIGITS)[:count]
    if bits & 0xFF not in {8, 16}:
        raise _damage(f": it has sizes of {bits & 0xFF} bits")
    return _numbers(stz2, 12, "B" if bits & 0xFF == 8 else "H", count)


def _table(tables: Tables, kind: bytes, code: str, columns: int = 1) -> array[int]:
    """Read a table that begins with its count; one that is not there is empty."""
    if kind not in tables:
        return array(code)
    return _numbers(tables[kind], 8, code, columns * _numbers(tables[kind], 4, "I", 1)[0])


def _numbers(body: memoryview, begin: int, code: str, count: int) -> array[int]:
    """Read many numbers at once: an index may have millions."""
    numbers = array(code)
    end = begin + count * numbers.itemsize
    if end > len(body):
        raise _damage(": a table in it ends too early")
    numbers.frombytes(body[begin:end])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers
