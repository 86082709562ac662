"""What can be set while the service runs. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, field, fields, replace
from typing import Any

from .readers import Reader, Span, count, flag, number, some_text, span_of_seconds, texts

DEFAULT_KEY = "sk-simulator"
SMALLEST_FILLER = 16  # the header of a box


def filler(name: str, value: Any) -> int:
    """Read the size of a `free` box, or 0 for none."""
    size = count(name, value)
    if 0 < size < SMALLEST_FILLER:
        raise ValueError(f"{name} must be 0 or at least {SMALLEST_FILLER}")
    return size


def setting(default: Any, about: str, read: Reader) -> Any:
    """Lay out a field: the command line and the reference say what it is `about`, and `read` refuses what cannot work.

    :param default: What it is when nobody sets it.
    :param about: What it does, in a few words.
    :param read: What turns a value as it came into one that works.
    """
    return field(default=default, metadata={"about": about, "read": read})


@dataclass
class Settings:
    """Change a field and the next call sees it; what no call could use is refused at once."""

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
        """Set what is known, read."""
        if name not in self.__dataclass_fields__:
            raise AttributeError(f"no such setting: {name}")
        super().__setattr__(name, self.__dataclass_fields__[name].metadata["read"](name, value))

    def update(self, changes: dict[str, Any]) -> None:
        """Set several fields, all or none."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        self.__dict__.update(replace(self, **changes).__dict__)

    def public(self) -> dict[str, object]:
        """Show everything but the key."""
        return {name: value for name, value in self.__dict__.items() if name != "key"}


# `help()` and the reference show what the fields carry.
Settings.__doc__ = "\n".join(
    [f"{Settings.__doc__}\n", *(f":param {each.name}: {each.metadata['about']}" for each in fields(Settings))]
)
