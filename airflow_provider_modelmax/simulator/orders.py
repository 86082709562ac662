"""Reads submits, as strictly as the service's documentation specifies. No I/O."""

from __future__ import annotations

import base64
import binascii
import io
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from PIL import Image, features

from .readers import is_unicode

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

MODELS = ("veo-3.1", "veo-3.1-fast", "veo-3", "veo-3-fast", "veo-2")
SIZES = {"720p": (1280, 720), "1080p": (1920, 1080), "4k": (3840, 2160)}
IMAGE_FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", *(["AVIF"] if features.check("avif") else []))


class RefusedError(Exception):
    """The submit is refused with 400. The text is the message of the answer."""


@dataclass(frozen=True)
class Order:
    """A valid submit, with defaults."""

    model: str
    prompt: str
    aspect_ratio: str = "16:9"
    resolution: str = "720p"
    duration_seconds: int = 8
    generate_audio: bool = True
    sample_count: int = 1
    negative_prompt: str = ""
    image: bytes | None = None

    @property
    def size(self) -> tuple[int, int]:
        """Width and height in pixels."""
        width, height = SIZES[self.resolution]
        return (height, width) if self.aspect_ratio == "9:16" else (width, height)

    @property
    def usage(self) -> dict[str, object]:
        """What is billed. video_seconds is assumed to be the sum over all samples."""
        return {
            "video_seconds": self.duration_seconds * self.sample_count,
            "video_resolution": self.resolution,
            "video_has_audio": self.generate_audio,
        }

    def shown(self) -> dict[str, object]:
        """Return the request as JSON, without the bytes of the image."""
        return {**self.__dict__, "image": None if self.image is None else f"{len(self.image)} bytes"}


def read_order(model: str, content_type: str, body: bytes, extra_models: Iterable[str] = ()) -> Order:
    """Read a submit.

    :raises RefusedError: if the service would refuse it
    """
    if content_type.partition(";")[0].strip().lower() != "application/json":
        raise RefusedError("Content-Type must be application/json")
    if model not in MODELS and model not in extra_models:
        raise RefusedError(f"{model} is not a video model")
    value = _object(body)
    return Order(model, _prompt(value), **_parameters(value.get("parameters", {})))


def _object(body: bytes) -> dict[str, Any]:
    try:
        value = json.loads(body)
    except (ValueError, RecursionError):
        raise RefusedError("the body is not valid JSON") from None
    if not isinstance(value, dict):
        raise RefusedError("the body must be a JSON object")
    return value


def _prompt(value: dict[str, Any]) -> str:
    if "prompt" not in value:
        raise RefusedError("prompt is required")
    prompt = value["prompt"]
    if not isinstance(prompt, str) or not prompt.strip():
        raise RefusedError("prompt must be text that is not empty")
    return _text("prompt", prompt)


def _parameters(given: object) -> dict[str, Any]:
    if not isinstance(given, dict):
        raise RefusedError("parameters must be an object")
    # Unknown names are ignored: the service may add some.
    return {name: rule(name, given[name]) for name, rule in RULES.items() if name in given}


def _one_of(*allowed: str) -> Callable[[str, object], object]:
    def check(name: str, value: object) -> object:
        if not isinstance(value, str) or value not in allowed:
            raise RefusedError(f"{name} must be one of {', '.join(allowed)}")
        return value

    return check


def _whole(low: int, high: int) -> Callable[[str, object], object]:
    def check(name: str, value: object) -> object:
        if type(value) is not int or not low <= value <= high:  # a bool is not a number here
            raise RefusedError(f"{name} must be an integer from {low} to {high}")
        return value

    return check


def _flag(name: str, value: object) -> bool:
    if not isinstance(value, bool):
        raise RefusedError(f"{name} must be true or false")
    return value


def _text(name: str, value: object) -> str:
    if not isinstance(value, str):
        raise RefusedError(f"{name} must be text")
    if not is_unicode(value):
        raise RefusedError(f"{name} must be text: half of a surrogate pair is none")
    return value


def _image(name: str, value: object) -> bytes:
    if not isinstance(value, str) or not value:
        raise RefusedError(f"{name} must be a Base64 string")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError):
        raise RefusedError(f"{name} is not valid Base64") from None
    try:
        with Image.open(io.BytesIO(data), formats=IMAGE_FORMATS) as picture:
            picture.load()
    except Exception:  # Pillow raises many types for invalid bytes
        raise RefusedError(f"{name} is not an image") from None
    return data


# The minimum duration is not specified: one second is assumed.
RULES: dict[str, Callable[[str, object], object]] = {
    "aspect_ratio": _one_of("16:9", "9:16"),
    "resolution": _one_of(*SIZES),
    "duration_seconds": _whole(1, 8),
    "generate_audio": _flag,
    "sample_count": _whole(1, 4),
    "negative_prompt": _text,
    "image": _image,
}
