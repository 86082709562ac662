"""The results of a benchmark: figures with targets, as a table for people and as JSON for plots. Measures nothing."""

from __future__ import annotations

import operator
import os
import platform
import statistics
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from importlib import metadata
from typing import Any

_COMPARES = {"≤": operator.le, "≥": operator.ge}
_RED, _GREEN, _PLAIN = "\033[31m", "\033[32m", "\033[0m"
_PACKAGES = ("apache-airflow", "aiohttp", "requests", "s3fs", "aiobotocore", "uvicorn")
_PEERS = ("apache-airflow-providers-dbt-cloud", "apache-airflow-providers-http")

Say = Callable[[str], None]


@dataclass(frozen=True)
class Figure:
    """One measured figure.

    :param what: what was measured, with the peer or limit
    :param value: the ratio, or the figure if the target is absolute
    :param target: such as "≥ 10" or "≤ 0.65"; empty if there is none
    :param unit: unit of `value`; "x" for a ratio
    :param low: the lowest measurement
    :param high: the highest measurement
    :param detail: the absolute figures behind it
    """

    what: str
    value: float
    target: str = ""
    unit: str = "x"
    low: float | None = None
    high: float | None = None
    detail: str = ""

    @classmethod
    def of(cls, what: str, values: Sequence[float], target: str = "", *, unit: str = "x", detail: str = "") -> Figure:
        """Return the median of repeated measurements, with their spread."""
        return cls(what, statistics.median(values), target, unit, min(values), max(values), detail)

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Figure:
        """Read a figure from the JSON of a report."""
        return cls(**{each.name: kept[each.name] for each in fields(cls)})

    @property
    def holds(self) -> bool:
        """Whether the target is reached; True if there is none."""
        if not self.target:
            return True
        sign, limit = self.target.split()
        return bool(_COMPARES[sign](self.value, float(limit.replace(",", ""))))


@dataclass
class Report:
    """The results of one benchmark.

    :param name: name of the benchmark
    :param about: one sentence
    :param figures: the table
    :param series: the data of the plots
    """

    name: str
    about: str
    figures: list[Figure] = field(default_factory=list)
    series: dict[str, Any] = field(default_factory=dict)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {**asdict(self), "figures": [{**asdict(each), "holds": each.holds} for each in self.figures]}

    def table(self, *, color: bool) -> str:
        """Return the figures as a table; missed targets are red."""
        rows = [("", "measured", "spread", "target", "details")]
        rows += [(each.what, shown(each), spread(each), each.target, each.detail) for each in self.figures]
        widths = [max(len(row[column]) for row in rows) for column in range(4)]
        lines = [f"\n{self.name}: {self.about}"]
        for row, figure in zip(rows, [None, *self.figures], strict=True):
            cells = "  ".join(cell.ljust(width) for cell, width in zip(row, [*widths, 0], strict=True)).rstrip()
            lines.append(f"  {_painted(cells, figure) if color else cells + _missed(figure)}")
        return "\n".join(lines)


def circumstances() -> dict[str, Any]:
    """Return the machine and the versions."""
    return {
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}, {os.cpu_count()} cores",
        "packages": {name: _version(name) for name in (*_PACKAGES, *_PEERS)},
    }


def shown(figure: Figure) -> str:
    """Return the value with its unit."""
    return f"{number(figure.value)} {figure.unit}".strip()


def number(value: float) -> str:
    """Return three significant digits, or all of a large number."""
    return f"{value:,.0f}" if abs(value) >= 100 else f"{value:.3g}"


def spread(figure: Figure) -> str:
    """Return the lowest and the highest value; empty if it was measured once."""
    if figure.low is None or figure.high is None:
        return ""
    return f"{number(figure.low)} to {number(figure.high)}"


def _painted(line: str, figure: Figure | None) -> str:
    if figure is None or not figure.target:
        return line
    return f"{_GREEN if figure.holds else _RED}{line}{_PLAIN}"


def _missed(figure: Figure | None) -> str:
    return "" if figure is None or figure.holds else "  <- MISSES ITS TARGET"


def _version(package: str) -> str:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return "not installed"
