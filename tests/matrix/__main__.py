"""Run the tests on each version, and draw the table: `make matrix`, `make matrix MATRIX="3.1 3.2"`."""

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

_running: list[subprocess.Popen[bytes]] = []


def main() -> int:
    """Run the chosen rows and return the exit code: 0 when nothing failed and something was run."""
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
        except BaseException:  # told to end
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
    report = row.logs / "report.xml"
    report.unlink(missing_ok=True)
    code = _pytest(row, "-m", WITHOUT_AIRFLOW_PROCESSES if chosen.fast else row.tests, "-k", chosen.only)
    outcome = Outcome(row, seconds=time.monotonic() - started)
    if report.exists():
        outcome.cells = read(report)
    if code and outcome.is_good:
        outcome.trouble = f"pytest ended with {code}: {(row.logs / 'pytest.log').relative_to(PROJECT)}"
    return outcome


def _pytest(row: Row, *choice: str) -> int:
    """Run the tests in the environment of the row; what is deprecated and ours is an error."""
    errors = "\n".join(f"error::{kind}:{OURS}" for kind in KINDS)
    command = [str(row.interpreter), "-m", "pytest", "-r", "fEs", *choice, "-o", f"filterwarnings={errors}"]
    command += ["-p", "no:cacheprovider", f"--junitxml={row.logs / 'report.xml'}", f"--basetemp={row.logs / 'files'}"]
    with (row.logs / "pytest.log").open("w") as output:
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
