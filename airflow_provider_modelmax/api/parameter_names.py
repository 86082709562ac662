"""Names of parameters: which unknown one is probably a mistake for a known one. No I/O."""

from __future__ import annotations

import difflib
import re
from collections.abc import Collection, Iterable

from airflow_provider_modelmax.api.errors import InvalidInputError

_ARGUMENTS = ("model", "prompt", "parameters", "destination")
"""Arguments that people put into ``parameters`` by mistake."""

# fmt: off
_FILLERS = frozenset({
    "a", "base64", "clip", "enable", "enabled", "file", "has", "in", "include", "is", "minute", "ms", "n", "num",
    "number", "of", "path", "s", "the", "time", "total", "uri", "url", "use", "value", "video", "with",
})
# fmt: on
"""Words that are ignored when names are compared."""

_ALIKE = 0.8
"""Cutoff for :func:`difflib.get_close_matches`: two wrong letters in ten."""


def check_names(names: Iterable[str], known: Collection[str], *, allow_unknown: bool = False) -> str | None:
    """Return a warning about the names that are not ``known``, or None if all are.

    :param names: of the parameters to send
    :param known: the names in the contract
    :param allow_unknown: whether to accept a name that looks like a mistake for a known one
    :raises InvalidInputError: for such a name, unless ``allow_unknown``; for the name of an argument
    """
    unknown = []
    for name in names:
        if name in known:
            continue
        if argument := next((each for each in _ARGUMENTS if _words(name) == _words(each)), None):
            raise InvalidInputError(
                f"parameters[{name!r}] is not a parameter of the service: {argument} is a separate argument. "
                "Move it there."
            )
        if (meant := near_miss(name, known)) and not allow_unknown:
            raise InvalidInputError(
                f"parameters[{name!r}] is not a parameter of the service. Did you mean {meant!r}? "
                f"Nothing was sent. To send {name!r} as it is, set allow_unknown_parameters=True."
            )
        nearest = difflib.get_close_matches("_".join(_words(name)), sorted(known), n=2, cutoff=0)
        unknown.append(f"{name!r} (the nearest known: {', '.join([meant] if meant else nearest)})")
    if not unknown:
        return None
    return f"Parameters that this provider does not know are sent as they are: {', '.join(unknown)}."


def near_miss(name: str, known: Iterable[str]) -> str | None:
    """Return the known name that ``name`` is probably meant to be, or None.

    It is if it is a part of the known name, differs from it in a letter or two, or contains all of its words, if these
    are several. :data:`_FILLERS` do not count: ``image_url`` is a mistake for ``image``, ``reference_images`` is not.
    """
    words = _words(name)
    told = [word for word in words if word not in _FILLERS]
    for each in known:
        wanted = each.split("_")
        if told and (_are_all_in(told, wanted) or (len(wanted) > 1 and _are_all_in(wanted, told))):
            return each
    close = difflib.get_close_matches("".join(words), [each.replace("_", "") for each in known], n=1, cutoff=_ALIKE)
    return next((each for each in known if each.replace("_", "") in close), None)


def _words(name: str) -> list[str]:
    """Return the words of ``aspectRatio``, ``Aspect-Ratio`` or ``aspect ratio``, in the singular."""
    words = re.findall(r"[^\W_]+", re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower())
    return [word.removesuffix("s") if len(word) > 3 else word for word in words]


def _are_all_in(words: Iterable[str], others: Collection[str]) -> bool:
    return all(any(_is_same(word, other) for other in others) for word in words)


def _is_same(word: str, other: str) -> bool:
    """Compare two words; one may be short for the other, or misspelled."""
    short, long = sorted((word, other.removesuffix("s")), key=len)
    return (len(short) > 2 and long.startswith(short)) or (
        len(short) > 4 and difflib.SequenceMatcher(None, word, other).ratio() >= _ALIKE
    )
