"""What comes from outside -> what works, or a sentence that names it and says what it must be. No I/O."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

# The name of what is read, and the value as it came.
Reader = Callable[[str, Any], Any]
Span = float | str | tuple[float, float] | list[float]

LARGEST = sys.float_info.max
MOST_BYTES = 1 << 62  # what the header of an MP4 box can still say
FAR = 1e9  # seconds: so far from now, a date can still be written
BODILESS = (204, 205, 304)
DATE = "date+"


def is_unicode(value: str) -> bool:
    """Say whether text can be written down: half a surrogate pair, which JSON can spell, cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def text(name: str, value: Any) -> str:
    """Read text."""
    if isinstance(value, str) and is_unicode(value):
        return value
    raise ValueError(f"{name} must be text")


def line(name: str, value: Any) -> str:
    """Read what goes into a header."""
    if isinstance(value, str) and value.isprintable():
        return value
    raise ValueError(f"{name} must be text on one line")


def some_text(name: str, value: Any) -> str:
    """Read text that is not empty."""
    if not value or not isinstance(value, str) or not is_unicode(value):
        raise ValueError(f"{name} must be text that is not empty")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Read a list of texts; a single text is none, or its letters would be the list."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list")  # noqa: TRY004 -- one type for all refusals
    return tuple(some_text(f"each of {name}", each) for each in value)


def flag(name: str, value: Any) -> bool:
    """Read true or false."""
    if value is True or value is False:
        return bool(value)
    raise ValueError(f"{name} must be true or false")


def json_value(name: str, value: Any) -> Any:
    """Read anything that JSON can spell."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{name} must be JSON") from None
    return value


def number(name: str, value: Any) -> float:
    """Read a finite number."""
    if type(value) in (int, float) and abs(value) <= LARGEST:
        return float(value)
    raise ValueError(f"{name} must be a finite number")


def seconds(name: str, value: Any) -> float:
    """Read how long."""
    if type(value) in (int, float) and 0 <= value <= LARGEST:
        return float(value)
    raise ValueError(f"{name} must be a number of seconds, 0 or more")


def rate(name: str, value: Any) -> float:
    """Read how much a second."""
    if type(value) in (int, float) and 0 < value <= LARGEST:
        return float(value)
    raise ValueError(f"{name} must be more than 0")


def count(name: str, value: Any) -> int:
    """Read how many bytes."""
    if type(value) is int and 0 <= value <= MOST_BYTES:
        return value
    raise ValueError(f"{name} must be a whole number, 0 or more")


def http_status(name: str, value: Any) -> int:
    """Read a status that an answer can have."""
    if type(value) is int and 200 <= value <= 599 and value not in BODILESS:
        return value
    raise ValueError(f"{name} must be an HTTP status from 200 to 599 that comes with a body")


def retry_after(name: str, value: Any) -> float | str:
    """Read what a Retry-After header says: seconds, an HTTP-date so many seconds from now, or any text."""
    if type(value) in (int, float) and 0 <= value <= LARGEST:
        return value  # type: ignore[no-any-return]  # a number, as it came: 7 is not written 7.0
    try:
        written = line(name, value)
        if not written.startswith(DATE) or abs(float(written.removeprefix(DATE))) <= FAR:
            return written
    except ValueError:
        pass
    raise ValueError(f"{name} must be seconds, {DATE}SECONDS or text on one line")


def span_of_seconds(name: str, value: Any) -> Span:
    """Read a span, and keep it as it was written."""
    try:
        span(value)
    except ValueError:
        raise ValueError(f"{name} must be a span of seconds, 2 or 1-3, not {str(value)[:50]}") from None
    return value  # type: ignore[no-any-return]  # a span, as was just found


def span(value: Span) -> tuple[float, float]:
    """Read 2, "2", "1-3" or (1, 3) as a span of seconds."""
    ends: Any = value.split("-") if isinstance(value, str) else value
    try:
        ends = [ends] if isinstance(ends, (int, float)) else list(ends)
        low, high = float(ends[0]), float(ends[-1])
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not a span of seconds: {str(value)[:50]!r} (write 2 or 1-3)") from error
    if not (0 <= low <= high <= LARGEST and len(ends) in (1, 2)):
        raise ValueError(f"not a span of seconds: {value!r} (write 2 or 1-3)")
    return low, high
