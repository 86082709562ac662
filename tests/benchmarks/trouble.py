"""What a thousand waits do when the key is changed, and when the service is gone, refuses or hangs for minutes."""

from __future__ import annotations

import contextlib
import math
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass

from tests.benchmarks.report import Figure, Report, Say
from tests.benchmarks.usage import look
from tests.benchmarks.waits import KEY, Crowd, stage
from tests.stack.processes import wait_until

NEW_KEY = "sk-bench-key-two"
STEADY = 20
"""Seconds before each trouble that show what is usual."""
AFTER = 30
"""Seconds after it in which all come back."""
HANGS = 40
"""Seconds: shorter than a call may take (60 s), so that all that hang are answered in the end."""


@dataclass(frozen=True)
class Outage:
    """What was seen before, during and after."""

    name: str
    seconds: int
    before: list[int]
    """Calls of each second that the server saw."""
    during: list[int]
    after: list[int]
    ended: int
    """Waits that ended."""
    lines: int
    look_ups: int
    grown: int
    """Bytes by which the runner had grown at the end of it."""
    longest: float
    """Seconds for which its loop stood still, at most."""

    @property
    def burst(self) -> float:
        """Calls of the busiest second after the return, over the mean of the usual ones."""
        return max(self.after) / statistics.mean(self.before)


def run(quick: bool, say: Say) -> Report:
    """Make one trouble after the other for the same waits."""
    count, seconds = (200, 20) if quick else (1000, 300)
    with stage(say) as prepared, prepared.waiting("modelmax", count) as crowd:
        figures = rotation(crowd, say)
        outages = [
            outage(crowd, "answers 503", seconds, answers_503, say),
            outage(crowd, "is gone (connection refused)", seconds, gone, say),
        ]
        if not quick:
            outages.append(outage(crowd, "hangs (accepts calls, but does not answer)", HANGS, hangs, say))
    figures += [figure for each in outages for figure in _figures(each, count)]
    about = f"{count:,} triggers in the real `airflow triggerer` when something goes wrong"
    return Report("trouble", about, figures, {"outages": [asdict(each) for each in outages]})


def rotation(crowd: Crowd, say: Say) -> list[Figure]:
    """Change the key of the connection; then the service refuses the old one."""
    say("  the key is changed")
    crowd.stage.connect(NEW_KEY)
    looked_up, lines, since = crowd.look_ups(), crowd.lines(), time.time()
    crowd.stage.server.ask("behave", refused=KEY)
    accepted: dict[str, float] = {}

    def all_accepted() -> bool:
        accepted.update(crowd.stage.server.ask("firsts", since=since, status=200))
        return len(accepted) == crowd.count or _ended(crowd) > 0

    with contextlib.suppress(TimeoutError):
        wait_until(all_accepted, 60, "all poll with the new key")
    until = max(accepted.values()) - since if len(accepted) == crowd.count else math.inf
    refused = crowd.calls(since, time.time())["statuses"].get("401", 0)
    crowd.stage.server.ask("behave")
    logged = f"{(crowd.lines() - lines) / crowd.count:.2f} log lines a trigger"
    return [
        Figure("key changed: triggers that end", _ended(crowd), "≤ 0", "", detail=logged),
        Figure("key changed: lookups", crowd.look_ups() - looked_up, "≤ 5", "", detail=f"{refused} calls were refused"),
        Figure("key changed: until all poll with the new key", until, "", "s"),
    ]


def outage(
    crowd: Crowd,
    name: str,
    seconds: int,
    trouble: Callable[[Crowd], contextlib.AbstractContextManager[None]],
    say: Say,
) -> Outage:
    """Let the service be in trouble for some seconds."""
    say(f"  the service {name} for {seconds} s")
    lines, looked_up = crowd.lines(), crowd.look_ups()
    usual = time.time()
    time.sleep(STEADY)
    before = crowd.calls(usual, usual + STEADY)["per_second"]
    begin, memory = time.time(), _memory(crowd)
    with trouble(crowd):
        time.sleep(seconds)
        grown = _memory(crowd) - memory
    back = time.time()
    time.sleep(AFTER)
    # Asked for now: while it is in trouble it may not say. One that was killed has seen nothing meanwhile.
    during = crowd.calls(begin, begin + seconds)["per_second"]
    after = crowd.calls(back, back + AFTER)["per_second"]
    lines, looked_up = crowd.lines() - lines, crowd.look_ups() - looked_up
    longest = max((each.seconds for each in crowd.blocked(begin)), default=0.0)
    return Outage(name, seconds, before, during, after, _ended(crowd), lines, looked_up, grown, longest)


@contextlib.contextmanager
def answers_503(crowd: Crowd) -> Iterator[None]:
    """Answer that the service is down."""
    crowd.stage.server.ask("behave", down=True)
    yield
    crowd.stage.server.ask("behave")


@contextlib.contextmanager
def gone(crowd: Crowd) -> Iterator[None]:
    """Kill the server, and start it again."""
    crowd.stage.server.service.kill()
    yield
    crowd.stage.server.start()


@contextlib.contextmanager
def hangs(crowd: Crowd) -> Iterator[None]:
    """Stop the server where it stands: the system still takes connections for it."""
    crowd.stage.server.service.signal(signal.SIGSTOP)
    try:
        yield
    finally:
        crowd.stage.server.service.signal(signal.SIGCONT)


def _memory(crowd: Crowd) -> int:
    return look(crowd.processes)[1].memory


def _ended(crowd: Crowd) -> int:
    return crowd.count - crowd.stage.states().get("deferred", 0)


def _figures(found: Outage, count: int) -> list[Figure]:
    usual, name = statistics.mean(found.before), f"service {found.name}, {found.seconds} s"
    asked = f"{statistics.mean(found.during):.0f} a second reached it meanwhile"
    busiest = max(found.before) / usual
    return [
        Figure(f"{name}: triggers that end", found.ended, "≤ 0", "", detail=f"{found.look_ups} lookups meanwhile"),
        Figure(
            f"{name}: busiest second of the {AFTER} s after it",
            found.burst,
            "≤ 2",
            detail=f"{max(found.after)} calls, usual {usual:.0f} a second; before it {busiest:.2f} x; {asked}",
        ),
        Figure(f"{name}: log lines", found.lines / count, "", "a trigger"),
        Figure(
            f"{name}: memory growth",
            found.grown / count / 1000,
            "",
            "kB a trigger",
            detail=f"the triggerer's loop stood still for up to {found.longest:.2f} s",
        ),
    ]
