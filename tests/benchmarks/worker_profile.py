"""How a video's worker seconds are spent: `python -m tests.benchmarks.worker_profile`. Not a benchmark itself.

The tasks run with spans around their calls (`worker_dags/bench_patches.py`). A row has the time of its spans without
their inner spans, so the rows add up; rows marked ~ ran in another thread and are part of a row that waited for them.
"""

from __future__ import annotations

import argparse
import json
import signal
import statistics
import sys
import tempfile
from collections import defaultdict
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from tests.benchmarks.worker_stage import stage
from tests.stack.demo import narrator, write

KINDS = ("empty", "file", "s3")
SMALL = 0.0005
"""Seconds; packages that import faster share one row."""

OTHERS, BETWEEN = "import of other packages", "between these"
ALL, MODULES = "ALL, from the fork to the end", "   modules imported"
LAST = (OTHERS, BETWEEN, ALL, MODULES)

Process = dict[str, Any]
Row = list[float]
"""Count, wall seconds, CPU seconds."""


def main() -> None:
    """Run tasks of each kind in turn, and print a table for each."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.worker_profile", description=__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    rounds = parser.parse_args().rounds
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with tempfile.TemporaryDirectory(prefix="modelmax-spans-") as name:
        folder = Path(name)
        with stage(narrator(), {"BENCH_SPANS": name}, prefix="profile") as prepared:
            for file in folder.iterdir():  # of the tasks that warmed it up
                file.unlink()
            prepared.run(KINDS, rounds)
        processes = [json.loads(file.read_text()) for file in folder.iterdir()]
    for kind in KINDS:
        write(table(kind, [each for each in processes if each["task"] == kind]) + "\n")


def table(kind: str, processes: list[Process]) -> str:
    """Return a row for each kind of span, with the medians of both segments."""
    segments = [[each for each in processes if each["segment"] == number] for number in (1, 2)]
    columns = [_medians([_rows(each) for each in segment]) for segment in segments]
    small = [name for name in _names(columns) if _is_small(name, columns)]
    for column in columns:
        _add(column.setdefault(OTHERS, [0.0, 0.0, 0.0]), _sum(column.pop(name, [0.0, 0.0, 0.0]) for name in small))
    names = sorted(_names(columns), key=lambda name: name in LAST)  # the others in the order in which they occurred
    head = f"\n{kind}, {len(segments[0])} and {len(segments[1])} processes; ms"
    lines = [f"{head:60}  segment 1: n   wall    CPU    segment 2: n   wall    CPU"]
    for name in names:
        cells = (column.get(name, [0.0, 0.0, 0.0]) for column in columns)
        numbers = "     ".join(f"{row[0]:8.0f} {row[1] * 1e3:6.1f} {row[2] * 1e3:6.1f}" for row in cells)
        lines.append(f"{name[:58]:58}  {numbers}")
    return "\n".join(lines)


def _rows(process: Process) -> dict[str, Row]:
    found: defaultdict[str, Row] = defaultdict(lambda: [0.0, 0.0, 0.0])
    found["Airflow: from the fork to the DAG file"] = [1, process["start_wall"], process["start_cpu"]]
    for span in sorted(process["spans"], key=lambda each: each["at"]):
        _add(found[_name(span)], [1, span["wall"] - span["inner"], span["cpu"] - span["inner_cpu"]])
    own = [row for name, row in found.items() if not name.startswith("~")]
    total = [1, process["end_wall"], process["end_cpu"]]
    found[BETWEEN] = [1, *(total[at] - sum(row[at] for row in own) for at in (1, 2))]
    found[ALL] = total
    found[MODULES] = [process["new_modules"], 0, 0]
    return found


def _name(span: dict[str, Any]) -> str:
    if span["kind"] != "import":
        return f"{'' if span['main'] else '~ '}{span['kind']}: {span['name']}"
    parts = span["name"].split(".")
    return f"import {'.'.join(parts[:3] if parts[0] == 'airflow' else parts[:1])}"


def _add(row: Row, more: Iterable[float]) -> None:
    row[:] = [a + b for a, b in zip(row, more, strict=True)]


def _sum(rows: Iterable[Row]) -> Row:
    total = [0.0, 0.0, 0.0]
    for row in rows:
        _add(total, row)
    return total


def _names(columns: Iterable[dict[str, Row]]) -> list[str]:
    return list(dict.fromkeys(name for column in columns for name in column))


def _is_small(name: str, columns: Iterable[dict[str, Row]]) -> bool:
    return name.startswith("import ") and all(column[name][1] < SMALL for column in columns if name in column)


def _medians(processes: list[dict[str, Row]]) -> dict[str, Row]:
    return {name: _median([rows.get(name, [0.0, 0.0, 0.0]) for rows in processes]) for name in _names(processes)}


def _median(rows: list[Row]) -> Row:
    median: Callable[[Iterable[float]], float] = statistics.median
    return [median(values) for values in zip(*rows, strict=True)]


if __name__ == "__main__":
    main()
