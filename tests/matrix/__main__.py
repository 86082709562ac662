"""Run the tests on each version and print the table: `make matrix`, `make matrix MATRIX="3.1 3.2"`."""

from __future__ import annotations

import argparse
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

from tests.matrix.environments import FOLDER, ROWS, WITHOUT_AIRFLOW_PROCESSES, NotRunError, Row, make
from tests.matrix.results import read
from tests.matrix.table import Outcome, table
from tests.stack.demo import narrator, write
from tests.stack.processes import PROJECT, child_environment

OURS = r"airflow_provider_modelmax\b.*"
KINDS = ("DeprecationWarning", "PendingDeprecationWarning", "FutureWarning")

AT_ONCE = ("-n", "4", "--dist", "worksteal")
"""Tests that start no Airflow mostly wait."""

NOTHING_CHOSEN = 5
"""pytest's exit code if no test was selected."""

_running: list[subprocess.Popen[bytes]] = []


def main() -> int:
    """Run the chosen rows and return the exit code: 0 if something was run and nothing failed."""
    chosen = _arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    say = narrator()

    def outcome_of(row: Row) -> Outcome:
        say(f"{row.name}: Airflow {row.airflow}, Python {row.python}; logs in {row.logs.relative_to(PROJECT)}")
        outcome = _outcome(row, chosen)
        say(f"{row.name}: {_verdict(outcome)}")
        return outcome

    with ThreadPoolExecutor(chosen.at_once) as pool:
        try:
            outcomes = list(pool.map(outcome_of, [row for row in ROWS if row.name in chosen.rows]))
        except BaseException:  # SIGTERM
            pool.shutdown(wait=False, cancel_futures=True)
            for process in _running:
                process.kill()
            raise
    drawn = table(outcomes)
    (FOLDER / "table.txt").write_text(f"{drawn}\n")
    write(f"\n{drawn}\n")
    return 0 if all(each.is_good for each in outcomes) and any(each.cells for each in outcomes) else 1


def _arguments() -> argparse.Namespace:
    names = [row.name for row in ROWS]
    parser = argparse.ArgumentParser(prog="python -m tests.matrix", description=__doc__)
    parser.add_argument("rows", nargs="*", metavar="row", help=f"of {', '.join(names)} (default: all)")
    parser.add_argument("--fast", action="store_true", help="only the tests that start no Airflow")
    parser.add_argument("--only", metavar="NAMES", default="", help="only the tests that pytest's -k chooses by this")
    parser.add_argument("--at-once", metavar="N", type=int, default=1, help="rows that run together (default: 1)")
    chosen = parser.parse_args()
    if unknown := set(chosen.rows) - set(names):
        parser.error(f"no such row: {', '.join(sorted(unknown))}; there are {', '.join(names)}")
    chosen.rows = chosen.rows or names
    return chosen


def _outcome(row: Row, chosen: argparse.Namespace) -> Outcome:
    try:
        make(row)
    except NotRunError as error:
        return Outcome(row, not_run=str(error))
    started = time.monotonic()
    for old in row.logs.glob("*.xml"):
        old.unlink()
    runs = {"fast": ("-m", WITHOUT_AIRFLOW_PROCESSES, *AT_ONCE)}
    if row.starts_airflow and not chosen.fast:
        runs["system"] = ("-m", f"not ({WITHOUT_AIRFLOW_PROCESSES})")
    codes = {name: _pytest(row, name, *choice, "-k", chosen.only) for name, choice in runs.items()}
    outcome = Outcome(row, cells=read(*row.logs.glob("*.xml")), seconds=time.monotonic() - started)
    bad = {name: code for name, code in codes.items() if code not in {0, NOTHING_CHOSEN}}
    if bad and outcome.is_good:
        outcome.trouble = f"pytest ended with {bad}: see {row.logs.relative_to(PROJECT)}"
    return outcome


def _pytest(row: Row, name: str, *choice: str) -> int:
    """Run tests in the environment of the row; deprecation warnings caused by our code are errors."""
    errors = "\n".join(f"error::{kind}:{OURS}" for kind in KINDS)
    command = [str(row.interpreter), "-m", "pytest", "-r", "fEs", *choice, "-o", f"filterwarnings={errors}"]
    command += ["-p", "no:cacheprovider", f"--junitxml={row.logs / f'{name}.xml'}", f"--basetemp={row.logs / 'files'}"]
    with (row.logs / f"{name}.log").open("w") as output:
        process = subprocess.Popen(
            command, cwd=PROJECT, env=child_environment({}), stdout=output, stderr=subprocess.STDOUT
        )
        _running.append(process)
        return process.wait()


def _verdict(outcome: Outcome) -> str:
    if outcome.not_run:
        return f"not run: {outcome.not_run}"
    return f"{'pass' if outcome.is_good else 'FAIL'} ({outcome.seconds:.0f} s)"


if __name__ == "__main__":
    sys.exit(main())
