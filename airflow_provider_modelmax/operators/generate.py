"""Prompt in, videos in object storage out, in one task."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_modelmax import api, literals
from airflow_provider_modelmax.api.parameters import check_flag
from airflow_provider_modelmax.api.text import stem_of
from airflow_provider_modelmax.literals import check_request
from airflow_provider_modelmax.operators.base import DEFAULT_DEADLINE, ModelMaxVideoOperator
from airflow_provider_modelmax.polling import DEFAULT_POLL_INTERVAL
from airflow_provider_modelmax.templating import HiddenImageField

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.api import VideoParameters
    from airflow_provider_modelmax.jobs.lifecycle import VideoJob
    from airflow_provider_modelmax.jobs.request import VideoRequest


class ModelMaxGenerateVideoOperator(ModelMaxVideoOperator):
    """Submit a job, wait for it without a worker slot, fetch its result once, and download its videos.

    Returns the list of URIs; pushes XCom ``request_id`` (as soon as it is known), and as soon as the result is there
    ``usage`` (what was billed) and ``manifest`` (URI of the JSON beside the videos). At each URI is a whole,
    checked MP4, or what was there before. Retries and clears continue from what is stored: they submit and pay again
    only if the job FAILED or ModelMax no longer knows it, or if a cleared task asks for something else. Before Airflow
    3.3 they also submit again while no result was requested; the lost job costs nothing.

    :param model: model id, for example ``veo-3.1`` (templated)
    :param prompt: what to show (templated); ``{% include 'boat.md' %}`` is the text of a file in the DAG file's folder
    :param parameters: the service's parameters (templated), see
        :class:`~airflow_provider_modelmax.api.VideoParameters`; ``image`` may be a path or URI, read on
        the worker
    :param allow_unknown_parameters: whether a parameter is sent although its name looks like a mistake for a known one,
        such as ``duration``; default False: the task fails before the submit. Other unknown names are sent as they are,
        with a warning
    :param destination: folder URI such as ``s3://conn_id@bucket/videos/``, or the exact object when it ends in ``.mp4``
        (with several samples, ``-0``, ``-1`` … go before the suffix) (templated)
    :param overwrite: whether another job's video at that object may be replaced; default False
    :param regenerate_on_clear: whether a clear makes a new video, which is paid for again; default False: a
        clear continues with the job, the result and the videos that are there
    :param deadline: how long to wait for the job in each try (default one hour), or until when (aware datetime);
        ``execution_timeout`` bounds it, also while deferred
    :param poll_interval: seconds between two status calls; default 5; up to four times that while deferred, if recent
        jobs of this model suggest that the job cannot be finished yet
    :param deferrable: whether to wait without a worker slot; default ``[operators] default_deferrable`` where the
        environment sets it, else True
    :param modelmax_conn_id: the connection (templated)
    """

    template_fields: Sequence[str] = ("model", "prompt", "parameters", "destination", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    parameters = HiddenImageField()

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
        self.model = model
        self.prompt = prompt
        self.parameters = parameters
        self.allow_unknown_parameters = check_flag("allow_unknown_parameters", allow_unknown_parameters)
        self.regenerate_on_clear = check_flag("regenerate_on_clear", regenerate_on_clear)
        check_request(
            self, model=model, prompt=prompt, parameters=parameters, allow_unknown=self.allow_unknown_parameters
        )

    def requested(self) -> VideoRequest:
        """Return what the arguments ask for, checked.

        :raises InvalidInputError: for what is wrong
        """
        from airflow_provider_modelmax.jobs.request import VideoRequest  # noqa: PLC0415 - not at DAG parse

        return VideoRequest.check(self.model, self.prompt, self.parameters, allow_unknown=self.allow_unknown_parameters)

    def video_job(self, context: Context, event_id: str | None = None) -> VideoJob:
        """Return the job, opened.

        :param event_id: id of the job that was waited for; None at the beginning of a try
        """
        ti = context["ti"]
        # The name of the files is known before the job is, so that a manifest is found without the task state.
        stem = stem_of(ti.task_id, ti.dag_id, ti.run_id, str(ti.map_index))
        regenerate = self.regenerate_on_clear
        if event_id is None:
            job = self._new_job(context, stem, request=self.requested(), regenerate_on_clear=regenerate)
            job.open()
            return job

        def submitted() -> Mapping[str, Any]:
            """Return the job from its XCom, which a resume leaves: before Airflow 3.3 it is stored nowhere else."""
            pushed = ti.xcom_pull(task_ids=self.task_id, key="job", map_indexes=ti.map_index)
            return {**(pushed or api.Job.of({"model": self.model, "request_id": event_id}).as_dict())}

        def requested() -> VideoRequest | None:
            try:
                return self.requested()
            except api.InvalidInputError:  # the DAG file was edited since
                return None

        job = self._new_job(context, stem, regenerate_on_clear=regenerate)
        job.reopen(event_id, submitted, requested)
        return job
