"""An environment outside the project that holds the wheel, and a virgin Airflow in it."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from tests.dist.archives import Archives
from tests.stack.processes import PROJECT, UV, Service, child_environment

if TYPE_CHECKING:
    from collections.abc import Callable

KEY = "sk-clean-room"
DAG = "modelmax_text_to_video"

IMPORT_ALL = """
import importlib, json, pkgutil, sys
import airflow_provider_modelmax as package
names = [module.name for module in pkgutil.walk_packages(package.__path__, "airflow_provider_modelmax.")]
names = [name for name in names if not name.endswith((".__main__", ".facets"))]  # what OpenLineage imports has that
chosen = [name for name in names if (".simulator" in name) == (sys.argv[1] == "simulator")]
for name in chosen:
    importlib.import_module(name)
print(json.dumps({"file": package.__file__, "version": package.__version__, "count": len(chosen)}))
"""

LOOK = """
import sys, av
with av.open(sys.argv[1]) as film:
    frames = sum(1 for _ in film.decode(video=0))
    print(film.streams.video[0].codec_context.name, film.streams.audio[0].codec_context.name, f"{frames} frames")
"""


class CleanRoom:
    """A folder with an environment, a home of Airflow and nothing of the source tree on any path."""

    def __init__(self, folder: Path, say: Callable[[str], None]) -> None:
        self.folder = folder
        self.say = say
        self.bin = folder / "venv" / "bin"
        self.home = folder / "airflow"
        self.environment = child_environment(
            {"AIRFLOW_HOME": str(self.home), "AIRFLOW__CORE__LOAD_EXAMPLES": "False"}
            | {"AIRFLOW_VAR_VIDEOS": str(folder / "videos")}
        )
        for name in ("PYTHONPATH", "PYTHONHOME", "VIRTUAL_ENV"):
            self.environment.pop(name, None)
        self.environment["PATH"] = f"{self.bin}:{self.environment['PATH']}"

    def install(self, archives: Archives, extra: str = "") -> None:
        """Install the wheel, from an empty environment the first time."""
        if not self.bin.exists():
            subprocess.run([UV, "venv", "--quiet", "--python", sys.executable, self.bin.parent], check=True)
        what = f"{archives.wheel}[{extra}]" if extra else str(archives.wheel)
        constraints = ["--constraint", str(PROJECT / "constraints.txt")]
        install = [UV, "pip", "install", "--quiet", "--python", str(self.bin / "python"), *constraints, what]
        subprocess.run(install, check=True)
        self.say(f"installed {archives.wheel.name}{f' with [{extra}]' if extra else ', without extras'}")

    def import_all(self, part: str) -> None:
        """Import every module, of the simulator or all others, and see that they come from the wheel."""
        found = json.loads(self.run("python", "-c", IMPORT_ALL, part).splitlines()[-1])
        if not Path(found["file"]).is_relative_to(self.bin.parent):
            raise RuntimeError(f"{found['file']} is not of the wheel")
        self.say(f"imported {found['count']} modules ({part}) of version {found['version']}")

    def register(self) -> None:
        """See that Airflow knows the provider and its connection type."""
        about = self.run("airflow", "providers", "get", "airflow-provider-modelmax")
        hooks = self.run("airflow", "providers", "hooks", "--output", "json")
        if "airflow-provider-modelmax" not in about or '"modelmax"' not in hooks:
            raise RuntimeError(f"not registered:\n{about}\n{hooks}")
        self.say("registered: airflow providers get airflow-provider-modelmax; connection type modelmax")

    def make_video(self, readme: str, simulator: Service, url: str) -> None:
        """Do what the README says: a connection, the ten lines as a DAG; and look at what they made."""
        (ten_lines,) = re.findall(r"^```python\n(.*?)^```$", readme, re.MULTILINE | re.DOTALL)
        self.run("airflow", "db", "migrate")
        (self.home / "dags").mkdir()
        (self.home / "dags" / "readme.py").write_text(ten_lines)
        where = ("--conn-type", "modelmax", "--conn-password", KEY, "--conn-host", url)
        self.run("airflow", "connections", "add", "modelmax_default", *where)
        self.say(f"virgin AIRFLOW_HOME migrated, connection added, {len(ten_lines.splitlines())} lines put into dags/")
        simulator.check()
        log = self.run("airflow", "dags", "test", DAG)
        films = list((self.folder / "videos").rglob("*.mp4"))
        if len(films) != 1:
            raise RuntimeError(f"{len(films)} videos instead of one:\n{log}")
        self.say(f"{films[0].relative_to(self.folder)}: {self.run('python', '-c', LOOK, str(films[0])).strip()}")

    def simulator(self, port: int) -> Service:
        """Describe the simulator of the wheel."""
        module = ["-m", "airflow_provider_modelmax.simulator", "--port", str(port), "--key", KEY]
        command = [str(self.bin / "python"), *module, "--queue-seconds", "1", "--run-seconds", "2"]
        return Service("simulator", command, self.environment, self.folder / "simulator.log")

    def run(self, program: str, *arguments: str) -> str:
        """Run a program of the environment and return what it prints; show all of it when it fails."""
        command = [str(self.bin / program), *arguments]
        done = subprocess.run(
            command, cwd=self.folder, env=self.environment, capture_output=True, text=True, check=False, timeout=180
        )
        if done.returncode:
            raise RuntimeError(f"{program} {arguments}: exit code {done.returncode}\n{done.stdout}\n{done.stderr}")
        return done.stdout
