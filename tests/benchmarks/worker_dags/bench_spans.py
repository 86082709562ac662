"""Where a task's process spends its time: spans around imports, calls and phases, each without its inner spans.

Only the DAG files of the profile load it, at their top: from then on the process is measured until it ends.
"""

from __future__ import annotations

import atexit
import functools
import importlib._bootstrap as bootstrap
import json
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

FOLDER = "BENCH_SPANS"
"""The environment variable with the folder for the results."""

_spans: list[dict[str, Any]] = []
_open: list[dict[str, Any]] = []
"""Open spans of the main thread, outermost first."""
_about: dict[str, Any] = {}
_on_import: dict[str, Callable[[Any], None]] = {}


def start() -> None:
    """Measure this process from now on, and write the results when it ends."""
    _about.update(modules=len(sys.modules), start_wall=_since_birth(), start_cpu=time.process_time())
    _watch_imports()
    atexit.register(_write)


def about(**facts: Any) -> None:
    """Record facts about the process."""
    _about.update(facts)


@contextmanager
def span(kind: str, name: str) -> Iterator[None]:
    """Measure a block, and its inner spans in the same thread."""
    main = threading.current_thread() is threading.main_thread()
    one: dict[str, Any] = {
        "kind": kind,
        "name": name,
        "main": main,
        "at": _since_birth(),
        "inner": 0.0,
        "inner_cpu": 0.0,
    }
    if main:
        _open.append(one)
    wall, cpu = time.perf_counter(), time.process_time()
    try:
        yield
    finally:
        one["wall"], one["cpu"] = time.perf_counter() - wall, time.process_time() - cpu
        _spans.append(one)
        if main:
            _open.pop()
            if _open:
                _open[-1]["inner"] += one["wall"]
                _open[-1]["inner_cpu"] += one["cpu"]


def around(owner: Any, attribute: str, kind: str, name: Callable[..., str] | None = None) -> None:
    """Replace a function by one that is measured."""
    inside = getattr(owner, attribute)

    @functools.wraps(inside)
    def outside(*arguments: Any, **options: Any) -> Any:
        with span(kind, name(*arguments, **options) if name else attribute):
            return inside(*arguments, **options)

    setattr(owner, attribute, outside)


def on_import(module: str, act: Callable[[Any], None]) -> None:
    """Call ``act`` with a module, now or as soon as it is imported."""
    if module in sys.modules:
        act(sys.modules[module])
    else:
        _on_import[module] = act


def _watch_imports() -> None:
    find_and_load = bootstrap._find_and_load

    def watched(name: str, import_: Any) -> Any:
        if name in sys.modules:
            return find_and_load(name, import_)
        with span("import", name):
            module = find_and_load(name, import_)
        if act := _on_import.pop(name, None):
            act(sys.modules[name])
        return module

    bootstrap._find_and_load = watched


def _since_birth() -> float:
    """Return the seconds since the process was forked, in steps of 10 ms."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - _born()


@functools.cache
def _born() -> float:
    fields = Path("/proc/self/stat").read_text().rpartition(")")[2].split()
    return int(fields[19]) / os.sysconf("SC_CLK_TCK")


def _write() -> None:
    end = {
        "end_wall": _since_birth(),
        "end_cpu": time.process_time(),
        "new_modules": len(sys.modules) - _about["modules"],
    }
    file = Path(os.environ[FOLDER]) / f"{os.getpid()}.json"
    file.write_text(json.dumps({**_about, **end, "spans": _spans}))
