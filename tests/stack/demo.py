"""A demo: a real Airflow makes one video, and each step is reported."""

from __future__ import annotations

import shutil
import sys
import time
from typing import TYPE_CHECKING

from tests.stack.airflow_stack import AirflowStack
from tests.stack.postgres import sqlite
from tests.stack.processes import PROJECT, free_port, is_free
from tests.stack.run_story import Run
from tests.stack.simulator import SimulatorProcess

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

EXAMPLES = PROJECT / "example_dags"
SIMULATOR_KEY = "sk-simulator"
MARK = ".made-by-modelmax-demo"


def demo(home: Path, dag_id: str, timeout: float = 120) -> int:
    """Run the example DAG once, show the video, and return the exit code."""
    say = narrator()
    home = fresh(home)
    say("starting the simulator and Airflow (api-server, scheduler, dag-processor, triggerer)")
    with simulator(home) as service, airflow(home, service, say) as stack:
        stack.wait_for_dag(dag_id)
        run = Run(stack, service, dag_id, stack.trigger(dag_id))
        say(f"DAG {dag_id} triggered")
        state = run.follow(say, timeout)
        report = run.story() if state == "success" else run.failures()
        say("stopping everything")
    write(report)
    say(f"done: {state}")
    return 0 if state == "success" else 1


def standalone(home: Path) -> int:
    """Run Airflow with all examples and the simulator until Ctrl-C."""
    say = narrator()
    home = fresh(home)
    with (
        simulator(home, port=preferred(8765)) as service,
        airflow(home, service, say, preferred(8080)) as stack,
    ):
        write(
            f"\n  Airflow UI   {stack.url}   (no login asked: everybody on this machine is admin)\n"
            f"  Simulator    {service.url}   (jobs, bills, videos)\n"
            "  Connection   modelmax_default leads to it; the UI does not list it, as it comes from the environment\n"
            f"  Logs         {home / 'processes'}\n"
            "  Ctrl-C ends everything.\n"
        )
        while True:
            for each in (*stack.services.values(), service.service):
                each.check()
            time.sleep(1)


def simulator(home: Path, port: int | None = None) -> SimulatorProcess:
    """Return a simulator that is somewhat faster than the real service."""
    options = ("--queue-seconds", "2", "--run-seconds", "7-8")
    return SimulatorProcess(home / "processes", *options, key=SIMULATOR_KEY, port=port)


def airflow(home: Path, service: SimulatorProcess, say: Callable[[str], None], port: int | None = None) -> AirflowStack:
    """Return an Airflow with the examples and a connection to the simulator."""
    return AirflowStack(
        home,
        EXAMPLES,
        sqlite(home),
        connections={"modelmax_default": service.connection},
        environment={"AIRFLOW_VAR_VIDEOS": str(home / "videos")},
        port=port,
        progress=say,
    )


def fresh(home: Path) -> Path:
    """Empty the folder of an earlier run; refuse a folder that is not from one."""
    home = home.resolve()
    if home.exists() and any(home.iterdir()) and not (home / MARK).exists():
        raise SystemExit(f"{home} is not empty and was not made by this command: name another folder with --home")
    shutil.rmtree(home, ignore_errors=True)
    home.mkdir(parents=True)
    (home / MARK).touch()
    return home


def preferred(port: int) -> int:
    """Return this port if it is free, otherwise another."""
    return port if is_free(port) else free_port()


def narrator() -> Callable[[str], None]:
    """Return a function that writes lines, with the seconds since now."""
    started = time.monotonic()
    return lambda line: write(f"{time.monotonic() - started:4.0f} s  {line}\n")


def write(text: str) -> None:
    """Write to standard output without buffering."""
    sys.stdout.write(text)
    sys.stdout.flush()
