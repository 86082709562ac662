"""README and docs say what is there: links lead somewhere, quoted code is the examples', names exist."""

from __future__ import annotations

import inspect
import json
import re
from pathlib import Path
from textwrap import indent

import pytest

from airflow_provider_modelmax import __version__, api
from airflow_provider_modelmax.api import parameters
from airflow_provider_modelmax.get_provider_info import CONNECTION_FORM, get_provider_info
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

PROJECT = Path(__file__).parents[1]
DOCS = PROJECT / "docs"
PAGES = [PROJECT / "README.md", *sorted(DOCS.rglob("*.md"))]
LINK = re.compile(r"\]\(([^)]+)\)")
TOCTREE = re.compile(r"```{toctree}\n(.*?)```", re.DOTALL)
QUOTED = [*(PROJECT / "example_dags").glob("*.py"), *(PROJECT / "tests").rglob("*.py")]


def anchors(page: Path) -> set[str]:
    """Return the anchors of a page's headings, as GitHub and MyST make them."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", heading.lower()).replace(" ", "-") for heading in headings}


def name_of(page: Path) -> str:
    return str(page.relative_to(PROJECT))


def in_toctrees(page: Path) -> set[Path]:
    """Return the pages that the site's menu leads to from ``page``."""
    lines = "\n".join(TOCTREE.findall(page.read_text())).splitlines()
    return {(page.parent / f"{line}.md").resolve() for line in lines if line and not line.startswith(":")}


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```$", page.read_text(), re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
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
    there = {*PAGES[1:], *(DOCS / "images").iterdir()}
    assert there - linked.union(*map(in_toctrees, PAGES)) == set()


def test_every_page_is_in_the_menu_of_the_site():
    assert set(PAGES[1:]) - {DOCS / "index.md"} - set().union(*map(in_toctrees, PAGES)) == set()


def test_the_ten_lines_of_the_readme_are_the_example():
    (ten_lines,) = blocks(PROJECT / "README.md", "python")
    example = (PROJECT / "example_dags" / "modelmax_text_to_video.py").read_text()
    assert example.endswith(ten_lines)


@pytest.mark.parametrize("page", PAGES, ids=name_of)
def test_every_snippet_is_quoted_from_a_file_that_tests_run(page):
    sources = [file.read_text() for file in QUOTED]
    for snippet in blocks(page, "python"):
        as_it_stands_in_a_block = indent(snippet, "    ")
        assert any(snippet in source or as_it_stands_in_a_block in source for source in sources), snippet


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_json_snippet_is_json(page):
    for snippet in blocks(page, "json"):
        json.loads(snippet)


def test_every_error_has_its_line():
    named = set(re.findall(r"\b([A-Z]\w*Error)\b", (DOCS / "errors.md").read_text()))
    classes = {name for name, cls in vars(api).items() if inspect.isclass(cls) and issubclass(cls, Exception)}
    named.discard("ValueError")  # Python's own
    assert named == {name for name in classes if name.endswith("Error")}
    titles = set(re.findall(r"^### (\w+Error)$", (DOCS / "errors.md").read_text(), re.MULTILINE))
    assert titles == named - {"ModelMaxError"}


def test_every_error_says_what_it_means_what_it_cost_and_what_to_do():
    sections = re.split(r"^##+ ", (DOCS / "errors.md").read_text(), flags=re.MULTILINE)
    for section in sections:
        if re.match(r"\w+Error\n", section):
            assert re.findall(r"^- \*\*(\w+):\*\*", section, re.MULTILINE) == ["Means", "Cost", "Do"], section


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
    page = (DOCS / "operators.md").read_text()
    ours = {
        name
        for cls in operator.__mro__
        if cls.__module__.startswith("airflow_provider_modelmax") and "__init__" in vars(cls)
        for name in inspect.signature(cls.__init__).parameters
    } - {"self", "kwargs"}
    assert {name for name in ours if name not in page} == set()
    assert {name for name in ours if f":param {name}:" not in operator.__doc__} <= {"mode"}  # Airflow's own


def test_every_parameter_and_connection_field_is_described():
    operators = (DOCS / "operators.md").read_text()
    assert all(f"| `{name}` |" in operators for name in parameters.VideoParameters.__annotations__)
    connection = (DOCS / "connection.md").read_text()
    assert all(f"`{name}`" in connection for name in CONNECTION_FORM["conn-fields"])


def test_every_key_of_the_manifest_is_described():
    job = api.Job.of({"model": "veo-3.1", "request_id": "1"})
    section = (DOCS / "operators.md").read_text().partition("## The manifest")[2]
    described = set(re.findall(r"`(\w+)`", "".join(re.findall(r"^\| ([^|]+) \|", section, re.MULTILINE))))
    assert described == set(Manifest("x").document(JobRecord(job)))


def test_the_changelog_begins_with_this_version():
    text = (DOCS / "changelog.md").read_text()
    assert re.findall(r"^## (\S+)", text, re.MULTILINE)[0] == __version__


def test_the_comparison_says_what_this_one_has():
    rows = dict(re.findall(r"^\| ([^|]+) \| ([^|]+) \|", (DOCS / "comparison.md").read_text(), re.MULTILINE))
    info = get_provider_info()
    assert (rows["extra links"] != "no") == ("extra-links" in info)
    assert (rows["task decorators"] != "no") == ("task-decorators" in info)
    facets = hasattr(ModelMaxGenerateVideoOperator, "get_openlineage_facets_on_complete")
    assert ("facets" in rows["OpenLineage"]) == facets
    policies = [*(PROJECT / "airflow_provider_modelmax").rglob("retry*.py")]
    assert (rows["ships a retry policy (Airflow 3.3)"] != "no") == bool(policies)
    assert rows["this one"] == __version__
