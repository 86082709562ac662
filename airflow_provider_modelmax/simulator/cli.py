"""The command line: `python -m airflow_provider_modelmax.simulator`."""

from __future__ import annotations

import argparse
import contextlib
import logging
import os
import signal
import sys
import threading
from dataclasses import Field, fields
from typing import Any

from .fault_kinds import describe
from .faults import Fault, parse_fault
from .page import export
from .server import Simulator
from .settings import DEFAULT_KEY, Settings

KEY_VARIABLE = "MODELMAX_API_KEY"
PROG = "python -m airflow_provider_modelmax.simulator"
EPILOG = f"""\
try it by hand, in another terminal (use status_url, response_url and data[].url unchanged):
  K="Authorization: Bearer ${{MODELMAX_API_KEY:-{DEFAULT_KEY}}}"; B=http://127.0.0.1:8765
  curl -sH "$K" -H 'Content-Type: application/json' $B/v1/queue/veo-3.1-fast \\
       -d '{{"prompt": "a lighthouse at dusk", "parameters": {{"duration_seconds": 4}}}}'
  curl -sH "$K" $B<status_url>                  # IN_QUEUE, IN_PROGRESS, COMPLETED or FAILED
  curl -sH "$K" $B<response_url>                # once COMPLETED: this call bills, each time it is made
  curl -sH "$K" $B<data[0].url> -o video.mp4    # H.264 and AAC, with the prompt in the picture

good to know:
  A job whose prompt contains [fail] ends in FAILED, "content policy violation".
  The page at / shows jobs, bills and videos; /simulator/ledger is the same as JSON.
  Every result call of a completed job bills: the service does not specify this, so the worst case is assumed.
  usage.video_seconds is the sum over all samples; the balance is in video-seconds; at 0 a submit is answered with 402.

faults: --fault CALL:KIND[:NAME=VALUE]... (or the same as JSON), CALL is submit, status, result, content or any
  times=N applies it to N calls (default: all), after=N skips the first N; request_id=, model=, prompt= (a part
  of it) and when=STATUS restrict it to some jobs.
  --fault content:cut_body:times=1 --fault status:error:status=429:retry_after=7:after=2:times=3
{describe()}
  error, redirect, html_200 and reset take carry_out=true: the call is carried out, only its answer is lost.

while it runs (from loopback only, no key needed):
  curl -s $B/simulator/faults -d '{{"call": "result", "kind": "lost_answer", "times": 1}}'
  curl -s $B/simulator/settings -d '{{"balance": 0, "key": "sk-other", "run_seconds": "1-2"}}'
  curl -s -X DELETE $B/simulator/faults    # only one: /simulator/faults/ID
  curl -s -X POST $B/simulator/reset       # remove all jobs, calls, bills and faults
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the simulator until SIGINT or SIGTERM."""
    parser = make_parser()
    chosen = parser.parse_args(arguments)
    logging.basicConfig(level=chosen.log_level.upper(), format="%(levelname)s %(name)s: %(message)s")
    if bool(chosen.tls_cert) != bool(chosen.tls_key):
        parser.error("--tls-cert and --tls-key go together")
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    with contextlib.ExitStack() as running:
        simulator = _start(running, parser, chosen)
        for fault in chosen.fault:
            simulator.add_fault(fault)
        _write(greeting(simulator.url, simulator.key))
        stop.wait()
    return 0


def _start(running: contextlib.ExitStack, parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> Simulator:
    """Start the simulator; an invalid option ends the program with a message."""
    try:
        return running.enter_context(make_simulator(chosen))
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror or error} (try --port 0)")


def _write(text: str) -> None:
    """Write and flush; end the program if the reader of a pipe is gone."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python flushes it again at exit
        sys.exit(f"nobody reads where it is: {error.strerror}")


def make_simulator(chosen: argparse.Namespace) -> Simulator:
    """Return the simulator that the options describe."""
    return Simulator(
        host=chosen.host,
        port=chosen.port,
        seed=chosen.seed,
        tls=(chosen.tls_cert, chosen.tls_key) if chosen.tls_cert else None,
        **{each.name: getattr(chosen, each.name) for each in fields(Settings)},
    )


def greeting(url: str, key: str) -> str:
    """Return the URL and the command that points Airflow at it."""
    whose = "It accepts the key of $MODELMAX_API_KEY.\n" if key == os.environ.get(KEY_VARIABLE) else ""
    where = f"ModelMax simulator: {url}\npage with jobs, bills and videos: {url}/\n"
    return f"{where}{export(url, key)}\n{whose}Ctrl-C ends it.\n"


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the options."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="The ModelMax video service on this machine: the same four calls, real MP4s, no account, no costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _add_server_options(parser)
    _add_service_options(parser)
    return parser


def _add_server_options(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="a loopback address (default %(default)s)")
    add("--port", default=8765, type=int, help="0 takes any free one (default %(default)s)")
    add("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate")
    add("--tls-key", metavar="FILE", help="and its key")
    add("--log-level", default="warning", choices=("debug", "info", "warning", "error"))


def _add_service_options(parser: argparse.ArgumentParser) -> None:
    for each in fields(Settings):
        _add_setting(parser, each)
    parser.set_defaults(key=os.environ.get(KEY_VARIABLE) or DEFAULT_KEY)
    parser.add_argument("--seed", type=int, help="the same seed gives the same times")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="FAULT",
        help="inject a fault, see below; may be given again",
    )


def _add_setting(parser: argparse.ArgumentParser, each: Field[Any]) -> None:
    """Add the option of a setting; the setting checks the value."""
    flag, about = f"--{each.name.replace('_', '-')}", each.metadata["about"]
    more: dict[str, Any] = {"dest": each.name, "default": each.default}
    if isinstance(each.default, bool):
        more |= {"action": argparse.BooleanOptionalAction, "help": about}
    elif isinstance(each.default, tuple):
        flag = flag.removesuffix("s")
        more |= {"action": "append", "default": [], "metavar": "ID", "help": f"{about}; may be given again"}
    else:
        default = each.default if isinstance(each.default, str) else f"{each.default:g}"
        known = f"${KEY_VARIABLE}, else {default}" if each.name == "key" else default
        unit = each.name.rpartition("_")[2].upper()
        more |= {"type": type(each.default), "metavar": unit, "help": f"{about} (default {known})"}
    parser.add_argument(flag, **more)


def _fault(written: str) -> Fault:
    try:
        return parse_fault(written)
    except (ValueError, TypeError) as error:
        raise argparse.ArgumentTypeError(str(error)) from None
