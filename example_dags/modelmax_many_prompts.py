"""Many prompts: one mapped task each, all deferred at once; a last task collects the URIs."""

from typing import Any

from airflow.sdk import DAG, Param, task

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

PROMPTS = [
    "A lighthouse at dusk, waves rolling in",
    "A paper boat on a rainy street, close-up",
    "A red kite over dunes, slow motion",
]


@task
def read_prompts(params: Any = None) -> list[str]:
    """Return one prompt for each video."""
    return list(params["prompts"])


@task
def collect(videos: Any) -> list[str]:
    """Return the URIs of all videos."""
    return [uri for uris in videos for uri in uris]


with DAG(
    "modelmax_many_prompts",
    schedule=None,
    tags=["modelmax"],
    params={"prompts": Param(PROMPTS, type="array", items={"type": "string"}, description="One video for each line")},
) as dag:
    generate = ModelMaxGenerateVideoOperator.partial(
        task_id="generate",
        model="veo-3-fast",
        parameters={"duration_seconds": 4, "generate_audio": False},
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
        map_index_template="{{ task.prompt | truncate(100) }}",
    ).expand(prompt=read_prompts())
    collect(generate.output)
