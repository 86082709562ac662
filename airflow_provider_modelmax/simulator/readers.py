"""Checks values from settings and faults. A `ValueError` names the value and what it must be. No I/O."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from typing import Any

# Takes the name and the raw value.
Reader = Callable[[str, Any], Any]
Span = float | str | tuple[float, float] | list[float]

MAX_NUMBER = sys.float_info.max
MAX_BYTES = 1 << 62  # the header of an MP4 box can hold no more
MAX_DATE_OFFSET = 1e9  # seconds; a date that far from now can still be written
BODILESS = (204, 205, 304)
DATE = "date+"


def is_unicode(value: str) -> bool:
    """Return whether text can be encoded. Half a surrogate pair, which JSON can express, cannot."""
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
    """Read text for a header."""
    if isinstance(value, str) and value.isprintable():
        return value
    raise ValueError(f"{name} must be text on one line")


def some_text(name: str, value: Any) -> str:
    """Read text that is not empty."""
    if not value or not isinstance(value, str) or not is_unicode(value):
        raise ValueError(f"{name} must be text that is not empty")
    return value


def texts(name: str, value: Any) -> tuple[str, ...]:
    """Read a list of texts. A single text is refused, since its letters would be the list."""
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} must be a list")  # noqa: TRY004 -- one type for all errors
    return tuple(some_text(f"each of {name}", each) for each in value)


def flag(name: str, value: Any) -> bool:
    """Read true or false."""
    if value is True or value is False:
        return bool(value)
    raise ValueError(f"{name} must be true or false")


def json_value(name: str, value: Any) -> Any:
    """Read any JSON value."""
    try:
        json.dumps(value)
    except (TypeError, ValueError, RecursionError):
        raise ValueError(f"{name} must be JSON") from None
    return value


def number(name: str, value: Any) -> float:
    """Read a finite number."""
    if type(value) in (int, float) and abs(value) <= MAX_NUMBER:
        return float(value)
    raise ValueError(f"{name} must be a finite number")


def seconds(name: str, value: Any) -> float:
    """Read a number of seconds."""
    if type(value) in (int, float) and 0 <= value <= MAX_NUMBER:
        return float(value)
    raise ValueError(f"{name} must be a number of seconds, 0 or more")


def rate(name: str, value: Any) -> float:
    """Read a rate per second."""
    if type(value) in (int, float) and 0 < value <= MAX_NUMBER:
        return float(value)
    raise ValueError(f"{name} must be more than 0")


def count(name: str, value: Any) -> int:
    """Read a number of bytes."""
    if type(value) is int and 0 <= value <= MAX_BYTES:
        return value
    raise ValueError(f"{name} must be a whole number, 0 or more")


def http_status(name: str, value: Any) -> int:
    """Read an HTTP status whose answers have a body."""
    if type(value) is int and 200 <= value <= 599 and value not in BODILESS:
        return value
    raise ValueError(f"{name} must be an HTTP status from 200 to 599 that comes with a body")


def retry_after(name: str, value: Any) -> float | str:
    """Read the value of a Retry-After header: seconds, `date+SECONDS` for an HTTP date, or any text."""
    if type(value) in (int, float) and 0 <= value <= MAX_NUMBER:
        return value  # type: ignore[no-any-return]  # unchanged: 7 is not written as 7.0
    try:
        written = line(name, value)
        if not written.startswith(DATE) or abs(float(written.removeprefix(DATE))) <= MAX_DATE_OFFSET:
            return written
    except ValueError:
        pass
    raise ValueError(f"{name} must be seconds, {DATE}SECONDS or text on one line")


def span_of_seconds(name: str, value: Any) -> Span:
    """Read a span of seconds, and return it unchanged."""
    try:
        span(value)
    except ValueError:
        raise ValueError(f"{name} must be a span of seconds, 2 or 1-3, not {str(value)[:50]}") from None
    return value  # type: ignore[no-any-return]  # checked above


def span(value: Span) -> tuple[float, float]:
    """Return a span such as 2, "2", "1-3" or (1, 3) as (low, high)."""
    ends: Any = value.split("-") if isinstance(value, str) else value
    try:
        ends = [ends] if isinstance(ends, (int, float)) else list(ends)
        low, high = float(ends[0]), float(ends[-1])
    except (ValueError, TypeError, IndexError, OverflowError) as error:
        raise ValueError(f"not a span of seconds: {str(value)[:50]!r} (write 2 or 1-3)") from error
    if not (0 <= low <= high <= MAX_NUMBER and len(ends) in (1, 2)):
        raise ValueError(f"not a span of seconds: {value!r} (write 2 or 1-3)")
    return low, high
