"""What is told to Airflow once a video has landed fails no task; PostgreSQL refuses more than SQLite."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.system.plan import LONG_PROMPTS, ODD_FOLDER


@pytest.mark.cases("told")
def test_long_labels_odd_folders_and_huge_numbers_fail_no_task_that_has_landed(stack, cases) -> None:
    run = cases["told"].succeeded()
    assert run.spent() == [(1, 1, 1)] * len(LONG_PROMPTS)
    events = stack.asset_events()
    for index, prompt in enumerate(LONG_PROMPTS):
        task = run.task(map_index=index)
        assert (task["state"], task["try_number"]) == ("success", 1)
        assert task["rendered_map_index"] == f"{prompt[:249]}…"
        (uri,) = stack.xcom(run.dag_id, run.run_id, "generate", map_index=index)
        name = uri.rpartition("/")[2]
        assert uri == f"s3://store@videos/told/{ODD_FOLDER}/{name}"
        assert [each["uri"] for each in events if name in each["uri"]] == [
            f"s3://videos/told/{quote(ODD_FOLDER)}/{name}"
        ]
        usage = stack.xcom(run.dag_id, run.run_id, "generate", "usage", map_index=index)
        assert float(usage["video_seconds"]) == 1e25  # which PostgreSQL returns with all its digits
