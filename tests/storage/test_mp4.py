"""A whole MP4 is told from a broken one, however the bytes come."""

from __future__ import annotations

import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from airflow_provider_modelmax.api import BrokenVideoError
from airflow_provider_modelmax.storage.mp4 import Mp4Check
from tests.mp4s import MAKES, RARE_MAKES, box, box64, boxes, encode, numbers, reboxed, table

MEBI = 1024 * 1024
FTYP = box(b"ftyp", b"isom\0\0\2\0")
TRACK = box(b"trak", box(b"mdia", box(b"minf", box(b"stbl", box(b"stsd")))))
MOOV = box(b"moov", box(b"mvhd") + TRACK)
MDAT = box(b"mdat", b"picture")


def verdict(data: bytes, chunk: int = MEBI, *, size_known: bool = False) -> str:
    check = Mp4Check(size_known=size_known)
    try:
        for at in range(0, len(data), chunk):
            check.feed(data[at : at + chunk])
        check.finish()
    except BrokenVideoError as error:
        return str(error)
    return f"whole, and {check.trailing} bytes" if check.trailing else "whole"


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
    if name == "fragmented":  # at the end of a fragment
        return {end for kind, _, end in boxes(video) if kind == b"mdat"}
    return set()


@pytest.mark.parametrize("name", SPECIMENS)
def test_a_real_video_is_whole(name: str) -> None:
    assert verdict(SPECIMENS[name]) == "whole"


@pytest.mark.parametrize("name", [name for name in SPECIMENS if name != "moov to the end"])
def test_a_cut_at_any_byte_is_noticed(name: str) -> None:
    video = SPECIMENS[name]
    missed = {length for length in range(len(video)) if verdict(video[:length]) == "whole"}
    assert missed == unnoticeable_cuts(name, video)


def test_a_cut_in_an_index_that_runs_to_the_end_is_noticed() -> None:
    video = SPECIMENS["moov to the end"]
    unseen = [length for length in range(len(video)) if verdict(video[:length]) == "whole"]
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
        for known in (False, True):
            said = verdict(bytes(garbled), size_known=known)
            assert "whole" not in said, f"bit 7 of byte {place}, in {video[place - 8 : place + 8]!r}"


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, len(SPECIMENS["by hand"]) - 1), value=st.integers(0, 255))
def test_a_garbled_byte_never_ends_in_another_error(place: int, value: int) -> None:
    garbled = bytearray(SPECIMENS["by hand"])
    garbled[place] = value
    assert verdict(bytes(garbled))


@settings(max_examples=200, deadline=None)
@given(st.binary(max_size=200))
def test_noise_is_no_video(noise: bytes) -> None:
    for known in (False, True):
        assert "whole" not in verdict(noise, size_known=known)
        assert "whole" not in verdict(FTYP + noise, size_known=known)


def test_zeros_in_the_place_of_a_box_are_noticed() -> None:
    assert "where a box should begin" in verdict(FTYP + MOOV + MDAT + bytes(4096))


TAILS = {
    "a line end": b"\n",
    "a zero": b"\0",
    "zeros": bytes(4096),
    "many zeros": bytes(3 * MEBI + 5),
    "spaces": b" " * 100,
    "ID3v1": b"TAG" + b"Song of the fox".ljust(125, b"\0"),
    "ID3v2": b"ID3\x04\0\0\0\0\0\x15" + b"TIT2\0\0\0\x0b\0\0\x03a fox, \xe7\x8b\x90",
    "APE": b"APETAGEX" + bytes(24),
    "Lyrics3": b"LYRICSBEGIN" + b"fox" * 9 + b"LYRICS200",
    "a comment": b"<!-- served by cache 7 -->",
    "a checksum": b"9f86d081884c7d659a2feaa0c55ad015",
    "an impossible size": b"\0\0\0\5abcdef",
    "an impossible size of 64 bits": b"\0\0\0\1abcd\0\0\0\0\0\0\0\5",
    "half a header of 64 bits": b"\0\0\0\1abcd\0\0",
}


@pytest.mark.parametrize("chunk", [1, 7, MEBI])
@pytest.mark.parametrize("tail", TAILS)
@pytest.mark.parametrize("name", ["faststart", "moov_last", "silent", "64-bit mdat", "by hand"])
def test_bytes_after_the_last_box_are_counted_if_the_size_was_announced(name: str, tail: str, chunk: int) -> None:
    video, rest = SPECIMENS[name], TAILS[tail]
    if len(rest) > MEBI and chunk == 1:
        chunk = 4096
    assert verdict(video + rest, chunk, size_known=True) == f"whole, and {len(rest)} bytes"
    assert "whole" not in verdict(video + rest, chunk)


