"""How a video is named for asset events, and what an asset event cannot hold."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
import structlog
from airflow.sdk import Asset, AssetAlias
from airflow.sdk.definitions.asset import AssetAliasUniqueKey
from airflow.sdk.execution_time.context import OutletEventAccessor

from airflow_provider_modelmax.lineage import assets


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://store@videos/a/b #1?.mp4", "s3://videos/a/b #1?.mp4"),
        ("s3://videos/a@b.mp4", "s3://videos/a@b.mp4"),
        ("gs://videos/b.mp4", "gs://videos/b.mp4"),
        ("/tmp/videos/b.mp4", "file:///tmp/videos/b.mp4"),
        ("file:///tmp/videos/b.mp4", "file:///tmp/videos/b.mp4"),
        ("videos/b.mp4", f"file://{Path.cwd()}/videos/b.mp4"),
    ],
)
def test_an_object_has_one_name_however_it_is_reached(uri, name):
    assert assets.plain(uri) == name


@pytest.mark.parametrize(
    ("uri", "name"),
    [
        ("s3://store@videos/a/b.mp4", "s3://videos/a/b.mp4"),
        ("s3://videos/a@b+c=(1),'x'.mp4", "s3://videos/a@b+c=(1),'x'.mp4"),
        ("s3://videos/d%C3%A9.mp4", "s3://videos/d%C3%A9.mp4"),
        ("/tmp/été/b.mp4", "file:///tmp/%C3%A9t%C3%A9/b.mp4"),
        ("s3://videos/a b.mp4", "s3://videos/a%20b.mp4"),
        ("s3://videos/桜.mp4", "s3://videos/%E6%A1%9C.mp4"),
        ("s3://videos/🎬.mp4", "s3://videos/%F0%9F%8E%AC.mp4"),
        ("s3://videos/100%.mp4", "s3://videos/100%25.mp4"),
        ("s3://videos/100%/d%C3%A9.mp4", "s3://videos/100%25/d%25C3%25A9.mp4"),
        ("s3://videos/a#1.mp4", "s3://videos/a%231.mp4"),
        ("s3://videos/a?b=2&a=1.mp4", "s3://videos/a%3Fb=2&a=1.mp4"),
        ('s3://videos/a"<>\\^`{|}[].mp4', "s3://videos/a%22%3C%3E%5C%5E%60%7B%7C%7D%5B%5D.mp4"),
        ("s3://videos/a\tb\x7f.mp4", "s3://videos/a%09b%7F.mp4"),
    ],
)
def test_the_uri_of_an_asset_is_ascii_and_stays_as_it_is(uri, name):
    assert assets.asset_uri(uri) == name
    assert Asset(name).uri == name


class Events:
    """The outlet events of a task that has an alias, which has no hash on Airflow 3.1."""

    def __init__(self) -> None:
        self.by_name: dict[str, OutletEventAccessor] = {}

    def __getitem__(self, alias: AssetAlias) -> OutletEventAccessor:
        made = OutletEventAccessor(key=AssetAliasUniqueKey.from_asset_alias(alias))
        return self.by_name.setdefault(alias.name, made)


def test_a_video_that_cannot_be_an_asset_is_left_out_with_a_warning(log):
    outlet = AssetAlias("videos")
    task = SimpleNamespace(outlets=[outlet], log=structlog.get_logger("task"))
    events, long = Events(), f"s3://videos/{'é' * 300}.mp4"
    assets.add_asset_events({"task": task, "outlet_events": events}, {"uris": [long, "s3://videos/é.mp4"], "usage": {}})
    assert [each.dest_asset_key.uri for each in events[outlet].asset_alias_events] == ["s3://videos/%C3%A9.mp4"]
    (line,) = log
    assert line.startswith("No asset event for a video: Asset name cannot exceed 1500 characters")
