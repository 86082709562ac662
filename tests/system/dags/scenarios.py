"""The DAGs of the system tests; what they ask for comes from the run's conf."""

from __future__ import annotations

import base64
import struct
import zlib
from datetime import timedelta
from typing import Any

from airflow.sdk import DAG, task

from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor

MODEL = "veo-3.1-fast"
PROMPT = "{{ dag_run.conf['prompt'] }}"
SHORT = {"duration_seconds": 1}
SOON = timedelta(seconds=1)

RETRIED = {"retries": 2, "retry_delay": SOON}
BOUND = timedelta(seconds=45)

ORDER = {
    "model": MODEL,
    "prompt": PROMPT,
    "parameters": "{{ dag_run.conf.get('parameters', {'duration_seconds': 1}) }}",
    "destination": "{{ dag_run.conf['destination'] }}",
    "poll_interval": 1,
}
SAME = {name: value for name, value in ORDER.items() if name != "prompt"}


def scenario(dag_id: str) -> DAG:
    """Make a DAG whose templates keep their types."""
    return DAG(dag_id, schedule=None, render_template_as_native_obj=True)


def png(shade: int) -> bytes:
    """Draw a picture that does not compress away: 64 x 36 pixels, different for each shade."""
    rows = b"".join(
        b"\0" + bytes((x * x * 7 + y * y * 13 + x * y * shade) % 256 for x in range(192)) for y in range(36)
    )
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", 64, 36, 8, 2, 0, 0, 0)), (b"IDAT", zlib.compress(rows)), (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data)) for kind, data in chunks
    )


def encoded(shade: int) -> str:
    """Return that picture as Base64: at no time does it stand in this source, which Airflow keeps."""
    return base64.b64encode(png(shade)).decode()


with scenario("once"):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER)

with scenario("retried"):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, **RETRIED)

with scenario("big"):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, modelmax_conn_id="modelmax_big")

for conn_id in ("modelmax_vault", "modelmax_saved"):
    with scenario(conn_id):
        ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, modelmax_conn_id=conn_id)

with scenario("wrong_key"):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, **RETRIED, modelmax_conn_id="modelmax_wrong_key")

with scenario("until_deadline"):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, deadline=BOUND)

with scenario("until_execution_timeout"):
    ModelMaxGenerateVideoOperator(task_id="generate", **ORDER, execution_timeout=BOUND)

with scenario("mapped"):
    ModelMaxGenerateVideoOperator.partial(task_id="generate", **SAME, **RETRIED).expand(
        prompt=[f"{PROMPT} {number}" for number in range(8)]
    )

with scenario("sensors"):
    submit = ModelMaxSubmitVideoOperator(task_id="submit", model=MODEL, prompt=PROMPT, parameters=SHORT)
    asked = {"job": submit.output, "poll_interval": 2, **RETRIED}
    download = ModelMaxDownloadVideoOperator(
        task_id="download", job=submit.output, destination=ORDER["destination"], poll_interval=1
    )
    [
        ModelMaxVideoSensor(task_id="deferrable", **asked),
        ModelMaxVideoSensor(task_id="reschedule", **asked, mode="reschedule"),
        ModelMaxVideoSensor(task_id="poke", **asked, deferrable=False),
    ] >> download

with scenario("sensors_of_a_failed_job"):
    submit = ModelMaxSubmitVideoOperator(task_id="submit", model=MODEL, prompt=PROMPT, parameters=SHORT)
    asked = {"job": submit.output, "poll_interval": 2, **RETRIED}
    ModelMaxVideoSensor(task_id="deferrable", **asked)
    ModelMaxVideoSensor(task_id="deferrable_soft", **asked, soft_fail=True)
    ModelMaxVideoSensor(task_id="reschedule", **asked, mode="reschedule")
    ModelMaxVideoSensor(task_id="reschedule_soft", **asked, mode="reschedule", soft_fail=True)

with scenario("sensors_of_a_stuck_job"):
    submit = ModelMaxSubmitVideoOperator(task_id="submit", model=MODEL, prompt=PROMPT, parameters=SHORT)
    asked = {"job": submit.output, "poll_interval": 2, "timeout": 20}
    ModelMaxVideoSensor(task_id="deferrable", **asked)
    ModelMaxVideoSensor(task_id="deferrable_soft", **asked, soft_fail=True)
    ModelMaxVideoSensor(task_id="reschedule", **asked, mode="reschedule")

with scenario("images"):

    @task(show_return_value_in_logs=False)
    def upstream() -> str:
        """Return an image as any task might, without logging it itself."""
        return encoded(3)

    picture = upstream()
    given = {
        "direct": {**SHORT, "image": encoded(1)},
        "from_xcom": {**SHORT, "image": picture},
        "template": {**SHORT, "image": "{{ ti.xcom_pull(task_ids='upstream') }}"},
    }
    for name, parameters in given.items():
        folder = ORDER["destination"] + name
        generate = ModelMaxGenerateVideoOperator(
            task_id=name, **{**ORDER, "prompt": f"{PROMPT} {name}", "parameters": parameters, "destination": folder}
        )
        picture >> generate
    mapped = {**SAME, "parameters": given["from_xcom"], "destination": ORDER["destination"] + "mapped"}
    ModelMaxGenerateVideoOperator.partial(task_id="mapped", **mapped).expand(prompt=[f"{PROMPT} mapped"])

with scenario("marker"):

    @task
    def plant(dag_run: Any = None) -> str:
        """Say and return the marker, so that a search that does not find it is known to be blind."""
        print(f"here is {dag_run.conf['marker']}")
        return str(dag_run.conf["marker"])

    plant()
