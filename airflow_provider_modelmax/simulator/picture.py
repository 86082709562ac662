"""Draws the frames: a sweeping gradient (or the given image), a ball, the prompt, a timecode. No I/O."""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from .render import Scene

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
WHITE, SHADE = (255, 255, 255), (0, 0, 0, 150)
ZOOM = 0.08
MOST_LINES = 8

# A frame is three planes of 4:2:0, in the narrow range of video: luma, and two of colour at half the size.
Planes = tuple[Image.Image, ...]
SCALES = (1, 0.5, 0.5)
LUMA = [16 + value * 219 // 255 for value in range(256)]
CHROMA = [128 + (value - 128) * 224 // 255 for value in range(256)]
BALL = (195, 56, 157)  # yellow


@dataclass(frozen=True)
class Easel:
    """All that stays the same from frame to frame."""

    width: int
    height: int
    back: Planes
    text: Image.Image | None  # None when it is part of the back already
    font: Font


def prepare(scene: Scene) -> Easel:
    """Draw what every frame shares."""
    width, height = scene.size
    font, text = _font(min(scene.size) // 22), _caption(scene)
    if scene.image is not None:
        return Easel(width, height, to_planes(_letterbox(scene.image, scene.size)), text, font)
    back = _gradient(scene)  # stands still: a sliding one costs the encoder five times as much
    back.paste(text, ((width - text.width) // 2, height // 14), text)
    return Easel(width, height, to_planes(back), None, font)


def draw_frame(easel: Easel, number: int, total: int, fps: int) -> Planes:
    """Draw one frame."""
    if easel.text is None:
        frame = tuple(plane.copy() for plane in easel.back)
    else:
        frame = _zoomed(easel, easel.text, number / total)
    _ball(frame, easel, number / fps)
    draw = ImageDraw.Draw(frame[0])
    clock = f"{number // fps:02d}:{number % fps:02d}   frame {number + 1}/{total}"
    draw.text((easel.width // 30, easel.height - easel.height // 13), clock, LUMA[255], font=easel.font)
    draw.rectangle((0, easel.height - 6, easel.width * (number + 1) // total, easel.height), fill=LUMA[255])
    return frame


def to_planes(image: Image.Image) -> Planes:
    """Turn RGB into what the encoder eats, once and not for each frame."""
    luma, *colours = image.convert("YCbCr").split()
    half = (image.width // 2, image.height // 2)
    return luma.point(LUMA), *(plane.resize(half, Image.Resampling.BOX).point(CHROMA) for plane in colours)


def _zoomed(easel: Easel, text: Image.Image, done: float) -> Planes:
    """Look a little closer at the image, and a little to the right, with each frame."""
    zoom = ZOOM * done
    frame = tuple(
        plane.resize(
            plane.size,
            Image.Resampling.BILINEAR,
            box=(
                plane.width * zoom * 0.75,
                plane.height * zoom / 2,
                plane.width * (1 - zoom / 4),
                plane.height * (1 - zoom / 2),
            ),
        )
        for plane in easel.back
    )
    place = ((easel.width - text.width) // 2, easel.height - text.height - easel.height // 9)
    frame[0].paste(text.convert("L"), place, text)
    return frame


def _ball(frame: Planes, easel: Easel, seconds: float) -> None:
    radius = min(easel.width, easel.height) // 18
    x = radius + _bounce(seconds * 0.37) * (easel.width - 2 * radius)
    y = easel.height - radius - abs(math.sin(seconds * 2.6)) * easel.height * 0.32 - easel.height // 9
    for plane, scale, colour in zip(frame, SCALES, BALL, strict=True):
        centre, size = (x * scale, y * scale), radius * scale
        box = (centre[0] - size, centre[1] - size, centre[0] + size, centre[1] + size)
        ImageDraw.Draw(plane).ellipse(box, fill=colour)


def _bounce(way: float) -> float:
    return 1 - abs(way % 2 - 1)


def _gradient(scene: Scene) -> Image.Image:
    """Blend two colours that come from the prompt and the sample."""
    seed = hashlib.sha256(f"{scene.prompt}/{scene.sample}".encode()).digest()
    hue = seed[0] * 360 // 256
    dark, light = f"hsl({hue}, 55%, 14%)", f"hsl({(hue + 30 + seed[1] // 4) % 360}, 45%, 42%)"
    shade = Image.linear_gradient("L").rotate(30, Image.Resampling.BILINEAR).crop((48, 48, 208, 208))
    return ImageOps.colorize(shade, dark, light).resize(scene.size, Image.Resampling.BILINEAR)


def _letterbox(image: bytes, size: tuple[int, int]) -> Image.Image:
    with Image.open(io.BytesIO(image)) as opened:
        upright = ImageOps.exif_transpose(opened).convert("RGB")
    return ImageOps.pad(upright, size, Image.Resampling.BILINEAR, color=(12, 12, 16))


def _caption(scene: Scene) -> Image.Image:
    """Write the prompt on a shade, and below it, small, what it was asked to avoid."""
    width, height = scene.size
    side = min(width, height)
    scale = 14 if scene.image is None else 24
    big, small, margin = _font(side // scale), _font(side // 32), side // 40
    lines = [(line, big) for line in _wrap(scene.prompt, big, int(width * 0.86))]
    note = f"not: {scene.negative_prompt}" if scene.negative_prompt else ""
    lines += [(line, small) for line in _wrap(note, small, int(width * 0.86))[:2]]
    lines.append((f"sample {scene.sample}  ·  {scene.label}", small))
    heights = [_line_height(font) for _, font in lines]
    panel = Image.new("RGBA", (int(width * 0.92), sum(heights) + 2 * margin), SHADE)
    draw, y = ImageDraw.Draw(panel), margin
    for (line, font), step in zip(lines, heights, strict=True):
        draw.text((margin, y), line, (*WHITE, 255 if font is big else 200), font=font)
        y += step
    return panel


def _wrap(text: str, font: Font, width: int) -> list[str]:
    lines: list[str] = []
    for word in text.split():
        longer = f"{lines[-1]} {word}" if lines else word
        if lines and font.getlength(longer) <= width:
            lines[-1] = longer
        else:
            lines.append(_fit(word, font, width))
    return lines if len(lines) <= MOST_LINES else [*lines[: MOST_LINES - 1], "…"]


def _fit(word: str, font: Font, width: int) -> str:
    while len(word) > 1 and font.getlength(word) > width:
        word = word[: len(word) * 3 // 4]
    return word


def _line_height(font: Font) -> int:
    box = font.getbbox("Ágy")
    return int(box[3] * 1.25)


@lru_cache(maxsize=16)
def _font(size: int) -> Font:
    return ImageFont.load_default(size=max(size, 10))
