"""JSON and text that Airflow can send, log and store. No I/O."""

from __future__ import annotations

import ast
import hashlib
import json
import math
import re
import textwrap
from codecs import BOM_UTF8
from collections.abc import Callable, Mapping
from typing import Any

NOTHING = frozenset({"", "None"})
"""What a template renders to if its value is missing."""

LINE_WIDTH = 100
"""Characters of a log line. Airflow's log page does not wrap, and shows 104 after WARNING at 1,440 px (3.3.2)."""

_MAX_LINES = 4
"""Lines into which a sentence is wrapped at most."""

_NO_BREAK = "\N{NO-BREAK SPACE}"

MAX_DEPTH = 100
"""Levels of nested JSON. Deeper ones are read as null: no field of the service needs them, and Python's parser, msgpack
and pydantic have limits of a few hundred to a few thousand."""


def storable(text: str) -> str:
    """Return ``text`` with ``?`` for NUL and unpaired surrogates.

    An event with one of them would crash the whole triggerer, a log line the task's process (seen on Airflow 3.3.2).
    """
    return text.encode(errors="replace").decode().replace("\0", "?")


def read_json(body: bytes) -> Any:
    """Return the JSON value in ``body``, or None if there is none.

    To request the answer of the billing call again would cost again, so some things are read that Python's parser
    refuses: control characters in strings, UTF-16 and UTF-32, bytes after the value, integers of any length. What
    Airflow cannot store is replaced, see :func:`storable`, :data:`MAX_DEPTH` and :func:`read_integer`.
    """
    text = body.removeprefix(BOM_UTF8).decode("utf-8", "replace").lstrip()
    try:
        return _read(text)
    except ValueError:
        encoding = json.detect_encoding(body)
    if encoding.startswith("utf-8"):
        return None
    try:
        return _read(body.decode(encoding, "replace").lstrip())
    except ValueError:
        return None


def json_text(value: object) -> str:
    """Return ``value`` as JSON."""
    try:
        return json.dumps(value, ensure_ascii=False)
    except RecursionError:  # it was read when less of the stack was in use
        return f"a {type(value).__name__} that is nested too deeply"


def excerpt(what: object, limit: int = 200) -> str:
    """Return the beginning of an answer, quoted, on one line.

    :param limit: characters
    """
    if isinstance(what, Mapping):
        what = json_text(what)
    text = what.decode("utf-8", "replace") if isinstance(what, bytes) else str(what)
    text = " ".join(text.split())
    return repr(cut(text, limit)) if text else "an empty body"


def cut(text: str, limit: int) -> str:
    """Return at most ``limit`` characters of ``text``, and an ellipsis if there were more."""
    return text if len(text) <= limit else f"{text[:limit]}…"


def read_dict(text: str) -> dict[Any, Any] | None:
    """Return the dict that ``text`` is as JSON, or as a ``repr``, which templates render; None if it is neither."""
    for read in (json.loads, ast.literal_eval):
        try:
            held = read(text.strip())
        except (ValueError, SyntaxError, TypeError, MemoryError, RecursionError):
            continue
        if isinstance(held, dict):
            return held
    return None


def type_name(value: object) -> str:
    """Return the type of ``value`` with its article, for a message."""
    if value is None:
        return "None"
    name = type(value).__name__
    return f"{'an' if name[0].lower() in 'aeiou' else 'a'} {name}"


def lines(message: str) -> list[str]:
    """Return a message as lines that fit into Airflow's log page: one for each sentence, wrapped if it is long.

    Text in braces is not wrapped, so that it can be copied. A very long sentence, which holds data, is not either.
    """
    found: list[str] = []
    for sentence in re.split(r"(?<=[.!?])\s+", message.strip()):
        unbroken = re.sub(r"\{[^{}]*\}", lambda braces: braces[0].replace(" ", _NO_BREAK), sentence)
        wrapped = textwrap.wrap(unbroken, LINE_WIDTH, break_long_words=False, break_on_hyphens=False)
        fits = len(wrapped) <= _MAX_LINES
        found += [line.replace(_NO_BREAK, " ") for line in wrapped] if fits else [" ".join(sentence.split())]
    return found


def log_lines(write: Callable[[str, str], object], message: str) -> None:
    """Log a message as lines that fit into Airflow's log page.

    :param write: a method of a logger, such as ``log.warning``
    :param message: sentences
    """
    for line in lines(message):
        write("%s", line)


def _read(text: str) -> Any:
    if len(text) > 2 * MAX_DEPTH and text.count("[") + text.count("{") > MAX_DEPTH:
        text = _cut_depth(text)
    held, _ = _decoder.raw_decode(text)
    return _storable(held) if "\\u" in text or "\0" in text else held


def _cut_depth(text: str) -> str:
    """Return JSON with null for each array and object nested more than :data:`MAX_DEPTH` deep."""
    parts, start, depth = [], 0, 0
    for token in _STRING_OR_BRACKET.finditer(text):
        if token[0] in "[{":
            depth += 1
            if depth == MAX_DEPTH + 1:
                parts += [text[start : token.start()], "null"]
        elif token[0] in "]}":
            if depth == MAX_DEPTH + 1:
                start = token.end()
            depth -= 1
    return "".join([*parts, text[start:]]) if depth <= MAX_DEPTH else ""  # otherwise it is cut off


_STRING_OR_BRACKET = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|[][{}]', re.DOTALL)


def read_integer(digits: str) -> int | float | None:
    """Return an integer of 64 bits, or a float if it is longer: databases and msgpack cannot hold longer integers."""
    if len(digits) <= _DIGITS_OF_64_BITS:
        value = int(digits)
        if -(2**63) <= value < 2**63:
            return value
    return _finite(digits)


_DIGITS_OF_64_BITS = len(str(-(2**63)))


def _finite(number: str) -> float | None:
    """Return a number, None for NaN and infinity (such as 1e999), which are not JSON."""
    value = float(number)
    return value if math.isfinite(value) else None


# Created once, as that takes longer than to read a status.
_decoder = json.JSONDecoder(parse_float=_finite, parse_int=read_integer, parse_constant=_finite, strict=False)


def _storable(held: Any) -> Any:
    if isinstance(held, str):
        return storable(held)
    if isinstance(held, list):
        return [_storable(each) for each in held]
    if isinstance(held, dict):
        return {storable(name): _storable(each) for name, each in held.items()}
    return held


def stem_of(name: str, *more: str) -> str:
    """Return a file name for an id: readable, safe in every store, and different for different ids."""
    digest = hashlib.sha256("\0".join((name, *more)).encode()).hexdigest()[:10]
    return f"{re.sub(r'[^A-Za-z0-9_-]+', '-', name)[:60].strip('-')}-{digest}"
