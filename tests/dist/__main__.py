"""The command behind `make dist`: build, check, and make a video with nothing but the wheel."""

from __future__ import annotations

import shutil
import socket
import sys
import tempfile
from pathlib import Path

from tests.dist.archives import SIMULATOR_EXTRA, Archives, build, check, count_tests
from tests.dist.clean_room import CleanRoom
from tests.stack.demo import narrator
from tests.stack.processes import PROJECT, free_port, running, wait_until


def main() -> int:
    """Leave wheel and sdist in dist/ when all of it went well."""
    say = narrator()
    out = PROJECT / "dist"
    shutil.rmtree(out, ignore_errors=True)
    archives = build(out)
    say(f"built {archives.sdist.name}, and from it {archives.wheel.name}")
    say(f"twine check --strict: {check(archives).count('PASSED')} passed")
    with tempfile.TemporaryDirectory(prefix="modelmax-sdist-") as folder:
        say(f"unpacked sdist: {count_tests(archives, Path(folder))} tests found")
    with tempfile.TemporaryDirectory(prefix="modelmax-dist-") as folder:
        use(archives, CleanRoom(Path(folder), say))
    say(f"all well: {out.name}/ can be uploaded")
    return 0


def use(archives: Archives, room: CleanRoom) -> None:
    """Install the wheel alone, then with the simulator, and make a video."""
    room.install(archives)
    room.import_all("provider")
    room.register()
    room.install(archives, SIMULATOR_EXTRA)
    room.import_all("simulator")
    port = free_port()
    with running(room.simulator(port)) as simulator:
        wait_until(lambda: simulator.check() or listens(port), 60, "simulator listens", simulator.tail)
        readme = str(archives.metadata().get_payload())
        room.make_video(readme, simulator, f"http://127.0.0.1:{port}")


def listens(port: int) -> bool:
    """Say whether somebody listens there."""
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


sys.exit(main())
