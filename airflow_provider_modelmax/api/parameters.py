"""Checks of the arguments, before anything is sent. No I/O."""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from numbers import Number
from typing import Any
from urllib.parse import unquote, unquote_to_bytes

from typing_extensions import TypedDict

from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.api.text import NOTHING, read_dict, type_name

MAX_IMAGE_BYTES = 20 * 1024 * 1024
"""The contract names no limit. Assumed: beyond this a request is a mistake (a video, a raw photo)."""


MOST_SAMPLES = 4
"""Videos of one job."""

LONGEST_WAIT = timedelta(days=36_500)
"""With a much longer one, the end of a wait would be beyond ``datetime.max``."""

_LONGEST_INTERVAL = 86_400
"""Seconds."""

_SHORTEST_BASE64 = 200
"""Characters. Shorter texts are decoded to see whether they are an image; a path of this length has a dot."""

_BLANKS = " \t\r\n\f\v\ufeff\u200b"
"""What may be before Base64: whitespace, and a byte order mark."""

_BASE64 = re.compile(r"[A-Za-z0-9+/_%\-\s]+={0,2}\s*")
_FILE = re.compile(r"\S+\.(txt|md)", re.IGNORECASE)
"""Release 0.1.0 read the prompt from such a file."""

_INTEGER = re.compile(r"\s*([+-]?\d{1,9})(?:\.0*)?\s*")
_FROM_URLS = str.maketrans("-_", "+/")


class VideoParameters(TypedDict, total=False):
    """The service's ``parameters``; all optional. What is left out takes the service's default.

    Names that the service adds later are passed through, though editors will not know them.
    """

    aspect_ratio: str
    """``"16:9"`` (default) or ``"9:16"``."""
    resolution: str
    """``"720p"`` (default), ``"1080p"`` or ``"4k"``."""
    duration_seconds: int
    """1 to 8; default 8."""
    generate_audio: bool
    """Default True."""
    sample_count: int
    """How many videos, 1 to 4; default 1. Each is billed."""
    negative_prompt: str
    """What to avoid."""
    image: str
    """For image-to-video: a path or URI that the worker can read, or Base64."""


def check_prompt(prompt: object) -> str:
    """Return ``prompt`` if it is a text, not empty, and not the path of a file.

    :raises InvalidInputError: otherwise
    """
    if not isinstance(prompt, str):
        raise InvalidInputError(
            f"prompt is {type_name(prompt)}, but must be a text. Write it in quotes, or convert it with str()."
        )
    if prompt.strip() in NOTHING:
        raise InvalidInputError(
            f"prompt is {prompt.strip() or 'empty'}. If it is a template, it rendered to nothing: look at the task's "
            "rendered templates."
        )
    if _FILE.fullmatch(prompt.strip()):
        raise InvalidInputError(
            f"prompt is {prompt!r}, which looks like the path of a file. To send what is in the file, write "
            f'prompt="{{% include {prompt.strip()!r} %}}"; the path is relative to the folder of the DAG file.'
        )
    return prompt


def check_model(model: object) -> str:
    """Return ``model`` if it can be an id. Unknown ids are left to the service.

    :raises InvalidInputError: otherwise
    """
    if not isinstance(model, str) or model.strip() in NOTHING:
        raise InvalidInputError(f'model is {model!r}, but must be a model id such as "veo-3.1".')
    return model


def sample_count(parameters: object) -> int:
    """Return how many videos a job with these ``parameters`` has."""
    return int(check_parameters(parameters).get("sample_count", 1))


def check_parameters(parameters: object) -> dict[str, Any]:
    """Return the parameters to send, converted to the types of the contract. None counts as left out.

    Templates, forms and tables give numbers and flags as texts or as scalars of a library (``"4"``, ``"true"``,
    ``numpy.int64(4)``): these are converted. The names are checked by :func:`check_parameter_names`.

    :param parameters: a mapping, or its JSON or ``repr``
    :raises InvalidInputError: when a known parameter has a value that the contract does not allow
    """
    checked = {}
    for name, value in read_parameters(parameters).items():
        plain = _plain(value)
        try:
            checked[name] = _CHECKS.get(name, _json)(plain)
        except ValueError as error:
            raise InvalidInputError(f"parameters[{name!r}] is {_shown(plain)}, but {error}.") from None
    return checked


