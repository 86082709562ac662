"""Text to video: one task submits, waits without a worker slot, pays once, and stores a complete MP4."""

from airflow.sdk import DAG

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

with DAG("modelmax_text_to_video", schedule=None, tags=["modelmax"]):
    ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1-fast",
        prompt="A lighthouse at dusk, waves rolling in, cinematic",
        parameters={"duration_seconds": 4},
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
    )