@pytest.mark.parametrize("tail", TAILS)
def test_after_fragments_only_padding_is_accepted_as_nothing_tells_whether_more_should_follow(tail: str) -> None:
    said = verdict(SPECIMENS["fragmented"] + TAILS[tail], size_known=True)
    assert ("whole" in said) == (not TAILS[tail].strip(b"\0\n "))


@pytest.mark.parametrize(
    "tail", [b"\0\0\1\0moof", b"\0\0\1\0mdat1234", b"\0\0\0\x63free", b"\0\0\0\7mdat", b"\0\0\1\0uuid"]
)
@pytest.mark.parametrize("name", ["faststart", "fragmented", "by hand"])
def test_an_incomplete_box_of_an_mp4_is_a_cut_also_if_the_size_was_announced(name: str, tail: bytes) -> None:
    assert "whole" not in verdict(SPECIMENS[name] + tail, size_known=True)


@pytest.mark.parametrize("name", [name for name in SPECIMENS if name != "moov to the end"])
def test_a_cut_that_the_announced_size_agrees_with_is_noticed(name: str) -> None:
    """A service can store half a video, and announce its size."""
    video = SPECIMENS[name]
    missed = {length for length in range(len(video)) if "whole" in verdict(video[:length], size_known=True)}
    beyond = {end for kind, _, end in boxes(video) if kind == b"mdat"} if name == "fragmented" else set()
    assert {length for length in missed if not any(end <= length < end + 8 for end in beyond)} == set()


def test_other_bytes_before_the_media_that_the_index_names_are_damage() -> None:
    video = SPECIMENS["faststart"]
    start = next(start for kind, start, _ in boxes(video) if kind == b"mdat")
    for junk in (bytes(16), b"\n", b"TAG" + bytes(125)):
        assert "whole" not in verdict(video[:start] + junk + video[start:], size_known=True)


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


def test_after_media_that_run_to_the_end_anything_may_come() -> None:
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


@pytest.mark.parametrize("sound", [True, False])
@pytest.mark.parametrize("make", RARE_MAKES)
def test_a_real_video_of_a_rare_make_is_whole(make: str, sound: bool) -> None:
    assert verdict(encode(make, sound=sound)) == "whole"
    assert verdict(encode(make, sound=sound)[:-1]) != "whole"


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_mulaw", "adpcm_ima_qt", "alac"])
def test_a_real_video_whose_sound_has_samples_of_one_size_is_whole(codec: str) -> None:
    assert verdict(encode("moov_last", ending="mov", codec=codec)) == "whole"


@pytest.mark.parametrize("name", ["faststart", "moov_last", "silent"])
def test_an_index_that_points_beyond_the_end_of_the_media_is_damage(name: str) -> None:
    video = SPECIMENS[name]
    _, start, end = next(each for each in boxes(video) if each[0] == b"mdat")
    for lost in range(1, end - start - 8):
        shorter = video[:start] + box(b"mdat", video[start + 8 : end - lost])
        if name == "moov_last":
            shorter += video[end:]
        assert "cut off: its index (moov) names media" in verdict(shorter), lost


@pytest.mark.parametrize("first", ["faststart", "moov_last", "fragmented", "by hand"])
@pytest.mark.parametrize("second", ["faststart", "moov_last", "by hand"])
def test_two_videos_in_one_are_refused_as_soon_as_the_second_begins(first: str, second: str) -> None:
    both = SPECIMENS[first] + SPECIMENS[second]
    assert "a second ftyp box" in verdict(both)
    assert refused_after(both) == len(SPECIMENS[first]) + 8


def test_a_second_index_is_refused() -> None:
    assert "a second moov box" in verdict(FTYP + MOOV + MDAT + MOOV)
    assert "a second moov box" in verdict(FTYP + MOOV + MOOV + MDAT)


def test_media_that_run_to_the_end_may_follow_their_index_or_nothing() -> None:
    video = SPECIMENS["mdat to the end"]
    assert verdict(video + b"more than the index names") == "whole"
    assert "cut off" in verdict(video[:-1])


def test_an_index_whose_offsets_have_64_bits_is_held_against_the_media() -> None:
    def widened(stco: bytes) -> bytes:
        offsets = [int.from_bytes(stco[at : at + 4], "big") for at in range(8, len(stco), 4)]
        return table(b"co64", *offsets, width=8)

    assert verdict(reboxed(SPECIMENS["moov_last"], b"stco", widened)) == "whole"
    assert "cut off" in verdict(reboxed(SPECIMENS["faststart"], b"stco", lambda _: table(b"co64", 1 << 40, width=8)))