def check_parameter_names(parameters: object, *, allow_unknown: bool = False) -> str | None:
    """Return a warning about the parameters that are not in the contract, or None.

    :param allow_unknown: whether a name that looks like a mistake for a known one is sent all the same
    :raises InvalidInputError: otherwise, for such a name
    """
    names = read_parameters(parameters).keys()
    if names <= _CHECKS.keys():
        return None
    from airflow_provider_modelmax.api.parameter_names import check_names  # noqa: PLC0415 - not at DAG parse

    return check_names(names, _CHECKS, allow_unknown=allow_unknown)


def read_parameters(parameters: object) -> dict[str, Any]:
    """Return the parameters that are not None, unchecked.

    :raises InvalidInputError: when it is neither None, nor a mapping, nor its JSON or ``repr``
    """
    if parameters is None:
        return {}
    given = read_dict(parameters) if isinstance(parameters, str) else parameters
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"parameters is {type_name(parameters)} ({_shown(parameters)}), but must be a dict, or its JSON."
        )
    return {str(name): value for name, value in given.items() if value is not None}


def encode_image(data: bytes, source: str) -> str:
    """Return ``data`` as the Base64 that the service takes.

    :param data: the image file
    :param source: where it came from, for the message
    :raises InvalidInputError: when it is empty, too large, no image, or cut off
    """
    from airflow_provider_modelmax.api.image import is_cut_off, is_image  # noqa: PLC0415 - not at DAG parse

    if not data:
        raise InvalidInputError(f"The image {source} is empty.")
    if len(data) > MAX_IMAGE_BYTES:
        raise InvalidInputError(
            f"The image {source} has {len(data):,} bytes; at most {MAX_IMAGE_BYTES:,} are sent. Scale it down: "
            "the largest video is 3840 x 2160."
        )
    if not is_image(data):
        raise InvalidInputError(
            f"{source} is not an image: it is neither PNG, JPEG, WebP, GIF, BMP, TIFF, AVIF nor HEIC."
        )
    if is_cut_off(data):
        raise InvalidInputError(
            f"The image {source} is cut off: its end is missing after {len(data):,} bytes. Check how it was written or "
            "copied, and give the whole file."
        )
    return base64.b64encode(data).decode()


def check_image_kind(image: object) -> None:
    """Check whether an image can be read, before it is.

    :raises InvalidInputError: when it is no path, URI, Base64 or bytes, or on the web
    """
    if isinstance(image, str):
        scheme, _, rest = image.strip().partition("://")
        if scheme.lower() in {"http", "https"}:
            host = rest.partition("/")[0].rpartition("@")[2]  # the rest may have a password or a signature in it
            raise InvalidInputError(
                f"The image is on the web, at {host}. Give a path that workers can read, a URI such as "
                "s3://conn_id@bucket/key.png, or its bytes as Base64."
            )
    if isinstance(image, int | float | list | tuple | set | Mapping) or (isinstance(image, str) and not image.strip()):
        raise InvalidInputError(
            f"parameters['image'] is {type(image).__name__} {str(image)[:60]!r}, but must be a path, a URI or Base64."
        )


def check_encoded_image(image: object) -> str:
    """Return ``image`` as the service takes it. It must be Base64: the hook reads no files.

    :raises InvalidInputError: when it is something else
    """
    data = decode_image(image) if isinstance(image, str) else None
    if data is None:
        raise InvalidInputError(
            "parameters['image'] must be Base64 of an image here; the operators also take a path or a URI."
        )
    return encode_image(data, "given as Base64")


def decode_image(text: str) -> bytes | None:
    """Return the image that ``text`` holds as Base64 or as a ``data:`` URL, or None when it is something else.

    Padding may be missing, ``-_`` may be in the place of ``+/``, and characters may be percent-encoded, as in URLs.
    """
    from airflow_provider_modelmax.api.image import is_image  # noqa: PLC0415 - not at DAG parse

    text = text.lstrip(_BLANKS)
    if is_data_url(text):
        header, _, text = text.partition(",")
        if not header.lower().rstrip().endswith(";base64"):
            data = unquote_to_bytes(text)
            return data if is_image(data) else None
    text = "".join(unquote(text).split()).translate(_FROM_URLS).rstrip("=")
    try:
        data = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if is_image(data) else None


def is_data_url(text: str) -> bool:
    """Return whether ``text`` is a ``data:`` URL, also in capitals or after blanks."""
    return text.lstrip(_BLANKS)[:5].lower() == "data:"


def may_be_base64(text: str) -> bool:
    """Return whether ``text`` looks like Base64 and not like a path: it must not be shown then."""
    text = text.lstrip(_BLANKS)
    return is_data_url(text) or (len(text) >= _SHORTEST_BASE64 and _BASE64.fullmatch(text) is not None)


