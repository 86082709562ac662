"""Submit a job and return at once; a sensor or a download waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_modelmax import api
from airflow_provider_modelmax.edge import hopeless_fails
from airflow_provider_modelmax.operators.base import ModelMaxBaseOperator
from airflow_provider_modelmax.operators.order import Order, hide_image
from airflow_provider_modelmax.operators.progress import FAILED, Progress, ProgressStore

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.parameters import VideoParameters


class SubmitsVideo(ModelMaxBaseOperator):
    """The part of an operator that submits, at most once per order.

    :param model: model id (templated)
    :param prompt: what to show (templated)
    :param parameters: the service's parameters (templated)
    """

    def __init__(
        self,
        *,
        model: str,
        prompt: str,
        parameters: VideoParameters | Mapping[str, Any] | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.model = model
        self.prompt = prompt
        self.parameters = parameters

    @property
    def parameters(self) -> Any:
        """The service's parameters; an image in them is hidden, also where a template has put it."""
        return self._parameters

    @parameters.setter
    def parameters(self, value: Any) -> None:
        # Rendering ends here for mapped and unmapped tasks alike; after it Airflow stores the fields.
        self._parameters = hide_image(value)

    def _submit_once(self, context: Context, order: Order, kept: Progress | None) -> Progress:
        """Return the progress of an earlier try's job when that is still good, else that of a new one."""
        if kept and self._is_still_good(context, order, kept):
            self.log.info("Taking up job %s, submitted by an earlier try.", kept.job.request_id)
            return self._announce(context, kept)
        job = self.hook.submit_video(order.model, order.prompt, order.body)
        self.log.info(
            "Submitted job %s (%s). If this task is lost, give the id to a sensor or download operator.",
            job.request_id,
            job.model,
        )
        progress = ProgressStore(context).put(Progress(job, order=order.fingerprint))
        return self._announce(context, progress)

    def _announce(self, context: Context, progress: Progress) -> Progress:
        self._job = progress.job
        context["ti"].xcom_push(key="request_id", value=progress.job.request_id)
        context["ti"].xcom_push(key="job", value=progress.job.as_dict())
        return progress

    def _is_still_good(self, context: Context, order: Order, kept: Progress) -> bool:
        if kept.phase == FAILED:
            self.log.info("Job %s of an earlier try FAILED: %s. Submitting anew.", kept.job.request_id, kept.reason)
            return False
        if kept.order not in {"", order.fingerprint} and _was_cleared(context):
            self.log.info("Model, prompt or parameters changed since job %s. Submitting anew.", kept.job.request_id)
            return False
        if kept.result:
            return True
        try:
            answer = self.hook.get_status(kept.job)
        except api.BadRequestError as error:
            self.log.warning("ModelMax no longer knows the job of an earlier try: %s Submitting anew.", error)
            return False
        if answer.status == api.FAILED:
            self.log.info("Job %s of an earlier try FAILED: %s. Submitting anew.", kept.job.request_id, answer.error)
            return False
        return True


class ModelMaxSubmitVideoOperator(SubmitsVideo):
    """Submit a video job. Free of charge: the bill comes with the result.

    Pushes XCom ``request_id`` and returns the job, ``{"request_id", "model", "status_url", "response_url"}``, for
    :class:`~airflow_provider_modelmax.sensors.job.ModelMaxVideoSensor` and
    :class:`~airflow_provider_modelmax.operators.download.ModelMaxDownloadVideoOperator`. A retry or clear takes up the
    job of the earlier try, unless that one FAILED or the cleared task asks for something else (Airflow 3.3 and later).

    :param model: model id, for example ``veo-3.1`` (templated)
    :param prompt: what to show (templated)
    :param parameters: the service's parameters (templated), see
        :class:`~airflow_provider_modelmax.parameters.VideoParameters`; ``image`` may be a path or URI, read on
        the worker
    :param modelmax_conn_id: the connection
    """

    template_fields: Sequence[str] = ("model", "prompt", "parameters")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    def execute(self, context: Context) -> dict[str, str]:
        """Submit, and return the job."""
        with hopeless_fails():
            order = Order.checked(self.model, self.prompt, self.parameters)
            progress = self._submit_once(context, order, ProgressStore(context).get())
            return progress.job.as_dict()


def _was_cleared(context: Context) -> bool:
    """Tell a clear from an automatic retry: Airflow raises ``max_tries`` above the task's retries on a clear only.

    Without a clear the order can only differ because a template renders differently in each try.
    """
    ti = context["ti"]
    return int(ti.max_tries) > int(context["task"].retries or 0)
