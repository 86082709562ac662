"""Where the buttons of a task instance lead."""

from __future__ import annotations

import json
from types import SimpleNamespace

import pytest

from airflow_provider_modelmax import links
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator


def dashboard(monkeypatch: pytest.MonkeyPatch, host: str | None) -> str:
    connection = {"conn_type": "modelmax", "host": host, "password": "sk-secret-of-a-link"}
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(connection))
    return links.ModelMaxDashboardLink().get_link(SimpleNamespace(hook=ModelMaxHook()), ti_key=None)


@pytest.mark.parametrize(
    ("host", "link"),
    [
        (None, "https://modelmax.io"),
        ("https://api.modelmax.io", "https://modelmax.io"),
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080/"),
    ],
)
def test_the_dashboard_is_the_site_of_the_service_or_the_front_page_of_another_host(monkeypatch, host, link):
    assert dashboard(monkeypatch, host) == link


def test_without_a_usable_connection_there_is_no_link():
    operator = SimpleNamespace(hook=ModelMaxHook("nobody"))
    assert links.ModelMaxDashboardLink().get_link(operator, ti_key=None) == ""


@pytest.mark.parametrize(
    ("uri", "page"),
    [
        (
            "gs://store@videos/a b/x.json",
            "https://console.cloud.google.com/storage/browser/_details/videos/a%20b/x.json",
        ),
        ("gs://store@videos/a@b.json", "https://console.cloud.google.com/storage/browser/_details/videos/a%40b.json"),
        ("abfs://store@videos/x.json", ""),
        ("/tmp/videos/x.json", ""),
        ("file:///tmp/videos/x.json", ""),
        ("", ""),
    ],
)
def test_a_manifest_is_shown_in_the_console_of_its_store_where_it_has_one(monkeypatch, uri, page):
    monkeypatch.delenv("STORAGE_EMULATOR_HOST", raising=False)
    assert links.ManifestLink().get_link(SimpleNamespace(manifest_uri=uri), ti_key=None) == page


def test_a_manifest_on_amazons_s3_is_shown_in_its_console(monkeypatch):
    monkeypatch.setenv("AIRFLOW_CONN_AMAZON", json.dumps({"conn_type": "aws", "login": "key", "password": "secret"}))
    page = "https://console.aws.amazon.com/s3/object/videos?prefix=day%201/x.json"
    assert links.console_page("s3://amazon@videos/day 1/x.json") == page


def test_a_manifest_on_another_s3_server_has_no_page(monkeypatch):
    extra = {"endpoint_url": "http://127.0.0.1:9"}
    monkeypatch.setenv(
        "AIRFLOW_CONN_MINIO", json.dumps({"conn_type": "aws", "login": "k", "password": "s", "extra": extra})
    )
    assert links.console_page("s3://minio@videos/x.json") == ""


def test_a_mapped_task_that_cannot_be_made_has_empty_links():
    mapped = ModelMaxGenerateVideoOperator.partial(task_id="t", model="veo-3", destination="/tmp/videos").expand(
        prompt=["a boat"], deadline=[5]
    )
    assert [link.get_link(mapped, ti_key=None) for link in mapped.operator_extra_links] == ["", ""]
