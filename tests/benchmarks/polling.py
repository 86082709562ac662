"""Polling in one event loop: the cost compared with peers and bare aiohttp, and thousands of triggers at once.

The server has one CPU core and the polling process the other; each measurement has a new process.
"""

from __future__ import annotations

import json
import os
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.benchmarks.pollers import ACCOUNT, CONNECTION, KEY, Cost, Order
from tests.benchmarks.report import Figure, Report, Say, number
from tests.benchmarks.status_server import StatusServer
from tests.stack.processes import PROJECT, child_environment
from tests.stack.tls import certificate

if TYPE_CHECKING:
    from typing_extensions import Self

ABOUT = (
    "polls per CPU-second at full speed, and what many triggers that poll every 5 s cost; one event loop, the "
    "certificate is verified"
)

NAMES = {
    "bare": "bare aiohttp, one session",
    "aget_status": "our aget_status",
    "ours": "our trigger",
    "dbt": "dbt Cloud's trigger",
    "http": "the HTTP provider's sensor trigger",
}

AT_FULL_SPEED = (
    ("aget_status", "bare", "TLS", "≥ 0.9"),
    ("aget_status", "bare", "plain", "≥ 0.9"),
    ("ours", "bare", "TLS", ""),
    ("ours", "bare", "plain", ""),
    ("ours", "dbt", "TLS", "≥ 10"),
    ("ours", "http", "TLS", "≥ 10"),
    ("ours", "http", "plain", ""),
)
"""The comparisons. dbt Cloud's hook supports only TLS."""

TOGETHER = ("bare", "aget_status", "ours")
"""Ways that take turns in one process: a program can be up to a fifth slower in one process than in the next."""

TURNS = 5
"""Turns of each way in each round at full speed."""

INTERVAL = 5.0
"""Seconds between two polls of a trigger, as the service recommends."""

ON_THE_WAY = 0.03
"""Seconds that an answer takes, as from a remote service: the triggers then need more than one connection."""

Costs = dict[Any, list[Cost]]


class Bench:
    """The setup of the measurements: a folder, a certificate, two cores if there are two."""

    def __init__(self, home: Path) -> None:
        self.home = home
        self.certificate = certificate(home)
        cores = sorted(os.sched_getaffinity(0))
        self.core, self.server_core = (cores[0], cores[-1]) if len(cores) > 1 else (None, None)

    def server(self, answers_after: float = 0) -> StatusServer:
        """Return the server, as a context manager."""
        return StatusServer(self.home, self.certificate, self.server_core, answers_after)

    def poller(self, server: StatusServer, ways: Sequence[str], wire: str = "TLS", **order: Any) -> Poller:
        """Return a new process that polls, as a context manager."""
        url, ca = server.tls if wire == "TLS" else server.plain, str(self.certificate.ca)
        ordered = Order(ways=ways, url=url, counter=server.plain, ca=ca, core=self.core, **order)
        return Poller(ordered, self._environment(ways[0], url), self.home / f"{ways[0]}.log")

    def _environment(self, way: str, url: str) -> dict[str, str]:
        ca = str(self.certificate.ca)
        settings = {
            "PYTHONPATH": str(PROJECT),
            "AIRFLOW_HOME": str(self.home / "airflow"),
            "AIRFLOW__LOGGING__LOGGING_LEVEL": "ERROR",  # the peers would log a line for each poll
            "SSL_CERT_FILE": ca,  # the peers have no such setting
            f"AIRFLOW_CONN_{CONNECTION.upper()}": _connection(way, url, ca),
        }
        return child_environment(settings)


class Poller:
    """A process that polls. It ends when its input is closed, so it never outlives us."""

    def __init__(self, order: Order, environment: dict[str, str], log: Path) -> None:
        self._command = [sys.executable, "-m", "tests.benchmarks.pollers", json.dumps(asdict(order))]
        self._environment, self._log = environment, log

    def __enter__(self) -> Self:
        """Start it."""
        with self._log.open("wb") as log:
            pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": log}
            self._process = subprocess.Popen(self._command, env=self._environment, text=True, **pipes)
        return self

    def __exit__(self, *_: object) -> None:
        """Stop it."""
        self._process.kill()
        self._process.communicate()

    def cost(self, way: str) -> Cost:
        """Make it measure, and return the cost."""
        self._process.stdin.write(f"{way}\n")
        self._process.stdin.flush()
        if line := self._process.stdout.readline():
            return Cost(**json.loads(line))
        raise RuntimeError(f"the poller ended with {self._process.wait()}\n{self._log.read_text()[-4000:]}")


def run(quick: bool, say: Say) -> Report:
    """Measure."""
    report = Report("polling", ABOUT)
    with tempfile.TemporaryDirectory(prefix="modelmax-bench-") as folder:
        bench = Bench(Path(folder))
        _tell_speed(report, _at_full_speed(bench, 3 if quick else 5, say))
        costs = _many_waits(bench, quick, say)
    for waits in (1_000, 5_000):
        _tell_waits(report, waits, costs["ours", waits], costs["idle", waits])
    points = sorted((way, waits) for way, waits in costs if way != "idle")
    report.series["waits"] = [_point(*each, costs[each]) for each in points]
    return report


