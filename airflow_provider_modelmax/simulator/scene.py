"""What a video looks and sounds like, as data. No I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .orders import Order


@dataclass(frozen=True)
class Scene:
    """Everything that decides what a video looks and sounds like, and so its key in the cache.

    :param prompt: Drawn into the picture.
    :param negative_prompt: Drawn below it, in small letters.
    :param size: Width and height in pixels.
    :param seconds: Length of the video.
    :param audio: Whether it has an audio track.
    :param sample: The index of the sample; each has its own color and pitch.
    :param label: Drawn below the prompt.
    :param image: The bytes of the first frame, if the request has one.
    """

    prompt: str
    negative_prompt: str
    size: tuple[int, int]
    seconds: int
    audio: bool
    sample: int
    label: str
    image: bytes | None = None


def scenes_of(order: Order, *, plain: bool = False) -> list[Scene]:
    """Return one scene per sample.

    :param plain: Do not draw the prompts, so that many jobs share one encoding.
    """
    width, height = order.size
    return [
        Scene(
            prompt="ModelMax simulator" if plain else order.prompt,
            negative_prompt="" if plain else order.negative_prompt,
            size=order.size,
            seconds=order.duration_seconds,
            audio=order.generate_audio,
            sample=sample,
            label=f"{order.model}  ·  {width}x{height}  ·  {order.duration_seconds} s",
            image=order.image,
        )
        for sample in range(order.sample_count)
    ]
