"""What OpenLineage's events say of a task: the order, the job, the bill, the objects. The prompt only as its hash."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from typing import Any

from airflow.providers.openlineage.extractors import OperatorLineage
from attrs import define
from openlineage.client.event_v2 import InputDataset, OutputDataset
from openlineage.client.facet_v2 import (
    DatasetFacet,
    RunFacet,
    external_query_run,
    output_statistics_output_dataset,
    storage_dataset,
)

from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.storage.location import plain
from airflow_provider_modelmax.storage.objects import Saved


@define
class ModelMaxRunFacet(RunFacet):
    """The order of a task; the names are written as OpenLineage writes its own.

    :param model: model id
    :param promptSha256: SHA-256 of the prompt in UTF-8, in hex; None where the job was submitted elsewhere
    :param parameters: the service's parameters; an image by its name or size
    :param requestId: the job, where there is one by now
    """

    model: str | None
    promptSha256: str | None  # noqa: N815
    parameters: dict[str, Any]
    requestId: str | None  # noqa: N815


@define
class ModelMaxVideoDatasetFacet(DatasetFacet):
    """A video.

    :param requestId: the job that it is of
    :param sha256: of its bytes, in hex
    :param usage: what the whole job was billed, in the service's words
    """

    requestId: str  # noqa: N815
    sha256: str
    usage: dict[str, Any]


def lineage(
    request: Mapping[str, Any] | None, image: str | None, progress: JobRecord | None
) -> OperatorLineage[Any, Any]:
    """Return what is known by now.

    :param request: what was asked for, as a manifest shows it; None where the job was submitted elsewhere
    :param image: URI of the image that was sent along
    :param progress: how far the task got; None where it has no job yet
    """
    facets: dict[str, Any] = {"modelmax": _run_facet(request or {}, progress)}
    if progress:
        facets["externalQuery"] = external_query_run.ExternalQueryRunFacet(
            externalQueryId=progress.job.request_id, source="modelmax"
        )
    return OperatorLineage(
        inputs=[InputDataset(*_name(image))] if image else [],
        outputs=[_output(video, progress) for video in progress.videos] if progress else [],
        run_facets=facets,
    )


def _run_facet(request: Mapping[str, Any], progress: JobRecord | None) -> ModelMaxRunFacet:
    prompt = request.get("prompt")
    return ModelMaxRunFacet(
        model=request.get("model") or (progress.job.model if progress else None),
        promptSha256=hashlib.sha256(prompt.encode(errors="replace")).hexdigest() if prompt else None,
        parameters=dict(request.get("parameters") or {}),
        requestId=progress.job.request_id if progress else None,
    )


def _output(video: Saved, progress: JobRecord) -> OutputDataset:
    namespace, name = _name(video.uri)
    usage = dict(progress.result.usage) if progress.result else {}
    storage = storage_dataset.StorageDatasetFacet(storageLayer=namespace.partition(":")[0], fileFormat="mp4")
    return OutputDataset(
        namespace,
        name,
        facets={
            "storage": storage,
            "modelmax": ModelMaxVideoDatasetFacet(progress.job.request_id, video.sha256, usage),
        },
        outputFacets={
            "outputStatistics": output_statistics_output_dataset.OutputStatisticsOutputDatasetFacet(
                size=video.size, fileCount=1
            )
        },
    )


def _name(uri: str) -> tuple[str, str]:
    """Name an object as OpenLineage's naming does: ``s3://bucket`` and its key, ``file`` and its path."""
    scheme, _, rest = plain(uri).partition("://")
    if scheme == "file":
        return "file", rest
    bucket, _, key = rest.partition("/")
    return f"{scheme}://{bucket}", key
