"""The tree of errors is as it is drawn."""

from __future__ import annotations

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import errors


def test_the_error_tree_is_as_the_docstring_draws_it():
    drawn = [
        line for line in errors.__doc__.splitlines() if "Error" in line and ("──" in line or line.strip()[0] == "M")
    ]
    names = [next(word for word in line.split() if word.endswith("Error")) for line in drawn]
    depths = [len(line) - len(line.lstrip(" │├└─")) for line in drawn]
    parents: dict[int, str] = {}
    for name, depth in zip(names, depths, strict=True):
        above = [level for level in parents if level < depth]
        if above:
            assert getattr(api, parents[max(above)]) in getattr(api, name).__bases__, name
        parents = {level: parent for level, parent in parents.items() if level < depth} | {depth: name}
    defined = {name for name, value in vars(api).items() if isinstance(value, type) and issubclass(value, Exception)}
    assert set(names) == defined


def test_wrong_arguments_are_also_value_errors():
    assert issubclass(api.InvalidInputError, ValueError)
    assert not issubclass(api.AnswerError, ValueError)