def test_media_in_several_boxes_are_counted_together() -> None:
    video = SPECIMENS["moov_last"]
    _, start, end = next(each for each in boxes(video) if each[0] == b"mdat")
    body = video[start + 8 : end]
    second = [0]

    def moved(stco: bytes) -> bytes:
        offsets = [int.from_bytes(stco[at : at + 4], "big") for at in range(8, len(stco), 4)]
        second[0] = second[0] or offsets[-1] - start - 8
        return table(b"stco", *(each + 8 * (each >= start + 8 + second[0]) for each in offsets))

    index = reboxed(video[end:], b"stco", moved)
    split = [box(b"mdat", body[: second[0]]), box(b"mdat", body[second[0] :]), box(b"mdat")]
    assert verdict(video[:start] + split[0] + split[1] + index) == "whole"
    assert verdict(video[:start] + split[0] + split[1] + index + split[2]) == "whole"
    assert "cut off" in verdict(video[:start] + split[0] + index)


def video_of(*tables: bytes, media: bytes = bytes(100), dref: bytes = b"") -> bytes:
    """Return an MP4 by hand whose media begin at byte 24."""
    dinf = box(b"dinf", box(b"dref", numbers(0, 1) + dref)) if dref else b""
    minf = box(b"minf", dinf + box(b"stbl", b"".join(tables)))
    return FTYP + box(b"mdat", media) + box(b"moov", box(b"mvhd") + box(b"trak", box(b"mdia", minf)))


def sized(*sizes: int) -> bytes:
    return box(b"stsz", numbers(0, 0, len(sizes), *sizes))


def all_of(size: int, count: int) -> bytes:
    return box(b"stsz", numbers(0, size, count))


def narrow(bits: int, count: int, packed: bytes) -> bytes:
    return box(b"stz2", numbers(0, bits, count) + packed)


def chunks_at(*offsets: int) -> bytes:
    return table(b"stco", *offsets)


def runs(*values: int) -> bytes:
    return table(b"stsc", *values, per=3)


ONE_EACH = runs(1, 1, 1)
MANY = numbers((1 << 32) - 1)


@pytest.mark.parametrize(
    "tables",
    [
        (),
        (sized(), runs(), chunks_at()),
        (sized(), chunks_at(24)),
        (sized(40, 60), ONE_EACH, chunks_at(24, 64)),
        (sized(60, 40), ONE_EACH, chunks_at(64, 24)),
        (sized(100),),
        (chunks_at(24, 123),),
        (ONE_EACH, chunks_at(24, 123)),
        (sized(0, 0), ONE_EACH, chunks_at(24, 124)),
        (all_of(10, 10), runs(1, 10, 1), chunks_at(24)),
        (all_of(10, 10), runs(1, 2, 1, 3, 3, 1), chunks_at(24, 44, 64, 94)),
        (all_of(10, 10), runs(1, 6, 1), chunks_at(24, 84)),
        (all_of(10, 5), runs(2, 1, 1), chunks_at(124, 34)),
        (all_of(1, 1_000_000), runs(1, 1_000_000, 1), chunks_at(24)),
        (narrow(4, 7, b"\xff\xff\xff\xaf"), runs(1, 7, 1), chunks_at(24)),
        (narrow(8, 2, b"\x32\x32"), ONE_EACH, chunks_at(24, 74)),
        (narrow(16, 1, b"\0\x64"), ONE_EACH, chunks_at(24)),
        (sized(100, 100), ONE_EACH, chunks_at(24, 24)),
        (sized(60, 0, 40), ONE_EACH, chunks_at(24, 84, 84)),
        (sized(100) + box(b"free"), ONE_EACH, chunks_at(24)),
        (box(b"stsz", numbers(0, 0, 1, 100, 7, 7)), ONE_EACH, chunks_at(24)),
    ],
)
def test_an_index_that_names_what_is_there_is_well(tables: tuple[bytes, ...]) -> None:
    assert verdict(video_of(*tables)) == "whole"


@pytest.mark.parametrize(
    "tables",
    [
        (sized(40, 61), ONE_EACH, chunks_at(24, 64)),
        (sized(61, 39), ONE_EACH, chunks_at(64, 24)),
        (sized(101),),
        (sized(50, 51), chunks_at(24, 74)),
        (sized(60, 0, 41), ONE_EACH, chunks_at(24, 84, 84)),
        (chunks_at(125),),
        (table(b"co64", 24, 1 << 63, width=8),),
        (all_of(10, 10), runs(1, 10, 1), chunks_at(25)),
        (all_of(10, 10), runs(1, 2, 1, 3, 3, 1), chunks_at(24, 44, 64, 95)),
        (all_of(10, 11),),
        (box(b"stsz", numbers(0, 5) + MANY),),
        (narrow(4, 7, b"\xff\xff\xff\xb0"), runs(1, 7, 1), chunks_at(24)),
        (narrow(8, 2, b"\x32\x33"), ONE_EACH, chunks_at(24, 74)),
        (narrow(16, 1, b"\x01\0"),),
    ],
)
def test_an_index_that_names_more_than_is_there_tells_of_a_cut(tables: tuple[bytes, ...]) -> None:
    assert "cut off: its index (moov) names" in verdict(video_of(*tables))


