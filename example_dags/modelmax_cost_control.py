"""Cost control: a limit that is checked before anything is submitted, and the total that was billed."""

from typing import Any

from airflow.providers.common.compat.sdk import AirflowFailException
from airflow.sdk import DAG, Param, XComArg, task, teardown

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

PARAMETERS = {"duration_seconds": 4, "sample_count": 1, "generate_audio": False}


@task
def within_budget(params: Any = None) -> list[str]:
    """Return the prompts, or fail without retries if they need more seconds of video than allowed."""
    prompts = list(params["prompts"])
    seconds = len(prompts) * PARAMETERS["duration_seconds"] * PARAMETERS["sample_count"]
    if seconds > params["max_seconds"]:
        raise AirflowFailException(f"The prompts need {seconds} s of video; {params['max_seconds']} s are allowed.")
    return prompts


@teardown
@task
def add_up(usages: Any) -> int:
    """Return how many seconds were billed. A teardown also runs if videos failed, and does not hide the failure."""
    return sum(usage["video_seconds"] for usage in usages if usage)


with DAG(
    "modelmax_cost_control",
    schedule=None,
    tags=["modelmax"],
    params={
        "prompts": Param(["A paper boat on a rainy street", "A red kite over dunes"], type="array"),
        "max_seconds": Param(60, type="integer"),
    },
) as dag:
    generate = ModelMaxGenerateVideoOperator.partial(
        task_id="generate",
        model="veo-3-fast",
        parameters=PARAMETERS,
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
    ).expand(prompt=within_budget())
    add_up(XComArg(generate, key="usage"))
