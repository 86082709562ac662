"""The table of rooms in the design: who may import whom, read from the source without running it."""

from __future__ import annotations

import ast
import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.airflow_versions import AIRFLOW

NAME = "airflow_provider_modelmax"
ROOT = Path(__file__).parents[1] / NAME
COMPAT = "airflow.providers.common.compat.sdk"
HTTP = {"requests", "urllib3", "aiohttp", "multidict", "yarl", "httpx", "http.client"}

# A file, or a folder for all of its files: what it may import beside the standard library. Ours without the package
# name; "" is `__version__` of the package itself. What is under `if TYPE_CHECKING` counts too, but for HTTP libraries.
ROOMS: dict[str, set[str]] = {
    "__init__.py": set(),
    "get_provider_info.py": {""},
    "api": {"pendulum", "typing_extensions", ".api"},
    "poll_schedule.py": set(),
    "polling.py": {".api", ".poll_schedule"},
    "literals.py": {"airflow.sdk", ".api", ".jobs.destination", ".storage"},
    "templating.py": {"airflow.sdk", ".api"},
    "airflow_compat.py": {COMPAT, "airflow.sdk", "jinja2", ".api.text", ".templating"},
    "deadlines.py": {".api.parameters"},
    "processes.py": set(),
    "storage": {".api.errors", COMPAT, ".processes", ".storage"},
    "storage/s3.py": {"airflow.providers.amazon", "botocore", "fsspec.config", ".api.errors", ".storage"},
    "storage/gcs.py": {"airflow.providers.google", "google", "google_crc32c", ".api.errors", ".storage"},
    "storage/azure.py": {COMPAT, "airflow.providers.microsoft.azure", "azure", ".api.errors", ".storage"},
    "jobs": {
        "",
        "airflow.sdk",
        ".airflow_compat",
        ".airflow_errors",
        ".deadlines",
        ".processes",
        ".api",
        ".hooks",
        ".jobs",
        ".metrics",
        ".polling",
        ".storage",
    },
    "airflow_errors.py": {"airflow", ".api", ".metrics", ".polling"},
    "metrics.py": {COMPAT, ".api"},
    "retry_policy.py": {"airflow.sdk", ".api", ".airflow_errors"},
    "links.py": {COMPAT, "airflow.sdk.types", ".api", ".storage.location"},
    "lineage/__init__.py": set(),
    "lineage/assets.py": {COMPAT, "airflow.sdk", ".airflow_compat", ".storage.location"},
    "lineage/openlineage.py": {
        *("airflow.providers.openlineage", "attrs", "openlineage.client"),
        *(".jobs.record", ".storage"),
    },
    "hooks/__init__.py": set(),
    "hooks/connection.py": {COMPAT, "airflow.sdk", "asgiref", "", ".airflow_compat", ".api"},
    "hooks/concurrency_limit.py": {".api"},
    "hooks/shared_session.py": {".api", ".hooks"},
    "hooks/requests_transport.py": {"requests", "urllib3", ".api", ".hooks"},
    "hooks/read_deadline.py": {"requests", "urllib3"},
    "hooks/aiohttp_transport.py": {"aiohttp", "multidict", "yarl", "requests.utils", ".api", ".hooks"},
    "hooks/modelmax.py": {
        *(COMPAT, ".api", ".polling", ".get_provider_info", ".hooks"),
        *(".jobs.destination", ".storage"),
    },
    "hooks/video.py": {".api", ".hooks", ".metrics", ".storage"},
    "triggers/__init__.py": set(),
    "triggers/event.py": {".api", ".polling"},
    "triggers/timers.py": set(),
    "triggers/job.py": {"airflow.triggers.base", ".api", ".poll_schedule", ".polling", ".hooks", ".triggers"},
    "sensors": {
        *(COMPAT, "airflow.providers.openlineage", "airflow.sdk"),
        *(".airflow_compat", ".airflow_errors", ".api", ".deadlines", ".hooks", ".jobs", ".lineage", ".links"),
        *(".literals", ".metrics", ".polling", ".triggers"),
    },
    "operators": {
        *(COMPAT, "airflow.providers.openlineage", "airflow.sdk"),
        *(
            ".airflow_compat",
            ".airflow_errors",
            ".api",
            ".deadlines",
            ".hooks",
            ".jobs",
            ".lineage",
            ".links",
            ".literals",
            ".metrics",
            ".operators",
        ),
        *(".polling", ".templating", ".triggers"),
    },
    # The names of 0.1.0.
    "mp4.py": {".api.errors"},
    "parameters.py": {".api"},
    "stores.py": {".api.errors"},
    "simulator": {"av", "PIL", "uvicorn", ".simulator"},
}
FILES = sorted(str(path.relative_to(ROOT)) for path in ROOT.rglob("*.py"))
NO_IO = [file for file in FILES if "no i/o" in (ROOT / file).read_text().split("\n", maxsplit=1)[0].lower()]


def room_of(file: str) -> set[str]:
    """Return what a file may import."""
    return ROOMS[file] if file in ROOMS else ROOMS[file.split("/", maxsplit=1)[0]]


@functools.cache
def imports(file: str, *, at_run_time: bool = False) -> frozenset[str]:
    """Return the modules that a file imports, wherever in it; ours begin with a dot."""
    tree = ast.parse((ROOT / file).read_text())
    skipped = {id(child) for node in ast.walk(tree) if at_run_time and is_typing_only(node) for child in ast.walk(node)}
    found = set()
    for node in ast.walk(tree):
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found |= from_imports(file, node)
    return frozenset(name.removeprefix(NAME) if name.split(".")[0] == NAME else name for name in found)


