"""Literals in a DAG file are checked when the file is parsed; templates and XComs are checked at run time."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api import parameters as inputs
from airflow_provider_modelmax.api.errors import StorageError
from airflow_provider_modelmax.api.image import check_image_kind

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator

DEFAULT_CONN_ID = "modelmax_default"

_PLAIN = (str, bytes, int, float, type(None))
_DELIMITERS = {"variable_start_string": "{{", "block_start_string": "{%", "comment_start_string": "{#"}

_GOOD_START = re.compile(r"/|~|file:///|(?:s3a?|gc?s|abfss?)://(?:[^@/]+@)?[^@/]", re.IGNORECASE)
_BAD_END = re.compile(r"(?:/\.mp4|\.mov|\.m4v|\.webm|\.mkv|\.avi|\.gif)$", re.IGNORECASE)
_VERSION = re.compile(r"(?i:s3a?)://.*\?versionId=|(?i:abfss?)://.*\?versionid=")
"""A name that the library of the store reads as a version of an object."""


def is_literal(operator: BaseOperator, value: object) -> bool:
    """Return whether ``value`` is a literal: neither a template nor an XCom."""
    if not _is_in_dag_file(operator):
        return False
    dag = operator.get_dag()
    options: Mapping[str, Any] = (dag.jinja_environment_kwargs if dag else None) or {}
    return _is_fixed(value, [options.get(name, usual) for name, usual in _DELIMITERS.items()])


def _is_in_dag_file(operator: BaseOperator) -> bool:
    """Return False for an instance of a mapped task, which is created at run time with values from upstream."""
    dag = operator.get_dag()
    return not dag or dag.task_dict.get(operator.task_id) is operator


def _is_fixed(value: object, delimiters: list[str]) -> bool:
    if isinstance(value, str):
        return not any(each in value for each in delimiters)
    if isinstance(value, Mapping):
        return all(_is_fixed(each, delimiters) for each in value.values())
    if isinstance(value, list | tuple | set):
        return all(_is_fixed(each, delimiters) for each in value)
    return isinstance(value, _PLAIN)


def check_connection_id(operator: BaseOperator, conn_id: object) -> None:
    """Check a literal ``modelmax_conn_id``.

    :raises InvalidInputError: when it is empty, or no text
    """
    if is_literal(operator, conn_id) and (not isinstance(conn_id, str) or not conn_id.strip()):
        raise api.InvalidInputError(f"modelmax_conn_id is {conn_id!r}, but must be the id of a connection.")


def check_request(
    operator: BaseOperator, *, model: object, prompt: object, parameters: object, allow_unknown: bool
) -> None:
    """Check the literals in a request for videos; the names of parameters always are literals.

    :raises InvalidInputError: for a value that can never be right
    """
    if is_literal(operator, model):
        inputs.check_model(model)
    if is_literal(operator, prompt):
        inputs.check_prompt(prompt)
    if not is_literal(operator, parameters) and not (isinstance(parameters, Mapping) and _is_in_dag_file(operator)):
        return
    inputs.check_parameter_names(parameters, allow_unknown=allow_unknown)
    for name, value in inputs.read_parameters(parameters).items():
        if is_literal(operator, value):
            _check_parameter(name, value)


def _check_parameter(name: str, value: object) -> None:
    checked = inputs.check_parameters({name: value})[name]
    if isinstance(value, str) and not isinstance(checked, str):
        raise api.InvalidInputError(f"parameters[{name!r}] is the text {value!r}. Write {checked!r}, without quotes.")
    if name == "image":
        check_image_kind(value)


def check_job(operator: BaseOperator, job: object) -> None:
    """Check a literal ``job``.

    :raises InvalidInputError: if it is not a job
    """
    if is_literal(operator, job):
        api.Job.of(job)


def check_destination(operator: BaseOperator, destination: object) -> None:
    """Check a literal ``destination``, without opening a store.

    :raises InvalidInputError: when it can never be written
    """
    if not is_literal(operator, destination):
        return
    text = destination.strip() if isinstance(destination, str) else ""
    if _GOOD_START.match(text) and not _BAD_END.search(text) and not _VERSION.match(text):
        return  # the imports below would double the time that this package takes at DAG parse
    from airflow_provider_modelmax.jobs.destination import Destination  # noqa: PLC0415 - only for what is probably wrong
    from airflow_provider_modelmax.storage.location import locate  # noqa: PLC0415

    try:
        Destination.parse(destination, "video")
        locate(text)
    except StorageError as error:
        raise api.InvalidInputError(str(error)) from error
