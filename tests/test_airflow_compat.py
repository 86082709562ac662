"""What this provider uses of Airflow that is not public: each test fails if Airflow changes it."""

from __future__ import annotations

import inspect
from types import SimpleNamespace
from typing import Any

import pytest
import structlog
from airflow.providers.common.compat.sdk import BaseOperator, BaseSensorOperator, conf
from airflow.sdk.definitions.mappedoperator import MappedOperator
from jinja2 import Environment
from jinja2.nativetypes import NativeEnvironment

from airflow_provider_modelmax import airflow_compat
from tests.airflow_versions import AIRFLOW, KEEPS_TASK_STATE


def test_airflow_renders_mapped_and_other_tasks_by_the_method_that_is_overridden():
    given = ["self", "parent", "template_fields", "context", "jinja_env", "seen_oids"]
    for base in (BaseOperator, BaseSensorOperator):
        assert list(inspect.signature(base._do_render_template_fields).parameters) == given
    for caller in (BaseOperator.render_template_fields, MappedOperator.render_template_fields):
        assert "_do_render_template_fields(" in inspect.getsource(caller)


def test_a_sensor_of_airflow_pauses_as_long_as_the_method_says_that_is_overridden():
    names = list(inspect.signature(BaseSensorOperator._get_next_poke_interval).parameters)
    assert names == ["self", "started_at", "run_duration", "poke_count"]
    assert "self._get_next_poke_interval(" in inspect.getsource(BaseSensorOperator.execute)


def test_a_masked_secret_is_not_logged():
    from airflow.sdk.log import redact

    assert redact("key sk-to-be-masked") == "key sk-to-be-masked"
    airflow_compat.mask_secret("sk-to-be-masked")
    assert redact("key sk-to-be-masked") == "key ***"


@pytest.mark.skipif(not KEEPS_TASK_STATE, reason="Airflow keeps the state of a task since 3.3")
def test_a_task_state_may_never_expire():
    from airflow.sdk.execution_time.context import TaskStateStoreAccessor

    assert "retention" in inspect.signature(TaskStateStoreAccessor.set).parameters
    assert airflow_compat.never_expire() is not None


def test_a_plugin_that_reads_hook_lineage_is_noticed(monkeypatch):
    if AIRFLOW < (3, 2):
        assert airflow_compat.is_hook_lineage_read()
        return
    from airflow.sdk import plugins_manager

    assert isinstance(plugins_manager.get_hook_lineage_readers_plugins(), list)
    monkeypatch.setattr(plugins_manager, "get_hook_lineage_readers_plugins", lambda: ["a reader"])
    assert airflow_compat.is_hook_lineage_read()
    monkeypatch.setattr(plugins_manager, "get_hook_lineage_readers_plugins", list)
    assert not airflow_compat.is_hook_lineage_read()


def test_airflow_renders_the_label_of_a_mapped_task_from_the_context():
    from airflow.sdk.execution_time import task_runner

    assert 'context.get("map_index_template")' in inspect.getsource(task_runner)


def test_waiting_is_deferrable_unless_the_environment_says_otherwise(monkeypatch):
    name = "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE"
    monkeypatch.delenv(name, raising=False)
    assert airflow_compat.default_deferrable()
    for value, deferrable in (("False", False), ("false", False), ("True", True), ("1", True)):
        monkeypatch.setenv(name, value)
        assert airflow_compat.default_deferrable() is deferrable


def test_waiting_is_deferrable_where_airflow_has_written_its_defaults_into_its_file(monkeypatch):
    monkeypatch.delenv("AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE", raising=False)
    conf.set("operators", "default_deferrable", "False")
    try:
        assert airflow_compat.default_deferrable()
    finally:
        conf.remove_option("operators", "default_deferrable")


def label(template: str, *, native: bool = False, **variables: Any) -> Any:
    """Return what Airflow makes of ``map_index_template`` once the task is over."""
    ti = SimpleNamespace(map_index=7)
    task = SimpleNamespace(log=structlog.get_logger("task"), **variables)
    context: Any = {"map_index_template": template, "ti": ti, "task": task}
    airflow_compat.keep_label_storable(context)
    airflow_compat.keep_label_storable(context)  # once for a mapped task, once for a subclass, say
    environment = NativeEnvironment() if native else Environment()
    context["later"] = "set while it ran"
    return environment.from_string(context["map_index_template"]).render(context)


@pytest.mark.parametrize("native", [False, True])
@pytest.mark.parametrize(
    ("prompt", "rendered"),
    [
        ("a boat", "a boat"),
        ("x" * 250, "x" * 249 + "…"),
        ("桜" * 100_000, "桜" * 249 + "…"),
        ("1984", "1984"),
        ("[1, 2]", "[1, 2]"),
        ("'quoted' \"twice\"", "'quoted' \"twice\""),
        ("NUL \0 and \ud83d", "NUL ? and ?"),
        ("{{ later }} {% raw %}", "{{ later }} {% raw %}"),
    ],
    ids=lambda text: text[:12].encode("ascii", "replace").decode(),
)
def test_a_label_is_a_text_that_the_database_takes(prompt, rendered, native):
    assert label("{{ task.prompt }}", native=native, prompt=prompt) == rendered


def test_a_label_may_use_what_is_known_only_when_the_task_is_over():
    assert label("{{ later }}") == "set while it ran"


@pytest.mark.parametrize("template", ["{{ task.nothing.more }}", "{{ 1 / 0 }}", "{{ unclosed"])
def test_a_label_that_cannot_be_rendered_is_the_number_of_the_task(template, log):
    assert label(template) == "7"
    assert log[0].startswith("map_index_template cannot be rendered")


def test_a_task_without_a_label_gets_none():
    context: Any = {"map_index_template": None}
    airflow_compat.keep_label_storable(context)
    assert context == {"map_index_template": None}
