"""The commands behind `make demo` and `make standalone`."""

from __future__ import annotations

import argparse
import signal
import sys
from pathlib import Path

from tests.stack.demo import demo, standalone
from tests.stack.processes import PROJECT


def main() -> int:
    """Run one of the two commands. Ctrl-C and SIGTERM stop everything that it started."""
    parser = argparse.ArgumentParser(prog="python -m tests.stack", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("demo", help="run the example DAG once in a real Airflow and show the video")
    one.add_argument("--home", type=Path, default=PROJECT / ".demo", help="folder for everything, emptied first")
    one.add_argument("--dag", default="modelmax_text_to_video", help="which example (default %(default)s)")
    all_ = commands.add_parser("standalone", help="Airflow UI with all examples and the simulator, until Ctrl-C")
    all_.add_argument("--home", type=Path, default=PROJECT / ".standalone", help="folder for everything, emptied first")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    try:
        return demo(chosen.home, chosen.dag) if chosen.command == "demo" else standalone(chosen.home)
    except KeyboardInterrupt:
        return 130 if chosen.command == "demo" else 0


sys.exit(main())
