"""Cost control: a limit that holds before anything is submitted, and the sum of what was billed afterwards."""

from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Param, XComArg, task, teardown

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

PARAMETERS = {"duration_seconds": 4, "sample_count": 1, "generate_audio": False}


@task
def within_budget(params: Any = None) -> list[str]:
    """Return the prompts, or fail for good when they ask for more seconds of video than are allowed."""
    prompts = list(params["prompts"])
    seconds = len(prompts) * PARAMETERS["duration_seconds"] * PARAMETERS["sample_count"]
    if seconds > params["most_seconds"]:
        raise AirflowFailException(f"{seconds} s of video are asked for, and {params['most_seconds']} s are allowed.")
    return prompts


@teardown
@task
def add_up(usages: Any) -> int:
    """Return how many seconds were billed. As a teardown it runs when videos failed too, and hides no failure."""
    return sum(usage["video_seconds"] for usage in usages if usage)


with DAG(
    "modelmax_cost_control",
    schedule=None,
    tags=["modelmax"],
    params={
        "prompts": Param(["A paper boat on a rainy street", "A red kite over dunes"], type="array"),
        "most_seconds": Param(60, type="integer"),
    },
) as dag:
    generate = ModelMaxGenerateVideoOperator.partial(
        task_id="generate",
        model="veo-3-fast",
        parameters=PARAMETERS,
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
    ).expand(prompt=within_budget())
    add_up(XComArg(generate, key="usage"))
