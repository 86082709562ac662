"""Prompt in, videos in object storage out, in one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_modelmax import airflow_errors as edge
from airflow_provider_modelmax import api
from airflow_provider_modelmax.api.parameters import check_future, sample_count
from airflow_provider_modelmax.api.text import stem_of
from airflow_provider_modelmax.operators.download import DEFAULT_DEADLINE, LandsVideo
from airflow_provider_modelmax.operators.submit import SubmitsVideo
from airflow_provider_modelmax.polling import DEFAULT_POLL_INTERVAL

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.api.parameters import VideoParameters
    from airflow_provider_modelmax.jobs.record import Progress
    from airflow_provider_modelmax.jobs.store import Record


class ModelMaxGenerateVideoOperator(SubmitsVideo, LandsVideo):
    """Submit a job, wait for it without a worker slot, fetch its result once, and land its videos.

    Returns the list of URIs; pushes XCom ``request_id`` (as soon as it is known), and as soon as the result is there
    ``usage`` (what was billed) and ``manifest`` (URI of the JSON beside the videos). At each URI stands a whole,
    checked MP4, or what stood there before. Retries and clears go on from what is there: they submit and pay anew only
    when the job FAILED or ModelMax no longer knows it, and when a cleared task asks for something else. Before Airflow
    3.3 they submit anew also while no result was asked for; the lost job costs nothing.

    :param model: model id, for example ``veo-3.1`` (templated)
    :param prompt: what to show (templated); ``{% include 'boat.md' %}`` is the text of a file in the DAG file's folder
    :param parameters: the service's parameters (templated), see
        :class:`~airflow_provider_modelmax.api.parameters.VideoParameters`; ``image`` may be a path or URI, read on
        the worker
    :param allow_unknown_parameters: whether a parameter is sent although its name looks like a mistake for a known one,
        such as ``duration``; default False: the task fails before the submit. Other unknown names are sent as they are,
        with a warning
    :param destination: folder URI such as ``s3://conn_id@bucket/videos/``, or the exact object when it ends in ``.mp4``
        (with several samples, ``-0``, ``-1`` … go before the suffix) (templated)
    :param overwrite: whether another job's video at that object may be replaced; default False
    :param regenerate_on_clear: whether a clear makes a new video, which is paid for again; default False: a
        clear takes up the job, the result and the videos that are there
    :param deadline: how long to wait for the job in each try (default one hour), or until when (aware datetime);
        ``execution_timeout`` bounds it, also while deferred
    :param poll_interval: seconds between two status calls; default 5; while deferred up to four times that, where other
        jobs of this model were never over
    :param deferrable: whether to wait without a worker slot; default ``[operators] default_deferrable`` where the
        environment sets it, else True
    :param modelmax_conn_id: the connection (templated)
    """

    template_fields: Sequence[str] = ("model", "prompt", "parameters", "destination", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    _waits = True

    def __init__(
        self,
        *,
        model: str,
        prompt: str,
        destination: str,
        parameters: VideoParameters | Mapping[str, Any] | None = None,
        allow_unknown_parameters: bool = False,
        overwrite: bool = False,
        regenerate_on_clear: bool = False,
        deadline: timedelta | datetime = DEFAULT_DEADLINE,
        poll_interval: float | timedelta = DEFAULT_POLL_INTERVAL,
        deferrable: bool | None = None,
        modelmax_conn_id: str = edge.DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            model=model,
            prompt=prompt,
            destination=destination,
            parameters=parameters,
            allow_unknown_parameters=allow_unknown_parameters,
            overwrite=overwrite,
            regenerate_on_clear=regenerate_on_clear,
            deadline=deadline,
            poll_interval=poll_interval,
            deferrable=deferrable,
            modelmax_conn_id=modelmax_conn_id,
            **kwargs,
        )

    def _samples(self) -> int:
        return sample_count(self.parameters)

    def _stem(self, context: Context) -> str:
        """Known before the job is, so that a manifest is found without the task state."""
        ti = context["ti"]
        return stem_of(ti.task_id, ti.dag_id, ti.run_id, str(ti.map_index))

    def _take_up(self, context: Context, record: Record) -> Progress:
        kept = record.recall()
        if kept and self._is_still_good(record.state, kept):
            if not kept.result:  # the destination may have changed
                record.check(kept.job.request_id)
            return self._announce(context, record.state.taken_up(kept))
        order = self._order()
        check_future(edge.absolute(self.deadline, self.execution_timeout), edge.utcnow())
        record.check(None)
        return self._submit(context, record.state, order)

    def _resume(self, context: Context, record: Record, request_id: str) -> Progress:
        """Before Airflow 3.3 the job is in its XCom, which a resume leaves."""
        progress = record.recall()
        if progress and progress.is_of(request_id):
            return progress
        ti = context["ti"]
        pushed = ti.xcom_pull(task_ids=self.task_id, key="job", map_indexes=ti.map_index)
        job = api.Job.of(pushed or {"model": self.model, "request_id": request_id})
        begun = record.begun(job, submitted_at=(pushed or {}).get("submitted_at", 0.0))
        found = record.recall(job)
        return found.ordered_as(begun) if found else begun
