"""The parameters of a video and the other arguments, checked before anything is sent. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from numbers import Number
from typing import Any

from typing_extensions import TypedDict

from airflow_provider_modelmax.api.errors import InvalidInputError
from airflow_provider_modelmax.api.text import NOTHING, read_dict, type_name

MAX_SAMPLES = 4
"""Videos of one job, at most."""

LONGEST_WAIT = timedelta(days=36_500)
"""A much longer wait would end after ``datetime.max``."""

_MAX_INTERVAL = 86_400
"""Seconds between two polls, at most."""

_FILE = re.compile(r"\S+\.(txt|md)", re.IGNORECASE)
"""Release 0.1.0 read the prompt from such a file."""

_INTEGER = re.compile(r"\s*([+-]?\d{1,9})(?:\.0*)?\s*")


class VideoParameters(TypedDict, total=False):
    """The service's ``parameters``; all optional, with the service's defaults.

    Parameters that the service adds later are sent as they are, though editors do not know them.
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
    """Return ``model`` if it can be an id. Unknown ids are refused by the service.

    :raises InvalidInputError: otherwise
    """
    if not isinstance(model, str) or model.strip() in NOTHING:
        raise InvalidInputError(f'model is {model!r}, but must be a model id such as "veo-3.1".')
    return model


def sample_count(parameters: object) -> int:
    """Return how many videos a job with these ``parameters`` has."""
    return int(check_parameters(parameters).get("sample_count", 1))


def check_parameters(parameters: object) -> dict[str, Any]:
    """Return the parameters to send, converted to the types of the contract. Those that are None are left out.

    Templates, forms and tables give numbers and flags as texts or as scalars of a library (``"4"``, ``"true"``,
    ``numpy.int64(4)``). The names are checked by :func:`check_parameter_names`, the image when it is read.

    :param parameters: a mapping, or its JSON or ``repr``
    :raises InvalidInputError: if a known parameter has a value that the contract does not allow
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
    """Return a warning about parameters that are not in the contract, or None.

    :param parameters: a mapping, or its JSON or ``repr``
    :param allow_unknown: whether to accept a name that looks like a mistake for a known one
    :raises InvalidInputError: for such a name, unless ``allow_unknown``; for the name of an argument
    """
    names = read_parameters(parameters).keys()
    if names <= _CHECKS.keys():
        return None
    from airflow_provider_modelmax.api.parameter_names import check_names  # noqa: PLC0415 - not at DAG parse

    return check_names(names, _CHECKS, allow_unknown=allow_unknown)


def read_parameters(parameters: object) -> dict[str, Any]:
    """Return the parameters that are not None, unchecked.

    :raises InvalidInputError: if it is neither None, nor a mapping, nor its JSON or ``repr``
    """
    if parameters is None:
        return {}
    given = read_dict(parameters) if isinstance(parameters, str) else parameters
    if not isinstance(given, Mapping):
        raise InvalidInputError(
            f"parameters is {type_name(parameters)} ({_shown(parameters)}), but must be a dict, or its JSON."
        )
    return {str(name): value for name, value in given.items() if value is not None}


def check_deadline_argument(deadline: object) -> timedelta | datetime:
    """Return ``deadline`` if it is valid: how long to wait, or until when.

    :raises InvalidInputError: if it is neither a timedelta above 0 nor a datetime with a time zone
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
    """Check the deadline of a job that is not submitted yet; that of a submitted job may have passed.

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
    """Return ``value`` if it is True or False. Texts are refused: "False" would count as true.

    :raises InvalidInputError: otherwise
    """
    if isinstance(value, bool):
        return value
    raise InvalidInputError(f"{name} is {_shown(value)}, but must be True or False; it is not templated.")


def check_poll_interval(poll_interval: float | timedelta) -> float:
    """Return ``poll_interval`` in seconds.

    :raises InvalidInputError: if it is not a number above 0, or more than a day
    """
    seconds = poll_interval.total_seconds() if isinstance(poll_interval, timedelta) else poll_interval
    if isinstance(seconds, bool) or not isinstance(seconds, int | float) or not 0 < seconds <= _MAX_INTERVAL:
        raise InvalidInputError(
            f"poll_interval is {poll_interval!r}, but must be a number of seconds above 0 and up to "
            f"{_MAX_INTERVAL:,}; the service recommends 5."
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
    """Return ``value`` as an integer, also if it is ``"4"``, ``4.0`` or ``Decimal("4")``; None if it is not one."""
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
        raise ValueError("must be true or false")  # noqa: TRY004 - the caller names the parameter
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
    """Return a scalar of numpy, or of a library like it, as a Python value."""
    if getattr(value, "shape", None) == () and callable(item := getattr(value, "item", None)):
        plain: object = item()
        return plain
    return value


def _shown(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:60]}…"


def _image(image: object) -> object:
    """Return an image unchanged: it is checked when it is read."""
    return image


# The contract names no minimum duration; 1 s is assumed.
_CHECKS: Mapping[str, Callable[[object], object]] = {
    "aspect_ratio": _one_of("16:9", "9:16"),
    "resolution": _one_of("720p", "1080p", "4k"),
    "duration_seconds": _integer(1, 8),
    "generate_audio": _flag,
    "sample_count": _integer(1, MAX_SAMPLES),
    "negative_prompt": _text,
    "image": _image,
}
