"""Measure, print the tables and save them as JSON: `make bench`, `make bench-quick`."""

from __future__ import annotations

import argparse
import importlib
import json
import signal
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.benchmarks.report import Report, circumstances
from tests.stack.demo import narrator, write
from tests.stack.processes import PROJECT

if TYPE_CHECKING:
    from collections.abc import Sequence

BENCHMARKS = ("imports", "schedule", "polling", "download", "store", "worker", "triggerer", "trouble", "batch")
"""Modules of this folder, each with `run(quick, say) -> Report`; the fastest first."""


def main() -> int:
    """Run the chosen benchmarks. A missed target is shown, but is not a failure: a benchmark is not a test."""
    chosen = arguments(sys.argv[1:])
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = narrator()
    reports: list[Report] = []
    for name in chosen.names:
        say(f"{name} …")
        report = importlib.import_module(f"tests.benchmarks.{name}").run(chosen.quick, say)
        reports.append(report)
        write(report.table(color=sys.stdout.isatty()) + "\n")
        _keep(chosen.json, chosen.quick, reports)
    missed = [figure for report in reports for figure in report.figures if not figure.holds]
    write(f"\n{len(missed)} figures miss their target. All of it as JSON: {chosen.json}\n")
    return 0


def arguments(words: Sequence[str]) -> argparse.Namespace:
    """Parse a command line. Without a name it means all benchmarks."""
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    which = f"of {', '.join(BENCHMARKS)} (default: all)"
    parser.add_argument("names", nargs="*", type=_benchmark, default=BENCHMARKS, metavar="NAME", help=which)
    parser.add_argument("--quick", action="store_true", help="fewer and shorter measurements: a few minutes in all")
    parser.add_argument("--json", type=Path, default=PROJECT / ".bench" / "results.json", help="default %(default)s")
    return parser.parse_args(words)


def _benchmark(name: str) -> str:
    """Used instead of `choices`, which refuses a command line without names on Python 3.11."""
    if name not in BENCHMARKS:
        raise argparse.ArgumentTypeError(f"no such benchmark: {name}; there are {', '.join(BENCHMARKS)}")
    return name


def _keep(file: Path, quick: bool, reports: list[Report]) -> None:
    """Keep the other benchmarks in the file, so that one can be repeated alone."""
    file.parent.mkdir(parents=True, exist_ok=True)
    kept = json.loads(file.read_text())["reports"] if file.exists() else {}
    new = {report.name: {**report.as_dict(), "quick": quick, **circumstances()} for report in reports}
    file.write_text(json.dumps({"reports": {**kept, **new}}, indent=1, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main())
