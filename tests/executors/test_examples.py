"""Every example, on each executor and into each store: one submit and one result a job, and whole videos."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.stores import EVERY_STORE

if TYPE_CHECKING:
    from tests.executors.story import Examples
    from tests.stores import Store

BEGUN_BY_HAND = (
    "modelmax_text_to_video",
    "modelmax_image_to_video",
    "modelmax_many_prompts",
    "modelmax_submit",
    "modelmax_process",
    "modelmax_cost_control",
    "modelmax_alerting",
    "modelmax_own_task",
    "modelmax_prompt_file",
)
BEGUN_BY_AN_ASSET = ("modelmax_wait_and_download", "modelmax_publish", "modelmax_catalogue")
JOBS = 13  # of which three are of the many prompts, two of cost control, and two of the own task
OF_TWO_SAMPLES = 2  # those of submit and of process


def sizes(store: Store) -> list[int]:
    """Return the size of each MP4 in the store."""
    return sorted(len(store.read(name)) for name in store.names() if name.endswith(".mp4"))


@pytest.mark.parametrize("store", EVERY_STORE)
def test_every_example_makes_its_videos_once(store: str, examples: Examples, stores: dict[str, Store]) -> None:
    examples.land_in(stores[store].uri("").removesuffix("/"))
    for dag_id in BEGUN_BY_AN_ASSET:
        examples.remember(dag_id)

    runs = {dag_id: examples.start(dag_id) for dag_id in BEGUN_BY_HAND}
    tasks = [task for dag_id, run_id in runs.items() for task in examples.succeeded(dag_id, run_id)]
    for dag_id in BEGUN_BY_AN_ASSET:
        tasks += examples.succeeded(dag_id, examples.next_run(dag_id))

    assert {task["try_number"] for task in tasks} == {1}
    assert examples.submits() == JOBS
    assert sorted(examples.spent()) == [(1, 1, 1)] * (JOBS - OF_TWO_SAMPLES) + [(1, 2, 1)] * OF_TWO_SAMPLES
    assert len(examples.ordered_bytes()) == JOBS + OF_TWO_SAMPLES
    assert sizes(stores[store]) == examples.ordered_bytes()