def _at_full_speed(bench: Bench, rounds: int, say: Say) -> dict[tuple[str, str], list[float]]:
    """Return polls per CPU-second, one figure for each round.

    The ways take turns of half a second, so that noise affects all of them equally; each round has new processes.
    """
    groups = [(TOGETHER, "TLS"), (TOGETHER, "plain"), (("dbt",), "TLS"), (("http",), "TLS"), (("http",), "plain")]
    times = {"waits": 50, "pause": 0.001, "warm_up": 1, "seconds": 0.5}
    speeds: dict[tuple[str, str], list[float]] = defaultdict(list)
    with bench.server() as server:
        for done in range(rounds):
            say(f"at full speed: round {done + 1} of {rounds}")
            with ExitStack() as stack:
                pollers = {group: stack.enter_context(bench.poller(server, *group, **times)) for group in groups}
                ways = [(way, group) for group in groups for way in group[0]]
                turns = [{each: pollers[each[1]].cost(each[0]) for each in ways} for _ in range(TURNS + 1)]
            for way, group in ways:
                costs = [turn[way, group] for turn in turns[1:]]  # the first one includes imports and new connections
                speeds[way, group[1]].append(sum(each.polls for each in costs) / sum(each.cpu for each in costs))
    return speeds


def _tell_speed(report: Report, speeds: dict[tuple[str, str], list[float]]) -> None:
    for way, peer, wire, target in AT_FULL_SPEED:
        ours, theirs = speeds[way, wire], speeds[peer, wire]
        detail = f"{number(statistics.median(ours))} against {number(statistics.median(theirs))} polls per CPU-second"
        what = f"{NAMES[way]} against {NAMES[peer]}, {wire}"
        report.figures.append(Figure.of(what, _ratios(ours, theirs), target, detail=detail))
    report.series["full_speed"] = [
        {"way": way, "name": NAMES[way], "wire": wire, "polls_per_cpu_second": statistics.median(measured)}
        for (way, wire), measured in speeds.items()
    ]


def _many_waits(bench: Bench, quick: bool, say: Say) -> Costs:
    kinds = [(way, waits) for way in ("ours", "idle") for waits in (1_000, 5_000)] + [("dbt", 1_000)]
    if not quick:
        kinds += [("ours", waits) for waits in (100, 300, 3_000, 10_000)] + [("dbt", waits) for waits in (100, 300)]
    costs: Costs = defaultdict(list)
    with bench.server(ON_THE_WAY) as server:
        for done in range(1 if quick else 3):
            for way, waits in kinds:
                say(f"{waits:,} waits, {NAMES.get(way, way)}: round {done + 1}")
                # All have started after one interval; from then on each is due once per interval.
                times = {"warm_up": 1, "seconds": 1} if way == "idle" else {"warm_up": INTERVAL + 3, "seconds": 15}
                with bench.poller(server, [way], waits=waits, pause=INTERVAL, **times) as poller:
                    costs[way, waits].append(poller.cost(way))
    return costs


def _tell_waits(report: Report, waits: int, costs: list[Cost], idle: list[Cost]) -> None:
    name, due = f"{waits:,} triggers at {INTERVAL:g} s", waits / INTERVAL
    on_time = [each.polls / each.wall / due for each in costs]
    memory = [(each.memory - none.memory) / waits / 1000 for each, none in zip(costs, idle, strict=True)]
    sockets = f"{statistics.median(each.connections / each.polls for each in costs):.2g} opened for each poll"
    report.figures += [
        Figure.of(f"{name}: share of due polls made", on_time, "≥ 0.98", detail=f"{number(due)} polls/s due"),
        Figure.of(f"{name}: cores used", [each.cpu / each.wall for each in costs], unit=""),
        Figure.of(f"{name}: event loop lag, 99th percentile", [each.lag * 1000 for each in costs], unit="ms"),
        Figure.of(f"{name}: sockets open", [each.sockets for each in costs], "≤ 100", unit="", detail=sockets),
        Figure.of(f"{name}: memory for each trigger, beyond an idle one", memory, "≤ 12", unit="kB"),
    ]


def _point(way: str, waits: int, costs: list[Cost]) -> dict[str, Any]:
    return {
        "way": way,
        "name": NAMES[way],
        "waits": waits,
        "cores": statistics.median(each.cpu / each.wall for each in costs),
        "polls_of_due": statistics.median(each.polls / each.wall * INTERVAL / waits for each in costs),
        "lag_seconds": statistics.median(each.lag for each in costs),
        "sockets": statistics.median(each.sockets for each in costs),
    }


def _ratios(ours: list[float], theirs: list[float]) -> list[float]:
    return [one / other for one, other in zip(ours, theirs, strict=True)]


def _connection(way: str, url: str, ca: str) -> str:
    """Return the Airflow connection that a way needs, as JSON."""
    host = url.removeprefix("https://")  # dbt Cloud's is a host name, and always uses TLS
    of = {
        "dbt": {"conn_type": "dbt_cloud", "host": host, "login": str(ACCOUNT), "password": KEY},
        "http": {"conn_type": "http", "host": url},
    }
    ours = {"conn_type": "modelmax", "host": url, "password": KEY, "extra": {"verify": ca}}
    return json.dumps(of.get(way, ours))
