"""The same tasks twice, deferrable and not: what they do comes from the run's conf."""

from datetime import datetime, timedelta, timezone
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

ORDER = {
    "model": "{{ dag_run.conf.get('model', 'veo-3.1-fast') }}",
    "prompt": "{{ dag_run.conf.get('prompt', 'a lighthouse at dusk') }}",
    "parameters": "{{ dag_run.conf.get('parameters', {'duration_seconds': 1, 'generate_audio': False}) }}",
}
DESTINATION = "{{ dag_run.conf['destination'] }}"
JOB = "{{ dag_run.conf['job'] }}"
PAST = datetime(2026, 1, 1, tzinfo=timezone.utc)

DAGS: dict[str, DAG] = {}


def scenario(dag_id: str, *, native: bool = True) -> DAG:
    DAGS[dag_id] = DAG(dag_id, schedule=None, render_template_as_native_obj=native)
    return DAGS[dag_id]


for way in ("deferrable", "inline"):
    waiting = {
        "deferrable": way == "deferrable",
        "poll_interval": 0.1,
        "modelmax_conn_id": "{{ dag_run.conf.get('account', 'modelmax_default') }}",
    }
    with scenario("generate_" + way):
        ModelMaxGenerateVideoOperator(
            task_id="generate", destination=DESTINATION, deadline=timedelta(seconds=30), **ORDER, **waiting
        )
    with scenario("generate_of_a_file_" + way):
        ModelMaxGenerateVideoOperator(
            task_id="generate",
            destination=DESTINATION,
            **{**ORDER, "prompt": "{% include 'lighthouse.md' %}"},
            **waiting,
        )
    with scenario("generate_overwriting_" + way):
        ModelMaxGenerateVideoOperator(task_id="generate", destination=DESTINATION, overwrite=True, **ORDER, **waiting)
    with scenario("generate_impatient_" + way):
        ModelMaxGenerateVideoOperator(
            task_id="generate", destination=DESTINATION, deadline=timedelta(seconds=1), **ORDER, **waiting
        )
    with scenario("generate_fresh_" + way):
        ModelMaxGenerateVideoOperator(
            task_id="generate", destination=DESTINATION, regenerate_on_clear=True, **ORDER, **waiting
        )
    with scenario("generate_too_late_" + way):
        ModelMaxGenerateVideoOperator(task_id="generate", destination=DESTINATION, deadline=PAST, **ORDER, **waiting)
    with scenario("download_too_late_" + way):
        ModelMaxDownloadVideoOperator(task_id="download", job=JOB, destination=DESTINATION, deadline=PAST, **waiting)
    with scenario("generate_twins_" + way):
        for name in ("first", "second"):
            ModelMaxGenerateVideoOperator(task_id=name, destination=DESTINATION, **ORDER, **waiting)
    with scenario("submit_then_download_" + way):
        submit = ModelMaxSubmitVideoOperator(task_id="submit", **ORDER)
        wait = ModelMaxVideoSensor(task_id="wait", job=submit.output, **waiting)
        ModelMaxDownloadVideoOperator(task_id="download", job=wait.output, destination=DESTINATION, **waiting)
    with scenario("submit_and_download_" + way):
        submit = ModelMaxSubmitVideoOperator(task_id="submit", **ORDER)
        ModelMaxDownloadVideoOperator(task_id="download", job=submit.output, destination=DESTINATION, **waiting)
    with scenario("download_" + way):
        ModelMaxDownloadVideoOperator(task_id="download", job=JOB, destination=DESTINATION, **waiting)
    with scenario("soft_sensor_" + way):
        ModelMaxVideoSensor(task_id="wait", job=JOB, soft_fail=True, **waiting)
    with scenario("impatient_sensor_" + way):
        ModelMaxVideoSensor(task_id="wait", job=JOB, timeout=1, **waiting)


@task
def conf(name: str, **context: Any) -> Any:
    """Return a part of the run's conf, as an upstream task returns what it has read."""
    return context["dag_run"].conf[name]


for native in (False, True):
    suffix = "natively" if native else "as_text"
    with scenario(f"submit_{suffix}", native=native):
        ModelMaxSubmitVideoOperator(
            task_id="submit",
            model=ORDER["model"],
            prompt="{{ dag_run.conf['prompt'] }}",
            parameters={
                "duration_seconds": "{{ dag_run.conf['seconds'] }}",
                "generate_audio": "{{ dag_run.conf['audio'] }}",
                "negative_prompt": "{{ dag_run.conf['avoid'] }}",
            },
        )
    with scenario(f"submit_a_dict_{suffix}", native=native):
        submit = ModelMaxSubmitVideoOperator(
            task_id="submit",
            model=ORDER["model"],
            prompt="a boat",
            parameters="{{ ti.xcom_pull('conf') }}",
        )
        conf("parameters") >> submit
        submit >> ModelMaxVideoSensor(task_id="wait", job="{{ ti.xcom_pull('submit') }}", poll_interval=0.1)
    with scenario(f"submit_expanded_{suffix}", native=native):
        ModelMaxSubmitVideoOperator.partial(task_id="submit", model="{{ dag_run.conf['model'] }}").expand(
            prompt=conf("prompts"), parameters=conf("parameters")
        )
    with scenario(f"submit_expanded_by_kwargs_{suffix}", native=native):
        ModelMaxSubmitVideoOperator.partial(task_id="submit", model="{{ dag_run.conf['model'] }}").expand_kwargs(
            conf("orders")
        )
    with scenario(f"submit_expanded_by_some_kwargs_{suffix}", native=native):
        ModelMaxSubmitVideoOperator.partial(task_id="submit", model="{{ dag_run.conf['model'] }}").expand_kwargs(
            [conf("order"), {"prompt": "{{ dag_run.conf['model'] }}"}]
        )

globals().update(DAGS)  # where Airflow looks for them
