"""What is in an MP4, found by decoding it."""

from __future__ import annotations

import io
from typing import Any

import av

SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}


def probe(data: bytes) -> dict[str, Any]:
    """Decode every picture and say what was found, in the words of an order."""
    with av.open(io.BytesIO(data)) as film:
        picture = film.streams.video[0]
        frames = sum(1 for _ in film.decode(picture))
        assert picture.average_rate
        return {
            "codecs": {stream.codec_context.name for stream in (*film.streams.video, *film.streams.audio)},
            "size": (picture.width, picture.height),
            "seconds": round(float(frames / picture.average_rate), 1),
        }


def ordered(job: dict[str, Any]) -> dict[str, Any]:
    """Say what `probe` must find for a job of the ledger."""
    size = SIZES[job["resolution"]]
    return {
        "codecs": {"h264", "aac"} if job["generate_audio"] else {"h264"},
        "size": size[::-1] if job["aspect_ratio"] == "9:16" else size,
        "seconds": float(job["duration_seconds"]),
    }