def check_deadline_argument(deadline: object) -> timedelta | datetime:
    """Return ``deadline`` if it is valid: how long to wait, or until when.

    :raises InvalidInputError: when it is neither a timedelta above 0 nor a datetime with a time zone
    """
    if isinstance(deadline, timedelta) and timedelta(0) < deadline <= LONGEST_WAIT:
        return deadline
    if isinstance(deadline, datetime):
        return with_zone(deadline)
    raise InvalidInputError(
        f"deadline is {deadline!r}, but must be a timedelta above 0 and of {LONGEST_WAIT.days:,} days at most, such as "
        "timedelta(hours=1), or a datetime with a time zone."
    )


def check_future(deadline: datetime, now: datetime) -> None:
    """Check the deadline of a job that is not submitted yet. Of a submitted one it may have passed.

    :raises InvalidInputError: if it has no time zone, or has passed
    """
    if with_zone(deadline) <= now:
        raise InvalidInputError(f"deadline {deadline.isoformat()} has passed already: give one in the future.")


def with_zone(deadline: datetime) -> datetime:
    """Return ``deadline`` if it has a time zone.

    :raises InvalidInputError: otherwise
    """
    if deadline.utcoffset() is None:
        raise InvalidInputError(f"deadline {deadline} has no time zone: use pendulum.datetime(…) or tzinfo=….")
    return deadline


def check_flag(name: str, value: object) -> bool:
    """Return ``value`` if it is True or False. A text is refused, as "False" would count as true.

    :raises InvalidInputError: otherwise
    """
    if isinstance(value, bool):
        return value
    raise InvalidInputError(f"{name} is {_shown(value)}, but must be True or False; it is not templated.")


def check_poll_interval(poll_interval: float | timedelta) -> float:
    """Return ``poll_interval`` in seconds.

    :raises InvalidInputError: when it is no number above 0, or more than a day
    """
    seconds = poll_interval.total_seconds() if isinstance(poll_interval, timedelta) else poll_interval
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _LONGEST_INTERVAL:
        raise InvalidInputError(
            f"poll_interval is {poll_interval!r}, but must be a number of seconds above 0 and up to "
            f"{_LONGEST_INTERVAL:,}; the service recommends 5."
        )
    return float(seconds)


def _one_of(*values: str) -> Callable[[object], str]:
    def check(value: object) -> str:
        if isinstance(value, str) and value in values:
            return value
        raise ValueError(f"must be one of {', '.join(values)}")

    return check


def _integer(low: int, high: int) -> Callable[[object], int]:
    def check(value: object) -> int:
        number = _as_integer(value)
        if number is None:
            raise ValueError(f"must be an integer from {low} to {high}")
        if not low <= number <= high:
            raise ValueError(f"must be from {low} to {high}")
        return number

    return check


def _as_integer(value: object) -> int | None:
    """Return the integer that ``value`` is, also as ``"4"``, ``4.0`` or ``Decimal("4")``."""
    if isinstance(value, bool):
        return None
    if isinstance(value, str):
        digits = _INTEGER.fullmatch(value)
        return int(digits[1]) if digits else None
    if not isinstance(value, Number):
        return None
    try:
        number = int(value)  # type: ignore[call-overload]
    except (TypeError, ValueError, OverflowError):  # complex, NaN, infinity
        return None
    return number if number == value else None


def _flag(value: object) -> bool:
    if isinstance(value, str):
        value = {"true": True, "false": False}.get(value.strip().lower())
    if not isinstance(value, bool):
        raise ValueError("must be true or false")  # noqa: TRY004 - the caller says of what
    return value


def _text(value: object) -> str:
    if not isinstance(value, str):
        raise ValueError("must be a text: write it in quotes, or convert it with str()")  # noqa: TRY004
    return value


def _json(value: object) -> object:
    try:
        json.dumps(value, allow_nan=False, sort_keys=True)
    except (TypeError, ValueError, RecursionError):
        raise ValueError("cannot be written as JSON") from None
    return value


def _plain(value: object) -> object:
    """Return the Python value of a scalar of numpy, or of a library that follows it."""
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        plain: object = item()
        return plain
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _unread(image: object) -> object:
    """Return an image as it is: it is checked when it is read."""
    return image


# The minimum duration is unspecified; less than a second is no video.
_CHECKS: Mapping[str, Callable[[object], object]] = {
    "aspect_ratio": _one_of("16:9", "9:16"),
    "resolution": _one_of("720p", "1080p", "4k"),
    "duration_seconds": _integer(1, 8),
    "generate_audio": _flag,
    "sample_count": _integer(1, MOST_SAMPLES),
    "negative_prompt": _text,
    "image": _unread,
}
