"""The table: a row for each version and executor, a column for each store. Runs nothing."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from tests.matrix.results import EXECUTORS, STORES, Cell, Cells, failures, skips

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from tests.matrix.environments import Row

HEAD = ("Airflow", "Python", "executor", *STORES)


@dataclass
class Outcome:
    """The outcome of a row.

    :param not_run: why it was not run
    :param trouble: what went wrong besides failed tests
    """

    row: Row
    cells: Cells = field(default_factory=dict)
    seconds: float = 0
    not_run: str = ""
    trouble: str = ""

    @property
    def is_good(self) -> bool:
        """Whether nothing failed. A row that could not be run has not failed."""
        return not self.trouble and not any(failures(self.cells.values()))


def table(outcomes: Sequence[Outcome]) -> str:
    """Return the table, the failures, and what was not run and why."""
    lines = [HEAD, *(line for outcome in outcomes for line in _lines(outcome))]
    widths = [max(len(line[column]) for line in lines) for column in range(len(HEAD))]
    drawn = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in lines]
    drawn.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join([*drawn, *_list("Failed", _failed(outcomes)), *_list("Not run", _not_run(outcomes))])


def _lines(outcome: Outcome) -> Iterator[tuple[str, ...]]:
    version = (outcome.row.airflow, outcome.row.python)
    for executor in EXECUTORS:
        cells = [outcome.cells.get((executor, store), Cell()) for store in STORES]
        yield (*version, executor, *("not run" if outcome.not_run else str(cell) for cell in cells))


def _failed(outcomes: Iterable[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        if outcome.trouble:
            yield f"{outcome.row.name}: {outcome.trouble}"
        yield from (f"{outcome.row.name}: {test}" for test in failures(outcome.cells.values()))


def _not_run(outcomes: Sequence[Outcome]) -> Iterator[str]:
    for outcome in outcomes:
        name = outcome.row.name
        if outcome.not_run:
            yield f"{name}: {outcome.not_run}"
            continue
        if not outcome.row.starts_airflow:
            yield f"{name}: only tests that are 'not system'; the others take the time of a whole row"
        yield from (f"{name}: {count} skipped: {reason}" for reason, count in skips(outcome.cells.values()).items())
    yield from (f"{store}: no test has this store" for store in STORES if not _has_tests(outcomes, store))


def _has_tests(outcomes: Iterable[Outcome], store: str) -> bool:
    return any(str(cell) != "-" for each in outcomes for (_, kept), cell in each.cells.items() if kept == store)


def _list(title: str, items: Iterable[str]) -> list[str]:
    found = list(items)
    return ["", f"{title}:", *(f"  {item}" for item in found)] if found else []
