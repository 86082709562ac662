"""The command line: its flags, its help, and what it prints."""

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
try it by hand, in another terminal (status_url, response_url and data[].url are used as they came):
  K="Authorization: Bearer ${{MODELMAX_API_KEY:-{DEFAULT_KEY}}}"; B=http://127.0.0.1:8765
  curl -sH "$K" -H 'Content-Type: application/json' $B/v1/queue/veo-3.1-fast \\
       -d '{{"prompt": "a lighthouse at dusk", "parameters": {{"duration_seconds": 4}}}}'
  curl -sH "$K" $B<status_url>                  # IN_QUEUE, IN_PROGRESS, COMPLETED or FAILED
  curl -sH "$K" $B<response_url>                # once COMPLETED: this call bills, each time it is made
  curl -sH "$K" $B<data[0].url> -o video.mp4    # H.264 and AAC, with the prompt in the picture

what to know:
  A prompt that holds [fail] ends in FAILED, "content policy violation".
  The page at / shows jobs, bills and videos; /simulator/ledger is the same as JSON.
  Every result call of a completed job bills: the service does not say, so this is the worst reading.
  usage.video_seconds is the sum over all samples; the balance counts video-seconds; at 0 a submit answers 402.

faults: --fault CALL:KIND[:NAME=VALUE]... (or the same as JSON), CALL being submit, status, result, content or any
  times=N strikes N calls (default: all), after=N spares the first N; request_id=, model=, prompt= (a part of
  it) and when=COMPLETED narrow it down.
  --fault content:cut_body:times=1 --fault status:error:status=429:retry_after=7:after=2:times=3
{describe()}
  error, redirect, html_200 and reset take carry_out=true: the call does its work, only the answer is lost.

while it runs (loopback only, no key):
  curl -s $B/simulator/faults -d '{{"call": "result", "kind": "lost_answer", "times": 1}}'
  curl -s $B/simulator/settings -d '{{"balance": 0, "key": "sk-other", "run_seconds": "1-2"}}'
  curl -s -X DELETE $B/simulator/faults    # one of them: /simulator/faults/ID
  curl -s -X POST $B/simulator/reset       # forget everything
"""


def main(arguments: list[str] | None = None) -> int:
    """Run the simulator until it is told to stop."""
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
        _say(greeting(simulator.url, simulator.key))
        stop.wait()
    return 0


def _start(running: contextlib.ExitStack, parser: argparse.ArgumentParser, chosen: argparse.Namespace) -> Simulator:
    """Start the simulator, or say which of the flags it is that does not work."""
    try:
        return running.enter_context(make_simulator(chosen))
    except ValueError as error:
        parser.error(str(error))
    except OSError as error:
        parser.error(f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror or error} (try --port 0)")


def _say(text: str) -> None:
    """Print at once; end when nobody reads it, as a pipe ends its writers."""
    try:
        sys.stdout.write(text)
        sys.stdout.flush()
    except BrokenPipeError as error:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python writes it again at its end
        sys.exit(f"nobody reads where it is: {error.strerror}")


def make_simulator(chosen: argparse.Namespace) -> Simulator:
    """Turn the flags into a simulator."""
    return Simulator(
        host=chosen.host,
        port=chosen.port,
        seed=chosen.seed,
        tls=(chosen.tls_cert, chosen.tls_key) if chosen.tls_cert else None,
        **{each.name: getattr(chosen, each.name) for each in fields(Settings)},
    )


def greeting(url: str, key: str) -> str:
    """Say where it is and how to point Airflow at it."""
    whose = "It accepts the key of $MODELMAX_API_KEY.\n" if key == os.environ.get(KEY_VARIABLE) else ""
    where = f"ModelMax simulator: {url}\npage with jobs, bills and videos: {url}/\n"
    return f"{where}{export(url, key)}\n{whose}Ctrl-C ends it.\n"


def make_parser() -> argparse.ArgumentParser:
    """Lay out the flags."""
    parser = argparse.ArgumentParser(
        prog=PROG,
        description="The ModelMax video service on this machine: the same four calls, real MP4s, no account, no costs.",
        epilog=EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    _where(parser)
    _how(parser)
    return parser


def _where(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--host", default="127.0.0.1", help="a loopback address (default %(default)s)")
    add("--port", default=8765, type=int, help="0 takes any free one (default %(default)s)")
    add("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate")
    add("--tls-key", metavar="FILE", help="and its key")
    add("--log-level", default="warning", choices=("debug", "info", "warning", "error"))


def _how(parser: argparse.ArgumentParser) -> None:
    for each in fields(Settings):
        _setting(parser, each)
    parser.set_defaults(key=os.environ.get(KEY_VARIABLE) or DEFAULT_KEY)
    parser.add_argument("--seed", type=int, help="same number, same times")
    parser.add_argument(
        "--fault",
        action="append",
        default=[],
        type=_fault,
        metavar="FAULT",
        help="misbehave, see below; may be given again",
    )


def _setting(parser: argparse.ArgumentParser, each: Field[Any]) -> None:
    """Lay out the flag of one setting; what its value must be is for the setting itself to say."""
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
