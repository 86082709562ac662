"""What came over the wire, as JSON and text that Airflow can send, log and keep. No I/O."""

from __future__ import annotations

import json
import math
from codecs import BOM_UTF8
from collections.abc import Mapping
from typing import Any

NOTHING = frozenset({"", "None"})
"""What a template that finds nothing renders to."""


def storable(text: str) -> str:
    """Return a text that Airflow can send, log and store: half a surrogate pair, or NUL, becomes ``?``.

    An event with one of them ends the whole triggerer, and a log line the task's process (seen on Airflow 3.3.2).
    """
    return text.encode(errors="replace").decode().replace("\0", "?")


def read_json(body: bytes) -> Any:
    """Return what ``body`` holds, storable; None when it is no JSON (RecursionError: nested without end)."""
    text = body.removeprefix(BOM_UTF8).decode("utf-8", "replace")
    try:
        held = _decode(text)
        return _storable(held) if "\\u" in text else held
    except (ValueError, RecursionError):
        return None


def json_text(value: object) -> str:
    """Return ``value`` as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # read at a lower depth of the stack, and just so
        return f"a {type(value).__name__} nested without end"


def excerpt(what: object, limit: int = 200) -> str:
    """Return the beginning of what came, quoted, on one line.

    :param limit: characters
    """
    if isinstance(what, Mapping):
        what = json_text(what)
    text = what.decode("utf-8", "replace") if isinstance(what, bytes) else str(what)
    text = " ".join(text.split())
    return repr(cut(text, limit)) if text else "an empty body"


def cut(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of ``text``, and a sign where there were more."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def native_hint(value: object) -> str:
    """Return what may be wrong when ``value`` is a text and should be something else."""
    hint = "; a template gives text unless the DAG sets render_template_as_native_obj=True"
    return hint if isinstance(value, str) else ""


def _finite(number: str) -> float | None:
    """Return a number that is JSON again: NaN and infinity cannot be kept (1e999 is one)."""
    value = float(number)
    return value if math.isfinite(value) else None


_decode = json.JSONDecoder(parse_float=_finite, parse_constant=_finite).decode  # made once: it costs more than its use


def _storable(held: Any) -> Any:
    if isinstance(held, str):
        return storable(held)
    if isinstance(held, list):
        return [_storable(each) for each in held]
    if isinstance(held, dict):
        return {storable(name): _storable(each) for name, each in held.items()}
    return held
