"""The command line: its flags, its help, and what it prints."""

from __future__ import annotations

import argparse
import logging
import os
import signal
import sys
import threading

from .fault_kinds import describe
from .faults import parse_fault
from .page import export
from .readers import span
from .server import Simulator, is_loopback
from .settings import DEFAULT_KEY

PROG = "python -m airflow_provider_modelmax.simulator"
EPILOG = f"""\
try it by hand, in another terminal (status_url, response_url and data[].url are used as they came):
  K='Authorization: Bearer {DEFAULT_KEY}'; B=http://127.0.0.1:8765
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
    try:
        faults = [parse_fault(text) for text in chosen.fault]
        simulator = make_simulator(chosen)
    except (ValueError, TypeError) as error:
        parser.error(str(error))
    stop = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda *_: stop.set())
    try:
        with simulator:
            for fault in faults:
                simulator.add_fault(fault)
            sys.stdout.write(greeting(simulator))
            sys.stdout.flush()
            stop.wait()
    except OSError as error:
        parser.error(f"cannot listen on {chosen.host}:{chosen.port}: {error.strerror or error} (try --port 0)")
    return 0


def make_simulator(chosen: argparse.Namespace) -> Simulator:
    """Turn the flags into a simulator."""
    return Simulator(
        host=chosen.host,
        port=chosen.port,
        seed=chosen.seed,
        tls=(chosen.tls_cert, chosen.tls_key) if chosen.tls_cert else None,
        key=chosen.key,
        balance=chosen.balance,
        queue_seconds=chosen.queue_seconds,
        run_seconds=chosen.run_seconds,
        extra_models=tuple(chosen.extra_model),
        filler_bytes=chosen.filler_bytes,
        plain_videos=chosen.plain_videos,
        ranges=not chosen.no_ranges,
    )


def greeting(simulator: Simulator) -> str:
    """Say where it is and how to point Airflow at it."""
    return (
        f"ModelMax simulator: {simulator.url}\n"
        f"page with jobs, bills and videos: {simulator.url}/\n"
        f"{export(simulator.url, simulator.key)}\n"
        "Ctrl-C ends it.\n"
    )


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
    add("--host", default="127.0.0.1", type=_loopback, help="a loopback address (default %(default)s)")
    add("--port", default=8765, type=int, help="0 takes any free one (default %(default)s)")
    add("--key", default=os.environ.get("MODELMAX_API_KEY") or DEFAULT_KEY,
        help=f"the key it accepts (default $MODELMAX_API_KEY, else {DEFAULT_KEY})")  # fmt: skip
    add("--tls-cert", metavar="FILE", help="serve HTTPS with this certificate")
    add("--tls-key", metavar="FILE", help="and its key")
    add("--log-level", default="warning", choices=("debug", "info", "warning", "error"))


def _how(parser: argparse.ArgumentParser) -> None:
    add = parser.add_argument
    add("--balance", default=100_000.0, type=float, help="video-seconds until 402 (default %(default)g)")
    add(
        "--queue-seconds",
        default="1-3",
        type=_span,
        metavar="SPAN",
        help="time IN_QUEUE, 2 or 1-3 (default %(default)s)",
    )
    add(
        "--run-seconds",
        default="5-12",
        type=_span,
        metavar="SPAN",
        help="time IN_PROGRESS (default %(default)s)",
    )
    add("--seed", type=int, help="same number, same times")
    add(
        "--fault",
        action="append",
        default=[],
        metavar="FAULT",
        help="misbehave, see below; may be given again",
    )
    add(
        "--extra-model",
        action="append",
        default=[],
        metavar="ID",
        help="one more model id; may be given again",
    )
    add(
        "--filler-bytes",
        default=0,
        type=int,
        metavar="N",
        help="make each MP4 so many bytes bigger, with a free box",
    )
    add(
        "--plain-videos",
        action="store_true",
        help="draw no prompts: many jobs share one encoding (load tests)",
    )
    add("--no-ranges", action="store_true", help="ignore Range headers")


def _loopback(text: str) -> str:
    if not is_loopback(text):
        raise argparse.ArgumentTypeError("loopback only (127.0.0.1, ::1, localhost)")
    return text


def _span(text: str) -> str:
    try:
        span(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text
