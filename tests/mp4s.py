"""Real MP4s of every make, encoded by PyAV, and boxes by hand."""

from __future__ import annotations

import functools
import tempfile
from collections.abc import Callable
from pathlib import Path

import av

MAKES = {
    "faststart": {"movflags": "faststart"},
    "moov_last": {},
    "fragmented": {"movflags": "frag_keyframe+empty_moov"},
}
RARE_MAKES = {
    "first fragment in moov": {"movflags": "frag_keyframe"},
    "index held back": {"movflags": "frag_keyframe+delay_moov"},
    "a fragment of each track": {"movflags": "frag_keyframe+empty_moov+separate_moof+default_base_moof"},
    "dash": {"movflags": "dash+frag_keyframe+global_sidx"},
    "cmaf": {"movflags": "cmaf+frag_keyframe"},
    "fragmented, then not": {"movflags": "hybrid_fragmented"},
    "room kept for the index": {"moov_size": "100000"},
    "streaming hints": {"movflags": "rtphint"},
    "one chunk for each sample": {"chunk_duration": "1", "chunk_size": "1"},
    "negative times": {"movflags": "negative_cts_offsets+use_metadata_tags"},
}


@functools.cache
def encode(make: str, *, sound: bool = True, ending: str = "mp4", codec: str = "aac") -> bytes:
    """Encode a second of a small picture that changes."""
    with tempfile.TemporaryDirectory() as folder:
        file, options = Path(folder, f"video.{ending}"), {**MAKES, **RARE_MAKES}[make]
        with av.open(str(file), "w", options={**options, "fflags": "+bitexact"}) as out:
            video = out.add_stream("libx264", rate=8, options={"preset": "ultrafast", "crf": "51", "g": "4"})
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            audio = out.add_stream(codec, rate=8000, layout="mono") if sound else None
            for number in range(8):
                picture = av.VideoFrame(32, 32, "yuv420p")
                for plane in picture.planes:
                    plane.update(bytes([number * 30]) * plane.buffer_size)
                out.mux(video.encode(picture))
            out.mux(video.encode(None))
            if audio:
                silence = av.AudioFrame(format="fltp", layout="mono", samples=1024)
                silence.sample_rate = 8000
                silence.planes[0].update(bytes(silence.planes[0].buffer_size))
                for fitting in av.AudioResampler(audio.format, "mono", 8000).resample(silence):
                    out.mux(audio.encode(fitting))
                out.mux(audio.encode(None))
        return file.read_bytes()


def boxes(video: bytes) -> list[tuple[bytes, int, int]]:
    """Return kind, start and end of each box at the top."""
    found, at = [], 0
    while at < len(video):
        size = int.from_bytes(video[at : at + 4], "big")
        found.append((video[at + 4 : at + 8], at, at + size))
        at += size
    return found


def box(kind: bytes, body: bytes = b"") -> bytes:
    """Write a box."""
    return (8 + len(body)).to_bytes(4, "big") + kind + body


def box64(kind: bytes, body: bytes = b"") -> bytes:
    """Write a box with a 64-bit size."""
    return b"\0\0\0\1" + kind + (16 + len(body)).to_bytes(8, "big") + body


def padded(size: int) -> bytes:
    """Return a whole MP4 of exactly `size` bytes."""
    video = encode("faststart")
    return video + box(b"free", bytes(size - len(video) - 8))


def reboxed(body: bytes, kind: bytes, make: Callable[[bytes], bytes]) -> bytes:
    """Make the boxes of a kind anew, however deep in the index; the sizes around them follow."""
    made = b""
    for each, start, end in boxes(body):
        inner = body[start + 8 : end]
        if each == kind:
            made += make(inner)
        elif each in {b"moov", b"trak", b"mdia", b"minf", b"dinf", b"stbl"}:
            made += box(each, reboxed(inner, kind, make))
        else:
            made += body[start:end]
    return made


def numbers(*values: int, width: int = 4) -> bytes:
    """Write numbers as an index does."""
    return b"".join(value.to_bytes(width, "big") for value in values)


def table(kind: bytes, *values: int, width: int = 4, per: int = 1) -> bytes:
    """Write a table of an index: its version, how many entries it has, and these."""
    return box(kind, numbers(0, len(values) // per) + numbers(*values, width=width))