@pytest.mark.parametrize(
    "damaged",
    [
        box(b"stsz"),
        box(b"stsz", numbers(0, 7)),
        box(b"stsz", numbers(0, 0, 2, 7)),
        box(b"stsz", numbers(0, 0) + MANY),
        box(b"stz2", numbers(0, 8, 3) + b"12"),
        box(b"stz2", numbers(0, 4, 3) + b"1"),
        box(b"stz2", numbers(0, 5, 1) + b"1234"),
        box(b"stco", numbers(0, 2, 24)),
        box(b"co64", numbers(0) + MANY + bytes(8)),
        box(b"co64"),
        chunks_at(24) + box(b"stsc", numbers(0, 1, 1, 1)),
        chunks_at(24) + box(b"stsc", numbers(0) + MANY),
    ],
)
def test_a_table_that_says_more_than_it_holds_is_damage(damaged: bytes) -> None:
    assert "the video's index (moov) is damaged: " in verdict(video_of(damaged))


@pytest.mark.parametrize("kind", [b"url ", b"urn ", b"imdt", b"alis"])
def test_media_in_another_file_are_left_out(kind: bytes) -> None:
    tables = (sized(1000), ONE_EACH, chunks_at(5000))
    assert verdict(video_of(*tables, dref=box(kind, numbers(0)))) == "whole"
    here = verdict(video_of(*tables, dref=box(kind, numbers(1))))
    assert here == "whole" if kind == b"imdt" else "cut off" in here


def test_tracks_may_share_their_media() -> None:
    track = video_of(sized(100), ONE_EACH, chunks_at(24))[16 + 108 + 16 :]
    index = box(b"moov", box(b"mvhd") + track + track)
    assert verdict(FTYP + box(b"mdat", bytes(100)) + index) == "whole"
    assert "cut off" in verdict(FTYP + box(b"mdat", bytes(99)) + index)


@settings(max_examples=300, deadline=None)
@given(place=st.integers(0, 2**16), value=st.integers(0, 255), name=st.sampled_from(["faststart", "moov_last"]))
def test_a_garbled_index_never_ends_in_another_error(place: int, value: int, name: str) -> None:
    garbled = bytearray(SPECIMENS[name])
    _, start, end = next(each for each in boxes(bytes(garbled)) if each[0] == b"moov")
    garbled[start + place % (end - start)] = value
    assert verdict(bytes(garbled))


@settings(max_examples=200, deadline=None)
@given(st.lists(st.integers(0, 40), max_size=40), st.integers(1, 9), st.booleans(), st.integers(1, 60))
def test_any_layout_is_whole_and_each_byte_of_it_is_missed(sizes: list[int], each: int, wide: bool, lost: int) -> None:
    offsets = [24 + sum(sizes[:first]) for first in range(0, len(sizes), each)]
    stco = table(b"co64", *offsets, width=8) if wide else chunks_at(*offsets)
    tables = (narrow(8, len(sizes), bytes(sizes)), runs(1, each, 1), stco)
    assert verdict(video_of(*tables, media=bytes(sum(sizes)))) == "whole"
    if lost <= sum(sizes):
        assert "cut off" in verdict(video_of(*tables, media=bytes(sum(sizes) - lost)))


def test_an_index_of_a_million_samples_is_read_at_once_and_in_little_memory() -> None:
    count = 1_000_000
    video = video_of(sized(*([7] * count)), ONE_EACH, chunks_at(*range(24, 24 + 7 * count, 7)), media=bytes(7 * count))
    check = Mp4Check()
    check.feed(video)
    tracemalloc.start()
    check.finish()
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    started = time.process_time()
    check.finish()
    assert time.process_time() - started < 0.5
    assert peak < 32 * MEBI


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


def test_an_index_that_runs_to_the_end_is_given_up_after_64_mib() -> None:
    check = Mp4Check()
    check.feed(FTYP + MDAT + b"\0\0\0\0moov")
    for _ in range(65):
        check.feed(bytes(MEBI))
    check.finish()
