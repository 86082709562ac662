"""The table agrees with pytest's report."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

import pytest

from tests.matrix.environments import ROWS, Row
from tests.matrix.results import IN_PROCESS, NO_STORE, place, read
from tests.matrix.table import Outcome, table
from tests.stack.processes import PROJECT

if TYPE_CHECKING:
    from pathlib import Path

ROW = Row("3.9", "3.9.1", python="3.14")
REPORT = """<testsuites><testsuite>
<testcase classname="tests.storage.test_videos" name="test_whole[local]"/>
<testcase classname="tests.storage.test_videos" name="test_whole[gcs]"><failure message="torn"/></testcase>
<testcase classname="tests.storage.test_videos" name="test_cut[gcs]"/>
<testcase classname="tests.storage.test_videos" name="test_whole[azure]"><skipped message="no Azurite here"/></testcase>
<testcase classname="tests.storage.test_videos" name="test_cut[azure]"><skipped message="no Azurite here"/></testcase>
<testcase classname="tests.executors.test_kills" name="test_once[CeleryExecutor]"><error/></testcase>
</testsuite></testsuites>"""


@pytest.fixture
def outcome(tmp_path: Path) -> Outcome:
    report = tmp_path / "report.xml"
    report.write_text(REPORT)
    return Outcome(ROW, cells=read(report))


@pytest.mark.parametrize(
    ("test", "expected"),
    [
        (("tests.storage.test_videos", "test_whole[s3]"), (IN_PROCESS, "s3")),
        (("tests.storage.test_videos", "test_whole[cut short-azure]"), (IN_PROCESS, "azure")),
        (("tests.api.test_calls", "test_locally"), (IN_PROCESS, NO_STORE)),
        (("tests.system.test_videos", "test_whole"), ("LocalExecutor", "s3")),
        (("tests.system.test_videos", "test_whole[gcs]"), ("LocalExecutor", "gcs")),
        (("tests.system.test_stack", "test_healthy"), ("LocalExecutor", NO_STORE)),
        (("tests.executors.test_examples", "test_once[CeleryExecutor-s3]"), ("CeleryExecutor", "s3")),
        (("tests.executors.test_kills", "test_kill[CeleryExecutor]"), ("CeleryExecutor", "local")),
    ],
)
def test_a_test_has_its_place_by_its_id(test, expected):
    assert place(*test) == expected


def test_a_cell_says_pass_or_fail_or_skipped_with_numbers(outcome):
    (in_process,) = [line for line in table([outcome]).splitlines() if IN_PROCESS in line]
    assert re.split(r" {2,}", in_process) == ["3.9.1", "3.14", IN_PROCESS, "-", "pass 1", "-", "FAIL 1/2", "skipped"]


def test_what_failed_and_what_was_not_run_is_named(outcome):
    drawn = table([outcome])
    assert "3.9: tests.storage.test_videos::test_whole[gcs]" in drawn
    assert "3.9: tests.executors.test_kills::test_once[CeleryExecutor]" in drawn
    assert "3.9: 2 skipped: no Azurite here" in drawn
    assert "s3: no test has this store" in drawn
    assert not outcome.is_good


def test_a_row_that_cannot_be_run_says_why_and_has_not_failed():
    outcome = Outcome(ROW, not_run="no Python 3.14 here")
    assert outcome.is_good
    assert "3.9: no Python 3.14 here" in table([outcome])
    assert "pass" not in table([outcome])


def test_every_declared_python_has_a_row():
    declared = re.findall(r"Python :: (3\.\d+)", (PROJECT / "pyproject.toml").read_text())
    assert {row.python for row in ROWS} == set(declared)
