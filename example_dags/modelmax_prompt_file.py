"""A long prompt in its own file: Jinja includes it from the folder of the DAG file and renders it."""

from airflow.sdk import DAG, Param

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

with DAG(
    "modelmax_prompt_file",
    schedule=None,
    tags=["modelmax"],
    params={"time_of_day": Param("dusk", type="string"), "seconds": Param(4, type="integer", minimum=1, maximum=8)},
) as dag:
    ModelMaxGenerateVideoOperator(
        task_id="generate",
        model="veo-3.1-fast",
        prompt="{% include 'prompts/lighthouse.md' %}",
        parameters={"duration_seconds": "{{ params.seconds }}", "generate_audio": False},
        destination="{{ var.value.get('videos', '/tmp/videos') }}/{{ dag_run.run_id }}/",
    )
