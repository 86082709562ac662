"""The example on the reference page of the hook: one bill, however often it is tried."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from airflow_provider_modelmax.api import Result
from tests.examples.hook_example import copy_video, make_video


@pytest.fixture(autouse=True)
def _short(simulator, modelmax_conn):
    simulator.settings.queue_seconds = simulator.settings.run_seconds = 0


def test_the_example_lands_a_video_and_pays_once_however_often_it_is_tried(simulator, tmp_path):
    (uri,) = make_video("Ein Leuchtturm bei Nacht, 灯台", tmp_path)
    assert Path(uri.removeprefix("file://")).stat().st_size > 1000
    assert make_video("Ein Leuchtturm bei Nacht, 灯台", tmp_path) == [uri]
    assert len(simulator.ledger.bills) == 1
    assert simulator.ledger.count("submit") == 1


def test_the_bytes_of_a_video_are_iterated_over(simulator, tmp_path):
    (uri,) = make_video("a boat", tmp_path)
    result = Result.from_dict(json.loads((tmp_path / "result.json").read_text()))
    copy_video(result, tmp_path / "copy.mp4")
    assert (tmp_path / "copy.mp4").read_bytes() == Path(uri.removeprefix("file://")).read_bytes()
