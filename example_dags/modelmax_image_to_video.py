"""Image to video: the image is a path or URI that the worker reads; no log, XCom or database gets its bytes."""

from pathlib import Path

from airflow.sdk import DAG, AssetAlias, Param

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

LIGHTHOUSE = str(Path(__file__).with_name("lighthouse.png"))

with DAG(
    "modelmax_image_to_video",
    schedule=None,
    tags=["modelmax"],
    params={
        "image": Param(LIGHTHOUSE, type="string", description="A path that workers can read, or s3://conn_id@bucket/…"),
        "prompt": Param("The waves begin to roll, the light turns", type="string"),
    },
) as dag:
    ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1-fast",
        prompt="{{ params.prompt }}",
        parameters={"image": "{{ params.image }}", "duration_seconds": 4, "generate_audio": False},
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
        outlets=[AssetAlias("modelmax_videos")],  # the URI of the video is known only at run time
    )
