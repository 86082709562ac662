"""A whole MP4 is told from a broken one, however the bytes come."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_modelmax.mp4 import BrokenVideoError, Mp4Check
from tests.mp4s import MAKES, box, box64, boxes, encode

MEBI = 1024 * 1024
FTYP = box(b"ftyp", b"isom\0\0\2\0")
TRACK = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", box(b"stsd")))))
MOOV = box(b"moov", box(b"mvhd") + TRACK)
MDAT = box(b"mdat", b"picture")


def verdict(data: bytes, chunk: int = MEBI) -> str:
    check = Mp4Check()
    try:
        for at in range(0, len(data), chunk):
            check.feed(data[at : at + chunk])
        check.finish()
    except BrokenVideoError as error:
        return str(error)
    return "whole"


def refused_after(data: bytes) -> int:
    """Return how many bytes were taken before the refusal."""
    check = Mp4Check()
    for at in range(len(data)):
        try:
            check.feed(data[at : at + 1])
        except BrokenVideoError:
            return at + 1
    raise AssertionError("all were taken")


def with_tail_box_to_the_end(video: bytes) -> bytes:
    """Write the size of the last box as 0: it runs to the end of the file."""
    start = boxes(video)[-1][1]
    return video[:start] + bytes(4) + video[start + 4 :]


def with_64_bit_mdat(video: bytes) -> bytes:
    _, start, end = next(each for each in boxes(video) if each[0] == b"mdat")
    return video[:start] + box64(b"mdat", video[start + 8 : end]) + video[end:]


SPECIMENS = {
    **{make: encode(make) for make in MAKES},
    "silent": encode("faststart", sound=False),
    "64-bit mdat": with_64_bit_mdat(encode("moov_last")),
    "mdat to the end": with_tail_box_to_the_end(encode("faststart")),
    "moov to the end": with_tail_box_to_the_end(encode("moov_last")),
    "by hand": FTYP + MOOV + MDAT,
}


def unnoticeable_cuts(name: str, video: bytes) -> set[int]:
    """Return the lengths that leave something whole in itself: only Content-Length tells these."""
    if name == "mdat to the end":
        return set(range(boxes(video[:-1])[-1][1] + 8, len(video)))
    if name == "fragmented":  # at the end of a fragment
        return {end for kind, _, end in boxes(video) if kind == b"mdat"}
    return set()


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_real_video_is_whole(name: str) -> None:
    assert verdict(SPECIMENS[name]) == "whole"


@pytest.mark.parametrize("name", [name for name in SPECIMENS if " to the end" not in name])
def test_a_cut_at_any_byte_is_noticed(name: str) -> None:
    video = SPECIMENS[name]
    missed = {length for length in range(len(video)) if verdict(video[:length]) == "whole"}
    assert missed == unnoticeable_cuts(name, video)


@pytest.mark.parametrize("name", [name for name in SPECIMENS if " to the end" in name])
def test_a_cut_before_a_box_that_runs_to_the_end_is_noticed(name: str) -> None:
    video = SPECIMENS[name]
    kinds = [kind for kind in (b"mdat", b"moov") if name.startswith(kind.decode())]
    last = video.index(kinds[0]) + 4
    assert [length for length in range(last) if verdict(video[:length]) == "whole"] == []
    if kinds[0] == b"mdat":  # from here on its size alone could tell
        assert verdict(video[:last]) == "whole"
    else:
        unseen = [length for length in range(last, len(video)) if verdict(video[:length]) == "whole"]
        assert len(unseen) <= 2, unseen  # where a box ends after which nothing has to come


@pytest.mark.parametrize("chunk", [1, 7, 8, 15, 16, 17, MEBI])
@pytest.mark.parametrize("name", SPECIMENS)
def test_the_size_of_chunks_changes_nothing(name: str, chunk: int) -> None:
    video = SPECIMENS[name]
    for data in (video, video[:-1], video[: len(video) // 2], video[4:], video[:8], b""):
        assert verdict(data, chunk) == verdict(data)


@settings(max_examples=150, deadline=None)
@given(name=st.sampled_from(sorted(SPECIMENS)), data=st.data())
def test_no_way_of_chunking_changes_the_verdict(name: str, data: st.DataObject) -> None:
    video = SPECIMENS[name][: data.draw(st.integers(0, 3000), "cut")]
    cuts = sorted(data.draw(st.lists(st.integers(0, len(video)), max_size=12), "chunks at"))
    check, outcome = Mp4Check(), "whole"
    try:
        for start, end in zip([0, *cuts], [*cuts, len(video)], strict=True):
            check.feed(video[start:end])
        check.finish()
    except BrokenVideoError as error:
        outcome = str(error)
    assert outcome == verdict(video)


@pytest.mark.parametrize("name", ["faststart", "moov_last", "silent", "64-bit mdat", "by hand"])
def test_a_garbled_size_or_type_of_any_box_that_matters_is_noticed(name: str) -> None:
    video = SPECIMENS[name]
    matter = (b"ftyp", b"moov", b"mdat", b"mvhd", b"trak", b"mdia", b"minf", b"stbl")
    places = [place for kind in matter for place in range(video.index(kind) - 4, video.index(kind) + 4)]
    for place in places:
        garbled = bytearray(video)
        garbled[place] ^= 0x80
        assert verdict(bytes(garbled)) != "whole", f"bit 7 of byte {place}, in {video[place - 8 : place + 8]!r}"


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(SPECIMENS["by hand"]) - 1), value=st.integers(0, 255))
def test_a_garbled_byte_never_ends_in_another_error(place: int, value: int) -> None:
    garbled = bytearray(SPECIMENS["by hand"])
    garbled[place] = value
    assert verdict(bytes(garbled))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_no_video(noise: bytes) -> None:
    assert verdict(noise) != "whole"
    assert verdict(FTYP + noise) != "whole"


def test_zeros_in_the_place_of_a_box_are_noticed() -> None:
    assert "where a box should begin" in verdict(FTYP + MOOV + MDAT + bytes(4096))


@pytest.mark.parametrize(
    ("body", "said", "taken"),
    [
        (b"<!DOCTYPE html><html><body>502 Bad Gateway", "this is no MP4: it begins with b'<!DOCTYP'", 8),
        (b'{"error": "not found", "code": 404}', "this is no MP4: it begins with b'{\"error\"'", 8),
        (b"\x89PNG\r\n\x1a\n" + bytes(30), "this is no MP4: it begins with", 8),
        (b"RIFF\x10\x20\0\0WEBPVP8 ", "this is no MP4: it begins with", 8),
        (MOOV + FTYP + MDAT, "this is no MP4: it begins with", 8),
        (FTYP + (7).to_bytes(4, "big") + b"moov" + bytes(40), "impossible size", len(FTYP) + 8),
        (FTYP + b"\0\0\0\1mdat" + (15).to_bytes(8, "big") + bytes(9), "impossible size", len(FTYP) + 16),
    ],
)
def test_what_is_no_mp4_is_refused_as_soon_as_it_shows(body: bytes, said: str, taken: int) -> None:
    assert said in verdict(body)
    assert refused_after(body) == taken


@pytest.mark.parametrize(
    ("body", "said"),
    [
        (b"", "nothing came"),
        (b"{}", "this is no MP4: it is b'{}'"),
        (b"\0\0\0\1ftyp", "this is no MP4"),
        (FTYP[:-1], "the video is cut off"),
        (FTYP, "the video has no moov box; it has ftyp"),
        (FTYP + MDAT, "the video has no moov box; it has ftyp, mdat"),
        (FTYP + MOOV, "the video has no mdat box; it has ftyp, moov"),
        (FTYP + MDAT + MDAT, "the video has no moov box; it has ftyp, mdat"),
        (FTYP + MOOV + MDAT + box(b"moof"), "the video is cut off"),
        (FTYP + MOOV + MDAT + b"\0", "the video is cut off"),
        (FTYP + box(b"moov") + MDAT, "the video's index (moov) is damaged: it has no mvhd box"),
        (FTYP + box(b"moov", TRACK) + MDAT, "the video's index (moov) is damaged: it has no mvhd box"),
        (FTYP + box(b"moov", box(b"mvhd")) + MDAT, "the video's index (moov) is damaged: it has no trak box"),
        (FTYP + box(b"moov", box(b"mvhd") + TRACK + box(b"trak")) + MDAT, "it has no mdia box"),
        (FTYP + box(b"moov", box(b"mvhd") + TRACK + b"\0") + MDAT, "the video's index (moov) is damaged"),
        (FTYP + box(b"moov", box(b"mvhd") + TRACK + box(b"\0\0\0\0")) + MDAT, "the video's index (moov) is damaged"),
    ],
)
def test_the_error_says_what_is_wrong(body: bytes, said: str) -> None:
    assert said in verdict(body)


def test_boxes_nested_a_million_deep_are_no_trap() -> None:
    nest = b"".join((8 * (left + 1)).to_bytes(4, "big") + b"trak" for left in reversed(range(100_000)))
    assert "it has no mdia box" in verdict(FTYP + box(b"moov", box(b"mvhd") + nest) + MDAT)


def test_after_a_box_that_runs_to_the_end_anything_may_come() -> None:
    assert verdict(FTYP + MOOV + bytes(4) + b"mdat" + b"<html>" * 1000, 7) == "whole"


def test_sizes_of_64_bits_in_the_index_are_read() -> None:
    stbl = box64(b"stbl", box64(b"stsd"))
    index = box64(b"mvhd") + box64(b"trak", box64(b"mdia", box64(b"minf", stbl)))
    assert verdict(FTYP + box64(b"moov", index) + MDAT) == "whole"
    assert "damaged" in verdict(FTYP + box64(b"moov", index.replace(stbl, stbl[:-1])) + MDAT)
    assert "damaged" in verdict(FTYP + box64(b"moov", index + b"\0\0\0\1free" + (15).to_bytes(8, "big")) + MDAT)
    assert "damaged" in verdict(FTYP + box64(b"moov", index + b"\0\0\0\1free") + MDAT)


def test_an_index_that_runs_to_the_end_is_looked_into() -> None:
    begin, index = FTYP + MDAT, MOOV[8:]
    assert verdict(begin + b"\0\0\0\0moov" + index, 7) == "whole"
    assert "damaged" in verdict(begin + b"\0\0\0\0moov" + b"junk")
    assert all("damaged" in verdict(begin + b"\0\0\0\0moov" + index[:end]) for end in range(len(index)))


def test_200_mib_of_picture_cost_under_half_a_second_and_no_memory() -> None:
    chunk, check = bytes(MEBI), Mp4Check()
    check.feed(FTYP + MOOV + b"\0\0\0\1mdat" + (16 + 200 * MEBI).to_bytes(8, "big"))
    tracemalloc.start()
    started = time.process_time()
    for _ in range(200):
        check.feed(chunk)
    seconds = time.process_time() - started
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    check.finish()
    assert seconds < 0.5
    assert peak < MEBI


def test_an_index_of_more_than_64_mib_is_only_measured() -> None:
    chunk, check = bytes(MEBI), Mp4Check()
    check.feed(FTYP + (8 + 65 * MEBI).to_bytes(4, "big") + b"moov")
    tracemalloc.start()
    for _ in range(65):
        check.feed(chunk)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    with pytest.raises(BrokenVideoError, match="no mdat box"):
        check.finish()
    check.feed(MDAT)
    check.finish()
    assert peak < MEBI
