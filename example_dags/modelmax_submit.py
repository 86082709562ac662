"""Submit here, wait elsewhere: an asset event passes the job to a DAG that is scheduled on the asset."""

from collections.abc import Iterator
from typing import Any

from airflow.sdk import DAG, Asset, Metadata, Param, task

from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator

SUBMITTED = Asset("modelmax_submitted")


@task(outlets=[SUBMITTED])
def announce(job: Any) -> Iterator[Metadata]:
    """Pass the job to the DAGs that are scheduled on the asset."""
    yield Metadata(SUBMITTED, job)


with DAG(
    "modelmax_submit",
    schedule=None,
    tags=["modelmax"],
    params={"prompt": Param("A paper boat on a rainy street, close-up", type="string")},
) as dag:
    submit = ModelMaxSubmitVideoOperator(
        task_id="submit",
        model="veo-3.1",
        prompt="{{ params.prompt }}",
        parameters={"aspect_ratio": "9:16", "duration_seconds": 4, "sample_count": 2},
    )
    announce(submit.output)
