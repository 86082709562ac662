"""The settings, which can be changed while the service runs. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from .readers import Reader, Span, count, flag, number, some_text, span_of_seconds, texts

DEFAULT_KEY = "sk-simulator"
MIN_FILLER = 16  # bytes: the header of a box


def filler(name: str, value: Any) -> int:
    """Read the size in bytes of a `free` box; 0 for none."""
    size = count(name, value)
    if 0 < size < MIN_FILLER:
        raise ValueError(f"{name} must be 0 or at least {MIN_FILLER}")
    return size


def setting(default: Any, about: str, read: Reader) -> Any:
    """Return a dataclass field.

    :param default: The default.
    :param about: A description, for the command line and the reference.
    :param read: Checks and converts a value.
    """
    return field(default=default, metadata={"about": about, "read": read})


@dataclass
class Settings:
    """Settings. A change is effective from the next call on; an invalid value raises `ValueError`."""

    key: str = setting(DEFAULT_KEY, "the key it accepts", some_text)
    balance: float = setting(100_000.0, "video-seconds until 402; every bill takes its own off", number)
    queue_seconds: Span = setting("1-3", "time IN_QUEUE, 2 or 1-3", span_of_seconds)  # noqa: RUF009 -- is a field
    run_seconds: Span = setting("5-12", "time IN_PROGRESS, 2 or 1-3", span_of_seconds)  # noqa: RUF009 -- is a field
    extra_models: tuple[str, ...] = setting((), "more model ids", texts)
    filler_bytes: int = setting(0, "make each MP4 so many bytes bigger, with a free box", filler)
    plain_videos: bool = setting(
        default=False, about="draw no prompts: many jobs share one encoding (load tests)", read=flag
    )
    ranges: bool = setting(default=True, about="honour the Range headers of content calls", read=flag)

    def __setattr__(self, name: str, value: Any) -> None:
        """Check the value and set it."""
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"no such setting: {name}")
        super().__setattr__(name, self.__dataclass_fields__[name].metadata["read"](name, value))

    def update(self, changes: dict[str, Any]) -> None:
        """Set several fields; if one is invalid, none."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        self.__dict__.update(replace(self, **changes).__dict__)

    def public(self) -> dict[str, object]:
        """Return all settings but the key."""
        return {name: value for name, value in self.__dict__.items() if name != "key"}


# `help()` and the reference show the descriptions of the fields.
Settings.__doc__ = "\n".join(
    [f"{Settings.__doc__}\n", *(f":param {each.name}: {each.metadata['about']}" for each in fields(Settings))]
)
