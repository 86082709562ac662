"""What is uploaded is the package and nothing else, and says what it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from airflow_provider_modelmax import __version__
from tests.dist.archives import Archives, build, check
from tests.stack.processes import PROJECT

PACKAGE = "airflow_provider_modelmax"


@pytest.fixture(scope="module")
def archives(tmp_path_factory: pytest.TempPathFactory) -> Archives:
    return build(tmp_path_factory.mktemp("dist"))


def files(folder: str) -> set[str]:
    """Name the files of a folder of the project, without what Python and tools leave behind."""
    paths = (path for path in (PROJECT / folder).rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {path.relative_to(PROJECT).as_posix() for path in paths}


def test_the_index_would_take_both(archives):
    assert check(archives).count("PASSED") == 2


def test_the_wheel_holds_the_package_and_nothing_else(archives):
    info = f"{PACKAGE}-{__version__}.dist-info"
    about = {"METADATA", "WHEEL", "RECORD", "entry_points.txt", "licenses/LICENSE"}
    assert archives.in_wheel() == files(PACKAGE) | {f"{info}/{name}" for name in about}
    assert f"{PACKAGE}/py.typed" in archives.in_wheel()


def test_the_sdist_holds_what_the_tests_need(archives):
    alone = {"Makefile", "README.md", "LICENSE", "pyproject.toml", "constraints.txt", ".ci/run"}
    wanted = alone | files(PACKAGE) | files("tests") | files("docs") | files("example_dags")
    assert archives.in_sdist() == wanted | {"PKG-INFO", ".gitignore"}


def test_the_metadata_says_which_version_it_is_and_what_it_needs(archives):
    metadata = archives.metadata()
    assert (metadata["Name"], metadata["Version"]) == ("airflow-provider-modelmax", __version__)
    assert metadata["Requires-Python"] == ">=3.10"
    assert metadata["License-Expression"] == "Apache-2.0"
    assert "apache-airflow>=3.1" in metadata.get_all("Requires-Dist")
    assert set(metadata.get_all("Provides-Extra")) == {"s3", "gcs", "azure", "simulator"}
    assert metadata.get_payload() == (PROJECT / "README.md").read_text()


def test_nothing_of_the_machine_it_was_built_on_is_in_the_wheel(archives):
    here = str(PROJECT).encode()
    assert here not in Path(archives.wheel).read_bytes()
