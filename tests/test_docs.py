"""README and docs say what is there: links lead somewhere, quoted code is the examples', names exist."""

from __future__ import annotations

import ast
import inspect
import json
import re
from pathlib import Path

import pytest

from airflow_provider_modelmax import __version__, api, mp4, parameters, stores
from airflow_provider_modelmax.get_provider_info import CONNECTION_FORM
from airflow_provider_modelmax.operators import record
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

PROJECT = Path(__file__).parents[1]
PAGES = [PROJECT / "README.md", *sorted((PROJECT / "docs").glob("*.md"))]
LINK = re.compile(r"\]\(([^)]+)\)")


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_link_leads_somewhere(page):
    for link in LINK.findall(page.read_text()):
        if link.startswith("https://"):
            continue
        path, _, anchor = link.partition("#")
        target = (page.parent / path).resolve() if path else page
        assert target.exists(), link
        assert not anchor or anchor in anchors(target), link


def test_every_page_and_picture_is_linked():
    linked = {
        (page.parent / link.partition("#")[0]).resolve() for page in PAGES for link in LINK.findall(page.read_text())
    }
    there = {*PAGES[1:], *(PROJECT / "docs" / "images").iterdir()}
    assert there - linked == set()


def test_the_ten_lines_of_the_readme_are_the_example():
    (ten_lines,) = blocks(PROJECT / "README.md", "python")
    example = (PROJECT / "example_dags" / "modelmax_text_to_video.py").read_text()
    assert example.endswith(ten_lines)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_snippet_is_python(page):
    for snippet in blocks(page, "python"):
        ast.parse(snippet)


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_json_snippet_is_json(page):
    for snippet in blocks(page, "json"):
        json.loads(snippet)


def test_every_error_has_its_line():
    named = set(re.findall(r"`(\w+Error)`", (PROJECT / "docs" / "errors.md").read_text()))
    classes = {
        name
        for module in (api, stores, mp4, record)
        for name, cls in vars(module).items()
        if inspect.isclass(cls) and issubclass(cls, Exception) and cls.__module__ == module.__name__
    }
    bases = {"ModelMaxError", "ServiceError"}
    told_as_another = {"TooEarlyError", "RefusedError"}
    assert named == {name for name in classes if name.endswith("Error")} - bases - told_as_another


@pytest.mark.parametrize(
    "operator",
    [
        ModelMaxGenerateVideoOperator,
        ModelMaxSubmitVideoOperator,
        ModelMaxDownloadVideoOperator,
        ModelMaxVideoSensor,
    ],
)
def test_every_argument_is_described(operator):
    page = (PROJECT / "docs" / "operators.md").read_text()
    ours = {
        name
        for cls in operator.__mro__
        if cls.__module__.startswith("airflow_provider_modelmax")
        for name in inspect.signature(cls.__init__).parameters
    } - {"self", "kwargs"}
    assert {name for name in ours if name not in page} == set()
    assert {name for name in ours if f":param {name}:" not in operator.__doc__} <= {"mode"}  # Airflow's own


def test_every_parameter_and_connection_field_is_described():
    operators = (PROJECT / "docs" / "operators.md").read_text()
    assert all(f"| `{name}` |" in operators for name in parameters.VideoParameters.__annotations__)
    connection = (PROJECT / "docs" / "connection.md").read_text()
    assert all(f"`{name}`" in connection for name in CONNECTION_FORM["conn-fields"])


def test_the_changelog_begins_with_this_version():
    text = (PROJECT / "docs" / "changelog.md").read_text()
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == __version__
