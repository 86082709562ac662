"""What Airflow reads at discovery is what is there."""

from __future__ import annotations

import importlib
import inspect
import json
import pkgutil
from importlib.metadata import entry_points
from pathlib import Path

import airflow
import jsonschema
import pytest
from airflow.providers.common.compat.sdk import BaseHook, BaseOperator, BaseSensorOperator
from airflow.triggers.base import BaseTrigger

from airflow_provider_modelmax import __version__
from airflow_provider_modelmax.get_provider_info import get_provider_info
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.airflow_versions import ProvidersManager

INFO = get_provider_info()
CONNECTION = INFO["connection-types"][0]
KINDS = {"hooks": BaseHook, "operators": BaseOperator, "sensors": BaseSensorOperator, "triggers": BaseTrigger}


def test_the_info_is_what_airflows_schema_asks_for():
    schema = json.loads(Path(airflow.__file__).with_name("provider_info.schema.json").read_text())
    jsonschema.validate(INFO, schema)


def test_the_entry_point_leads_to_it():
    points = entry_points(group="apache_airflow_provider")
    mine = [point for point in points if point.value.startswith("airflow_provider_modelmax.")]
    assert [point.load()() for point in mine] == [INFO]


@pytest.mark.parametrize("kind", KINDS)
def test_every_named_module_holds_a_class_of_its_kind(kind):
    for entry in INFO[kind]:
        for name in entry["python-modules"]:
            module = importlib.import_module(name)
            own = [each for each in vars(module).values() if inspect.isclass(each) and each.__module__ == name]
            assert any(issubclass(each, KINDS[kind]) for each in own), name


@pytest.mark.parametrize("kind", KINDS)
def test_every_class_for_dag_authors_is_in_a_named_module(kind):
    package = importlib.import_module(f"airflow_provider_modelmax.{kind}")
    named = {name for entry in INFO[kind] for name in entry["python-modules"]}
    for _, name, _ in pkgutil.iter_modules(package.__path__, f"{package.__name__}."):
        classes = [each for each in vars(importlib.import_module(name)).values() if inspect.isclass(each)]
        own = {each.__name__ for each in classes if each.__module__ == name} - {
            "ModelMaxBaseOperator",
            "ModelMaxVideoOperator",
        }
        assert name in named or not any(each.startswith("ModelMax") for each in own), name


def test_the_connection_type_is_the_hooks():
    name = CONNECTION["hook-class-name"]
    assert name == f"{ModelMaxHook.__module__}.{ModelMaxHook.__qualname__}"
    assert (CONNECTION["connection-type"], CONNECTION["hook-name"]) == (ModelMaxHook.conn_type, ModelMaxHook.hook_name)
    assert INFO["versions"] == [__version__]


def test_airflow_31_gets_the_same_form_from_the_hook():
    form = ModelMaxHook.get_ui_field_behaviour()
    schema = json.loads((Path(airflow.__file__).parent / "customized_form_field_behaviours.schema.json").read_text())
    jsonschema.validate(form, schema)
    assert {key.replace("_", "-"): value for key, value in form.items()} == CONNECTION["ui-field-behaviour"]


@pytest.mark.parametrize(
    ("field", "value", "fine"),
    [
        ("timeout", 5, True),
        ("timeout", None, True),
        ("timeout", 0, False),
        ("timeout", "x", False),
        ("verify", "/etc/ca.pem", True),
        ("verify", None, True),
        ("proxy", "http://proxy:3128", True),
        ("proxy", 3128, False),
    ],
)
def test_the_form_takes_what_the_connection_takes(field, value, fine):
    schema = CONNECTION["conn-fields"][field]["schema"]
    assert jsonschema.Draft202012Validator(schema).is_valid(value) is fine


def test_airflow_discovers_the_connection_type():
    hook = ProvidersManager().hooks["modelmax"]
    assert (hook.hook_name, hook.connection_id_attribute_name) == ("ModelMax", ModelMaxHook.conn_name_attr)
