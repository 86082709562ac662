"""Text to video: one task submits, waits without a worker slot, pays once, and lands a whole MP4."""

from airflow.sdk import dag

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator


@dag(schedule=None, tags=["modelmax"])
def modelmax_text_to_video() -> None:
    """Make one clip."""
    ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1-fast",
        prompt="A lighthouse at dusk, waves rolling in, cinematic",
        parameters={"duration_seconds": 4},
        destination="file:///tmp/modelmax-videos/{{ dag_run.run_id }}/",
    )


modelmax_text_to_video()
