"""Real MP4s of every make, encoded by PyAV, and boxes by hand."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import av

MAKES = {
    "faststart": {"movflags": "faststart"},
    "moov_last": {},
    "fragmented": {"movflags": "frag_keyframe+empty_moov"},
}


@functools.cache
def encode(make: str, *, sound: bool = True) -> bytes:
    """Encode a second of a small picture that changes."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "video.mp4")
        with av.open(str(file), "w", options={**MAKES[make], "fflags": "+bitexact"}) as out:
            video = out.add_stream("libx264", rate=8, options={"preset": "ultrafast", "crf": "51", "g": "4"})
            video.width, video.height, video.pix_fmt = 32, 32, "yuv420p"
            audio = out.add_stream("aac", rate=8000, layout="mono") if sound else None
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
                out.mux(audio.encode(silence))
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
