"""Draws the frames of a scene: a gradient or the given image, a ball, the prompt and a timecode. No I/O."""

from __future__ import annotations

import hashlib
import io
import math
from functools import lru_cache
from typing import TYPE_CHECKING

from PIL import Image, ImageDraw, ImageFont, ImageOps

if TYPE_CHECKING:
    from .scene import Scene

Font = ImageFont.FreeTypeFont | ImageFont.ImageFont
WHITE, SHADE = (255, 255, 255), (0, 0, 0, 150)
ZOOM = 0.08
MAX_LINES = 8

# A frame is three planes of YUV 4:2:0 in limited range: luma, and two chroma planes of half the size.
Planes = tuple[Image.Image, ...]
SCALES = (1, 0.5, 0.5)
LUMA = [16 + value * 219 // 255 for value in range(256)]
CHROMA = [128 + (value - 128) * 224 // 255 for value in range(256)]
BALL = (195, 56, 157)  # yellow


class Painter:
    """Draws the frames of one scene; what is the same in every frame is drawn once."""

    def __init__(self, scene: Scene) -> None:
        self.width, self.height = scene.size
        self.font = _font(min(scene.size) // 22)
        caption = _caption(scene)
        self.caption: Image.Image | None
        """Pasted into every frame; None if it is part of the background."""
        if scene.image is not None:
            background, self.caption = _letterbox(scene.image, scene.size), caption
        else:
            background, self.caption = (
                _gradient(scene),
                None,
            )  # does not move: that would take the encoder five times as long
            background.paste(caption, ((self.width - caption.width) // 2, self.height // 14), caption)
        self.background = to_planes(background)

    def draw(self, number: int, total: int, fps: int) -> Planes:
        """Draw frame `number` of `total`."""
        if self.caption is None:
            frame = tuple(plane.copy() for plane in self.background)
        else:
            frame = self._zoomed(self.caption, number / total)
        self._draw_ball(frame, number / fps)
        draw = ImageDraw.Draw(frame[0])
        clock = f"{number // fps:02d}:{number % fps:02d}   frame {number + 1}/{total}"
        draw.text((self.width // 30, self.height - self.height // 13), clock, LUMA[255], font=self.font)
        draw.rectangle((0, self.height - 6, self.width * (number + 1) // total, self.height), fill=LUMA[255])
        return frame

    def _zoomed(self, caption: Image.Image, done: float) -> Planes:
        """Zoom into the image, a little more with each frame, and paste the caption."""
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
            for plane in self.background
        )
        place = ((self.width - caption.width) // 2, self.height - caption.height - self.height // 9)
        frame[0].paste(caption.convert("L"), place, caption)
        return frame

    def _draw_ball(self, frame: Planes, seconds: float) -> None:
        radius = min(self.width, self.height) // 18
        x = radius + _bounce(seconds * 0.37) * (self.width - 2 * radius)
        y = self.height - radius - abs(math.sin(seconds * 2.6)) * self.height * 0.32 - self.height // 9
        for plane, scale, color in zip(frame, SCALES, BALL, strict=True):
            center, size = (x * scale, y * scale), radius * scale
            box = (center[0] - size, center[1] - size, center[0] + size, center[1] + size)
            ImageDraw.Draw(plane).ellipse(box, fill=color)


def to_planes(image: Image.Image) -> Planes:
    """Convert an RGB image to the planes of a video frame."""
    luma, *chroma = image.convert("YCbCr").split()
    half = (image.width // 2, image.height // 2)
    return luma.point(LUMA), *(plane.resize(half, Image.Resampling.BOX).point(CHROMA) for plane in chroma)


def _bounce(distance: float) -> float:
    return 1 - abs(distance % 2 - 1)


def _gradient(scene: Scene) -> Image.Image:
    """Blend two colors that are derived from the prompt and the sample."""
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
    """Draw the prompt on a dark panel, and below it, in small letters, the negative prompt and the label."""
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
        elif len(lines) > MAX_LINES:
            break
        else:
            lines.append(_fit(word, font, width))
    return lines if len(lines) <= MAX_LINES else [*lines[: MAX_LINES - 1], "…"]


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
