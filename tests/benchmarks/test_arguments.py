"""Which benchmarks a command line of `python -m tests.benchmarks` chooses."""

from __future__ import annotations

import pytest

from tests.benchmarks.__main__ import BENCHMARKS, arguments


def test_no_name_means_all_benchmarks():
    assert tuple(arguments([]).names) == BENCHMARKS


def test_names_choose():
    assert list(arguments(["--quick", "store", "polling"]).names) == ["store", "polling"]


def test_an_unknown_name_is_told_with_those_that_there_are(capsys):
    with pytest.raises(SystemExit):
        arguments(["speed"])
    assert "no such benchmark: speed; there are imports, schedule," in capsys.readouterr().err
