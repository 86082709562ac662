"""Build wheel and sdist, and look into them. Installs nothing."""

from __future__ import annotations

import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from email import message_from_string
from pathlib import Path
from typing import TYPE_CHECKING

from tests.stack.processes import PROJECT, UV

if TYPE_CHECKING:
    from email.message import Message

SIMULATOR_EXTRA = "simulator"


@dataclass(frozen=True)
class Archives:
    """A wheel, and the sdist it was built from."""

    wheel: Path
    sdist: Path

    def in_wheel(self) -> set[str]:
        """Name the files of the wheel."""
        with zipfile.ZipFile(self.wheel) as archive:
            return set(archive.namelist())

    def in_sdist(self) -> set[str]:
        """Name the files of the sdist, without its top folder."""
        with tarfile.open(self.sdist) as archive:
            return {member.name.partition("/")[2] for member in archive if member.isfile()}

    def metadata(self) -> Message:
        """Return the wheel's metadata; its payload is the README."""
        with zipfile.ZipFile(self.wheel) as archive:
            (name,) = [name for name in archive.namelist() if name.endswith(".dist-info/METADATA")]
            return message_from_string(archive.read(name).decode())


def build(out: Path) -> Archives:
    """Build the sdist from the tree and the wheel from the sdist, so that the sdist is known to be enough."""
    subprocess.run([UV, "build", "--quiet", "--out-dir", str(out), str(PROJECT)], check=True)
    (wheel,), (sdist,) = out.glob("*.whl"), out.glob("*.tar.gz")
    return Archives(wheel, sdist)


def check(archives: Archives) -> str:
    """Have twine judge both as the index would, and return what it says when it is content."""
    command = [sys.executable, "-m", "twine", "--no-color", "check", "--strict", archives.wheel, archives.sdist]
    return subprocess.run(command, check=True, capture_output=True, text=True).stdout


def count_tests(archives: Archives, folder: Path) -> int:
    """Unpack the sdist into an empty folder and count the tests that pytest finds there."""
    with tarfile.open(archives.sdist) as archive:
        archive.extractall(folder)
    (top,) = folder.iterdir()
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q"]
    done = subprocess.run(command, cwd=top, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"tests of {archives.sdist.name} cannot be collected:\n{done.stdout}{done.stderr}")
    return done.stdout.count("::")