def from_imports(file: str, node: ast.ImportFrom) -> set[str]:
    """Resolve `from x import a, b`: a and b may be modules of ours."""
    here = [NAME, *Path(file).parts[:-1]]
    base = ".".join([*here[: len(here) - node.level + 1], *filter(None, [node.module])]) if node.level else node.module
    if base.split(".")[0] != NAME:
        return {base}
    folder = ROOT.joinpath(*base.split(".")[1:])
    modules = {alias.name for alias in node.names if (folder / f"{alias.name}.py").exists()}
    modules |= {alias.name for alias in node.names if (folder / alias.name).is_dir()}
    others = {alias.name for alias in node.names} - modules
    return {f"{base}.{name}" for name in modules} | ({base} if others else set())


def is_typing_only(node: ast.AST) -> bool:
    """Say whether this is `if TYPE_CHECKING:`."""
    return isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"


def within(module: str, allowed: set[str]) -> bool:
    """Say whether a module, or a package it is in, is allowed."""
    return any(module == each or (each and module.startswith(f"{each}.")) for each in allowed)


@pytest.mark.parametrize("file", FILES)
def test_a_file_imports_only_what_its_room_allows(file):
    strangers = {name for name in imports(file) if name.split(".")[0] not in sys.stdlib_module_names}
    typing_only = {name for name in strangers if name in HTTP} - imports(file, at_run_time=True)
    assert {name for name in strangers - typing_only if not within(name, room_of(file))} == set()


@pytest.mark.parametrize("file", FILES)
def test_http_is_spoken_in_the_transports_only(file):
    spoken = {name for name in imports(file, at_run_time=True) if within(name, HTTP)}
    assert not spoken or file in {"hooks/requests_transport.py", "hooks/read_deadline.py", "hooks/aiohttp_transport.py"}


@pytest.mark.parametrize("file", NO_IO)
def test_a_file_that_says_no_io_opens_nothing(file):
    assert imports(file) & {"os", "pathlib", "socket", "subprocess", "time", "urllib.request", "asyncio"} == set()


def test_the_files_that_decide_say_no_io():
    assert {
        "api/calls.py",
        "api/http_errors.py",
        "api/image.py",
        "api/retry.py",
        "api/text.py",
        "api/urls.py",
        "polling.py",
        "poll_schedule.py",
        "api/parameters.py",
        "storage/mp4.py",
    } <= set(NO_IO)


def test_the_table_names_rooms_that_are_there():
    assert all((ROOT / room).exists() for room in ROOMS)
    assert len(FILES) > 30


@pytest.mark.parametrize("room", ROOMS)
def test_the_table_allows_nothing_that_its_room_does_not_need(room):
    files = [file for file in FILES if file == room or (file.startswith(f"{room}/") and file not in ROOMS)]
    used = {name for file in files for name in imports(file)}
    assert {each for each in ROOMS[room] if not any(within(name, {each}) for name in used)} == set()


NOT_AT_PARSE = ("triggers", "hooks", "storage.objects", "storage.location", "jobs.manifest", "jobs.download")
FOR_DAGS = ("operators.submit", "operators.download", "operators.generate", "sensors.job")


@pytest.mark.parametrize(
    ("modules", "heavy"),
    [
        (("get_provider_info",), {"airflow", "requests", "aiohttp"}),
        (
            FOR_DAGS,
            {
                "requests",
                "urllib3",
                "aiohttp",
                "yarl",
                "s3fs",
                "gcsfs",
                "adlfs",
                "boto3",
                "botocore",
                "av",
                "uvicorn",
                "asgiref",
                "airflow.sdk.lineage",
                *(() if AIRFLOW < (3, 2) else ("airflow.triggers.base",)),  # which 3.1 loads with its own DAG
                *(
                    f"{NAME}.{each}"
                    for each in (
                        "triggers",
                        "hooks",
                        "storage.objects",
                        "storage.location",
                        "jobs.manifest",
                        "jobs.download",
                    )
                ),
                f"{NAME}.simulator",
            },
        ),
    ],
    ids=["discovery", "parsing a DAG"],
)
def test_in_a_fresh_interpreter_nothing_heavy_is_loaded(modules, heavy, tmp_path):
    code = f"import sys\nfrom importlib import import_module as load\nfor name in {modules}: load('{NAME}.' + name)"
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    command = [sys.executable, "-c", f"{code}\nprint(*sys.modules)"]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert {f"{NAME}.{name}" for name in modules} <= loaded
    assert loaded & heavy == set()


EXTRAS = ("s3fs", "gcsfs", "adlfs", "aiobotocore", "boto3", "botocore", "azure", "google.cloud", "openlineage")
WITHOUT_EXTRAS = """
import sys
from importlib import import_module as load

class Missing:
    @staticmethod
    def find_spec(name, *_):
        if name.startswith({extras}) or name == "airflow.providers.openlineage.extractors":
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Missing)
for name in {modules}:
    load(name)
"""


def test_without_any_extra_everything_but_the_facets_can_be_imported(tmp_path):
    skipped = {"lineage/openlineage.py", *(() if AIRFLOW >= (3, 3) else ("retry_policy.py",))}
    files = [file for file in FILES if file not in skipped and not file.startswith("simulator/")]
    modules = [".".join([NAME, *Path(file).with_suffix("").parts]).removesuffix(".__init__") for file in files]
    code = WITHOUT_EXTRAS.format(extras=EXTRAS, modules=modules)
    environment = {**os.environ, "AIRFLOW_HOME": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr[-2000:]
