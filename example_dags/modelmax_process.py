"""Process the videos: the next tasks open each video by the URI that the operator returned."""

from typing import Any

from airflow.sdk import DAG, ObjectStoragePath, Param, task

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator


@task
def measure(uri: str) -> dict[str, Any]:
    """Open one video; put your own step here."""
    video: Any = ObjectStoragePath(uri)
    with video.open("rb") as file:
        head = file.read(8)
    return {"uri": uri, "bytes": video.stat().st_size, "is_mp4": head[4:] == b"ftyp"}


with DAG(
    "modelmax_process",
    schedule=None,
    tags=["modelmax"],
    params={"prompt": Param("A red kite over dunes, slow motion", type="string")},
) as dag:
    generate = ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1-fast",
        prompt="{{ params.prompt }}",
        parameters={"duration_seconds": 4, "sample_count": 2},
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
    )
    measure.expand(uri=generate.output)
