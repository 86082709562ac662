"""What can be set while the service runs, and how a span of seconds is written. No I/O."""

from __future__ import annotations

from dataclasses import dataclass, fields, replace
from typing import Any

DEFAULT_KEY = "sk-simulator"
SMALLEST_FILLER = 16  # the header of a box

Span = float | str | tuple[float, float] | list[float]


@dataclass
class Settings:
    """Change a field and the next call sees it."""

    key: str = DEFAULT_KEY
    balance: float = 100_000.0  # video-seconds; every bill takes its video_seconds off
    queue_seconds: Span = (1.0, 3.0)
    run_seconds: Span = (5.0, 12.0)
    extra_models: tuple[str, ...] = ()
    filler_bytes: int = 0  # so many bytes of a `free` box behind each MP4: big files at no cost
    plain_videos: bool = False  # no prompt drawn, so that all jobs of one shape share one encoding
    ranges: bool = True  # whether the content call honours Range

    def __post_init__(self) -> None:
        """Refuse what no call could use."""
        self.check()

    def check(self) -> None:
        """Raise ValueError for a value that cannot work."""
        if not isinstance(self.key, str) or not self.key:
            raise ValueError("key must be text that is not empty")
        for name in ("balance", "filler_bytes"):
            if isinstance(getattr(self, name), bool) or not isinstance(getattr(self, name), (int, float)):
                raise TypeError(f"{name} must be a number")
        for name in ("ranges", "plain_videos"):
            if not isinstance(getattr(self, name), bool):
                raise TypeError(f"{name} must be true or false")
        if self.filler_bytes and self.filler_bytes < SMALLEST_FILLER:
            raise ValueError(f"filler_bytes must be 0 or at least {SMALLEST_FILLER}")
        span(self.queue_seconds), span(self.run_seconds)
        self.extra_models = tuple(self.extra_models)

    def update(self, changes: dict[str, Any]) -> None:
        """Set several fields, all or none."""
        unknown = sorted(set(changes) - {field.name for field in fields(self)})
        if unknown:
            raise ValueError(f"no such setting: {', '.join(unknown)}")
        changed = replace(self, **changes)
        self.__dict__.update(changed.__dict__)

    def public(self) -> dict[str, object]:
        """Show everything but the key."""
        return {name: value for name, value in self.__dict__.items() if name != "key"}


def span(value: Span) -> tuple[float, float]:
    """Read 2, "2", "1-3" or (1, 3) as a span of seconds."""
    ends: Any = value.split("-") if isinstance(value, str) else value
    try:
        ends = [ends] if isinstance(ends, (int, float)) else list(ends)
        low, high = float(ends[0]), float(ends[-1])
    except (ValueError, TypeError, IndexError) as error:
        raise ValueError(f"not a span of seconds: {value!r} (write 2 or 1-3)") from error
    if not (0 <= low <= high and len(ends) in (1, 2)):
        raise ValueError(f"not a span of seconds: {value!r} (write 2 or 1-3)")
    return low, high
