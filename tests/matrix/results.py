"""The outcome of each test, from pytest's report, by executor and store. Runs nothing."""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from xml.etree import ElementTree

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

IN_PROCESS = "in process"
EXECUTORS = (IN_PROCESS, "LocalExecutor", "CeleryExecutor")
NO_STORE = "no store"
STORES = (NO_STORE, "local", "s3", "gcs", "azure")

# What a test id does not say, by the longest matching prefix of its module.
DEFAULTS = {
    "tests.system": ("LocalExecutor", NO_STORE),
    "tests.system.test_videos": ("LocalExecutor", "s3"),
    "tests.executors.test_kills": ("LocalExecutor", "local"),
    "tests.upgrade": ("LocalExecutor", "local"),
    "": (IN_PROCESS, NO_STORE),
}


@dataclass
class Cell:
    """The tests of one executor and one store."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)
    skipped: Counter[str] = field(default_factory=Counter)

    def __str__(self) -> str:
        """Return a word and a number."""
        if self.failed:
            return f"FAIL {len(self.failed)}/{len(self.failed) + self.passed}"
        if self.passed:
            return f"pass {self.passed}"
        return "skipped" if self.skipped else "-"


Cells = dict[tuple[str, str], Cell]


def place(module: str, name: str) -> tuple[str, str]:
    """Return the executor and the store that a test is about, by the words in its id."""
    _, _, id_ = name.partition("[")
    words = set(re.split(r"[^A-Za-z0-9]+", id_))
    executor, store = DEFAULTS[max((each for each in DEFAULTS if module.startswith(each)), key=len)]
    named = ([each for each in known if each in words] for known in (EXECUTORS, STORES))
    executors, stores = named
    return (executors or [executor])[0], (stores or [store])[0]


def read(*reports: Path) -> Cells:
    """Sort the tests of reports into cells; without a report there are none."""
    if not reports:
        return {}
    cells: Cells = {(executor, store): Cell() for executor in EXECUTORS for store in STORES}
    for test in (each for report in reports for each in ElementTree.parse(report).iter("testcase")):
        module, name = test.get("classname", ""), test.get("name", "")
        cell = cells[place(module, name)]
        if any(test.find(kind) is not None for kind in ("failure", "error")):
            cell.failed.append(f"{module}::{name}")
        elif (skipped := test.find("skipped")) is not None:
            cell.skipped[skipped.get("message", "")] += 1
        else:
            cell.passed += 1
    return cells


def failures(cells: Iterable[Cell]) -> Iterator[str]:
    """Return the names of failed tests."""
    for cell in cells:
        yield from cell.failed


def skips(cells: Iterable[Cell]) -> Counter[str]:
    """Count skipped tests by reason."""
    return sum((cell.skipped for cell in cells), Counter())
