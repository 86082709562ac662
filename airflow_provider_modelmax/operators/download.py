"""Download the videos of a job to object storage, waiting for the job first if it is not over."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_modelmax import api, literals, polling
from airflow_provider_modelmax.api.text import stem_of
from airflow_provider_modelmax.literals import check_job
from airflow_provider_modelmax.operators.base import DEFAULT_DEADLINE, ModelMaxVideoOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.jobs.lifecycle import VideoJob


class ModelMaxDownloadVideoOperator(ModelMaxVideoOperator):
    """Fetch the result of a job, which BILLS, and download its videos to object storage.

    Waits for the job first if it is not over. Returns the list of URIs; pushes XCom ``request_id``, and as soon as
    the result is there ``usage`` (what was billed) and ``manifest`` (URI of the JSON beside the videos). At each URI
    is a whole, checked MP4, or what was there before. The result is fetched once per job: a retry, a clear, or
    another download to the same destination finds it in the task state (Airflow 3.3 and later) or in the manifest.

    :param job: ``submit.output``, or ``{"model": …, "request_id": …}`` of any job of this account (templated)
    :param destination: folder URI such as ``s3://conn_id@bucket/videos/``, or the exact object when it ends in ``.mp4``
        (with several samples, ``-0``, ``-1`` … go before the suffix) (templated)
    :param overwrite: whether another job's video at that object may be replaced; default False
    :param deadline: how long to wait for the job in each try (default one hour), or until when (aware datetime);
        ``execution_timeout`` bounds it, also while deferred
    :param poll_interval: seconds between two status calls; default 5; up to four times that while deferred, if recent
        jobs of this model suggest that the job cannot be finished yet
    :param deferrable: whether to wait without a worker slot; default ``[operators] default_deferrable`` where the
        environment sets it, else True
    :param modelmax_conn_id: the connection (templated)
    """

    template_fields: Sequence[str] = ("job", "destination", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "json"}

    def __init__(
        self,
        *,
        job: Mapping[str, str],
        destination: str,
        overwrite: bool = False,
        deadline: timedelta | datetime = DEFAULT_DEADLINE,
        poll_interval: float | timedelta = polling.DEFAULT_POLL_INTERVAL,
        deferrable: bool | None = None,
        modelmax_conn_id: str = literals.DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            destination=destination,
            overwrite=overwrite,
            deadline=deadline,
            poll_interval=poll_interval,
            deferrable=deferrable,
            modelmax_conn_id=modelmax_conn_id,
            **kwargs,
        )
        self.job = job
        check_job(self, job)

    def video_job(self, context: Context, event_id: str | None = None) -> VideoJob:
        """Return the job, opened.

        :param event_id: id of the job that was waited for; None at the beginning of a try
        """
        if event_id is None:
            given = api.Job.of(self.job)
            job = self._new_job(context, stem_of(given.request_id), job=given)
            job.open()
            return job
        try:
            request_id = api.Job.of(self.job).request_id
        except api.InvalidInputError:  # the DAG file was edited since
            request_id = event_id
        job = self._new_job(context, stem_of(request_id))
        job.reopen(request_id, lambda: api.Job.of(self.job).as_dict())
        return job
