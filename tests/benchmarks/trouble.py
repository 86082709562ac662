"""What a thousand triggers do when the key is changed, and when the service is down, refuses or hangs for minutes."""

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
"""Seconds before each outage, which show the usual rate."""
AFTER = 30
"""Seconds after it, in which all triggers poll again."""
HANGS = 40
"""Seconds. Shorter than the timeout of a call (60 s), so that all calls are answered in the end."""


@dataclass(frozen=True)
class Outage:
    """An outage, observed before, during and after."""

    name: str
    seconds: int
    before: list[int]
    """Calls that the server saw, by second."""
    during: list[int]
    after: list[int]
    ended: int
    """Triggers that ended."""
    lines: int
    look_ups: int
    grown: int
    """Memory growth of the runner at the end of it, in bytes."""
    longest: float
    """The longest time that its event loop was blocked, in seconds."""

    @property
    def burst(self) -> float:
        """Calls in the busiest second after the outage, relative to the usual mean."""
        return max(self.after) / statistics.mean(self.before)


def run(quick: bool, say: Say) -> Report:
    """Cause one outage after the other for the same triggers."""
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
    """Change the key of the connection; from then on the service refuses the old one."""
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
    """Cause an outage for some seconds."""
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
    # Read only now: during the outage the server may not answer. If it was killed, it has seen nothing.
    during = crowd.calls(begin, begin + seconds)["per_second"]
    after = crowd.calls(back, back + AFTER)["per_second"]
    lines, looked_up = crowd.lines() - lines, crowd.look_ups() - looked_up
    longest = max((each.seconds for each in crowd.blocked(begin)), default=0.0)
    return Outage(name, seconds, before, during, after, _ended(crowd), lines, looked_up, grown, longest)


@contextlib.contextmanager
def answers_503(crowd: Crowd) -> Iterator[None]:
    """Answer 503."""
    crowd.stage.server.ask("behave", down=True)
    yield
    crowd.stage.server.ask("behave")


@contextlib.contextmanager
def gone(crowd: Crowd) -> Iterator[None]:
    """Kill the server, then start it again."""
    crowd.stage.server.service.kill()
    yield
    crowd.stage.server.start()


@contextlib.contextmanager
def hangs(crowd: Crowd) -> Iterator[None]:
    """Suspend the server: the system still accepts connections for it."""
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
            detail=f"the triggerer's event loop was blocked for up to {found.longest:.2f} s",
        ),
    ]
