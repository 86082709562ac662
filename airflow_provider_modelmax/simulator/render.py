"""Encodes a scene as an MP4 file: H.264, and AAC unless it is silent. Knows nothing of jobs."""

from __future__ import annotations

import array
import math
from typing import TYPE_CHECKING, Any

import av

from .painter import Painter

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from .painter import Planes
    from .scene import Scene

FPS = 12
RATE = 22_050
PERIODS = (50, 45, 42, 35)  # samples per wave that divide RATE: 441, 490, 525 and 630 Hz
AAC_FRAME = 1024
X264 = {"preset": "ultrafast", "crf": "35", "threads": "1"}


class StoppedError(Exception):
    """The encoding was stopped because the simulator is closing."""


def render(scene: Scene, path: Path, stopped: Callable[[], bool] = lambda: False) -> None:
    """Write the MP4.

    :param stopped: checked before each frame
    :raises StoppedError: if it returns True
    """
    with av.open(str(path), "w", format="mp4", options={"movflags": "+faststart"}) as container:
        container.metadata["comment"] = "made by the ModelMax simulator"
        video = _video_stream(container, scene)
        audio = _audio_stream(container) if scene.audio else None
        painter, total = Painter(scene), scene.seconds * FPS
        for number in range(total):
            if stopped():
                raise StoppedError
            container.mux(video.encode(_frame(painter.draw(number, total, FPS), number)))
        container.mux(video.encode())
        if audio is not None:
            _tone(container, audio, scene)


def _frame(planes: Planes, number: int) -> av.VideoFrame:
    frame = av.VideoFrame(*planes[0].size, "yuv420p")
    for target, drawn in zip(frame.planes, planes, strict=True):
        # PyAV pads the lines of narrow planes.
        padded = drawn if target.line_size == drawn.width else drawn.crop((0, 0, target.line_size, drawn.height))
        target.update(padded.tobytes())
    frame.pts = number
    return frame


def _video_stream(container: Any, scene: Scene) -> Any:
    stream = container.add_stream("libx264", rate=FPS, options=X264)
    stream.width, stream.height = scene.size
    stream.pix_fmt = "yuv420p"
    stream.codec_context.thread_count = 1  # leaves a core for status calls
    return stream


def _audio_stream(container: Any) -> Any:
    stream = container.add_stream("aac", rate=RATE)
    stream.layout = "mono"
    stream.bit_rate = 64_000
    return stream


def _tone(container: Any, stream: Any, scene: Scene) -> None:
    """Add a sine tone; each sample has its own pitch."""
    period = PERIODS[scene.sample % len(PERIODS)]
    wave = array.array("h", (int(6000 * math.sin(2 * math.pi * i / period)) for i in range(period)))
    total = scene.seconds * RATE
    sound = (wave * (total // period + 1)).tobytes()
    for start in range(0, total, AAC_FRAME):
        count = min(AAC_FRAME, total - start)
        frame = av.AudioFrame(format="s16", layout="mono", samples=count)
        frame.sample_rate, frame.pts = RATE, start
        data = sound[start * 2 : (start + count) * 2]
        frame.planes[0].update(data.ljust(frame.planes[0].buffer_size, b"\x00"))
        container.mux(stream.encode(frame))
    container.mux(stream.encode())
