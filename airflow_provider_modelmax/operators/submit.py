"""Submit a job and return at once; a sensor or a download waits for it."""

from __future__ import annotations

import time
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_modelmax import airflow_errors as edge
from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.api.parameters import check_flag
from airflow_provider_modelmax.api.text import read_dict, tell
from airflow_provider_modelmax.jobs.request import Order, describe, fingerprint, hide_image, image_uri
from airflow_provider_modelmax.literals import check_request
from airflow_provider_modelmax.operators.base import ModelMaxBaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.api.parameters import VideoParameters
    from airflow_provider_modelmax.jobs.record import Progress
    from airflow_provider_modelmax.jobs.task_state import TaskState


class SubmitsVideo(ModelMaxBaseOperator):
    """The part of an operator that submits, at most once per order.

    :param model: model id (templated)
    :param prompt: what to show (templated)
    :param parameters: the service's parameters (templated)
    :param allow_unknown_parameters: whether a parameter is sent although its name looks like a mistake for a known one
    :param regenerate_on_clear: whether a clear makes a new video
    :param modelmax_conn_id: the connection
    """

    _waits: ClassVar[bool] = False
    """Whether the task waits for the job, so that an unreachable service does not fail it at once."""

    def __init__(
        self,
        *,
        model: str,
        prompt: str,
        parameters: VideoParameters | Mapping[str, Any] | None = None,
        allow_unknown_parameters: bool = False,
        regenerate_on_clear: bool = False,
        modelmax_conn_id: str = edge.DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(modelmax_conn_id=modelmax_conn_id, **kwargs)
        self.model = model
        self.prompt = prompt
        self.parameters = parameters
        self.allow_unknown_parameters = check_flag("allow_unknown_parameters", allow_unknown_parameters)
        self.regenerate_on_clear = check_flag("regenerate_on_clear", regenerate_on_clear)
        check_request(
            self, model=model, prompt=prompt, parameters=parameters, allow_unknown=self.allow_unknown_parameters
        )

    @property
    def parameters(self) -> Any:
        """The service's parameters; an image in them is hidden, also where a template has put it."""
        return self._parameters

    @parameters.setter
    def parameters(self, value: Any) -> None:
        # Rendering ends here for mapped and unmapped tasks alike; after it Airflow stores the fields.
        self._given = id(value)
        if isinstance(value, Mapping) and "image" in value:
            value = hide_image(value)
        self._parameters = value

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render; then convert parameters that are the text of a dict to the dict, with its image hidden."""
        if parent is self and self._given in seen_oids:
            seen_oids.add(id(self._parameters))
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)
        if parent is self and isinstance(self._parameters, str):
            self.parameters = read_dict(self._parameters) or self._parameters

    def _request(self) -> dict[str, Any]:
        """Return what is asked for, as a manifest shows it."""
        return describe(self.model, self.prompt, self.parameters)

    def _image_uri(self) -> str | None:
        return image_uri(self.parameters.get("image")) if isinstance(self.parameters, Mapping) else None

    def _order(self) -> Order:
        return Order.checked(self.model, self.prompt, self.parameters, allow_unknown=self.allow_unknown_parameters)

    def _fingerprint(self) -> str:
        return fingerprint(self._request())

    def _submit(self, context: Context, state: TaskState, order: Order) -> Progress:
        self._pause(0)  # nothing is submitted after a kill
        job = self.hook.submit_video(
            order.model,
            order.prompt,
            order.body,
            allow_unknown_parameters=self.allow_unknown_parameters,
            pause=self._pause,
        )
        self.log.info("Submitted job %s (%s).", job.request_id, job.model)
        begun = state.begun(job, self._fingerprint(), submitted_at=time.time())
        try:
            progress = state.put(begun, reread=False)
        except Exception:
            self._log_copy_of(job)
            raise
        if not state.has_store:
            self._log_copy_of(job)
        metrics.submitted(job.model)
        return self._announce(context, progress)

    def _log_copy_of(self, job: api.Job) -> None:
        """Log how to take up the job: its id may be stored nowhere else."""
        self.log.info("If this task is lost, copy the next line into a ModelMaxDownloadVideoOperator:")
        self.log.info("%s", job.as_argument())

    def _announce(self, context: Context, progress: Progress) -> Progress:
        from airflow_provider_modelmax.jobs.task_state import TaskState  # noqa: PLC0415 - not at DAG parse

        self._progress = progress
        context["ti"].xcom_push(key="request_id", value=progress.job.request_id)
        if not TaskState(context).has_store:  # a resume finds the job here then
            context["ti"].xcom_push(key="job", value={**progress.job.as_dict(), "submitted_at": progress.submitted_at})
        return progress

    def _is_still_good(self, state: TaskState, kept: Progress) -> bool:
        """Return whether to continue with the job of an earlier try; log why not."""
        cleared = state.was_cleared_since(kept)
        why = self._why_anew(kept) if cleared else ""
        why = why or (self._what_became_of_it(kept, cleared) if kept.result is None else "")
        if why:
            self.log.info("Job of an earlier try: %s. Submitting a new job. It was job %s.", why, kept.job.request_id)
        else:
            self.log.info("Continuing with job %s instead of submitting a new one.", kept.job.request_id)
        return not why

    def _why_anew(self, kept: Progress) -> str:
        if self.regenerate_on_clear:
            return "cleared, with regenerate_on_clear"
        return "" if kept.order == self._fingerprint() else "model, prompt or parameters have changed since"

    def _what_became_of_it(self, kept: Progress, cleared: bool) -> str:
        if kept.is_failed:
            return f"FAILED: {kept.reason}"
        try:
            answer = self.hook.get_status(kept.job, pause=self._pause)
        except (api.BadRequestError, api.NotFoundError) as error:
            return self._why_anew_if_unknown(kept, error, cleared)
        except (api.TransportError, api.TemporaryError, api.AnswerError) as error:
            if not self._waits or polling.is_hopeless(error):
                raise
            tell(self.log.info, f"{error} Waiting for the job anyway. Job {kept.job.request_id}.")
            return ""
        return f"FAILED: {answer.error}" if answer.status == api.FAILED else ""

    def _why_anew_if_unknown(self, kept: Progress, error: api.ServiceError, cleared: bool) -> str:
        """Return why to submit a new job if ModelMax does not know this one (any more)."""
        if kept.asks:  # its result may be paid for
            raise error
        return f"ModelMax no longer knows it ({error})"


class ModelMaxSubmitVideoOperator(SubmitsVideo):
    """Submit a video job. Free of charge: the bill comes with the result.

    Pushes XCom ``request_id`` and returns the job, ``{"request_id", "model", "status_url", "response_url"}``, for
    :class:`~airflow_provider_modelmax.sensors.job.ModelMaxVideoSensor` and
    :class:`~airflow_provider_modelmax.operators.download.ModelMaxDownloadVideoOperator`. A retry or clear takes up the
    job of the earlier try (Airflow 3.3 and later), unless that one FAILED, a retry finds that ModelMax no longer knows
    it, or the cleared task asks for something else.

    :param model: model id, for example ``veo-3.1`` (templated)
    :param prompt: what to show (templated); ``{% include 'boat.md' %}`` is the text of a file in the DAG file's folder
    :param parameters: the service's parameters (templated), see
        :class:`~airflow_provider_modelmax.api.parameters.VideoParameters`; ``image`` may be a path or URI, read on
        the worker
    :param allow_unknown_parameters: whether a parameter is sent although its name looks like a mistake for a known one,
        such as ``duration``; default False: the task fails before the submit. Other unknown names are sent as they are,
        with a warning
    :param regenerate_on_clear: whether a clear makes a new video, which is paid for again once its result is
        fetched; default False: a clear takes up the job that is there
    :param modelmax_conn_id: the connection (templated)
    """

    template_fields: Sequence[str] = ("model", "prompt", "parameters", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}

    @edge.reporting_errors
    def execute(self, context: Context) -> dict[str, str]:
        """Submit, and return the job."""
        from airflow_provider_modelmax.jobs.task_state import TaskState  # noqa: PLC0415 - not at DAG parse

        with edge.told_to_airflow(self):
            self._begin_to_work()
            state = TaskState(context)
            kept = state.get()
            if kept and self._is_still_good(state, kept):
                return self._announce(context, kept).job.as_dict()
            return self._submit(context, state, self._order()).job.as_dict()

    def _why_anew_if_unknown(self, kept: Progress, error: api.ServiceError, cleared: bool) -> str:
        """Keep the job after a clear: another task may have fetched and landed it, which this one cannot know."""
        if not cleared:
            return super()._why_anew_if_unknown(kept, error, cleared)
        tell(
            self.log.warning,
            f"{error} The task returns this job all the same: its videos may have landed. For a new job, whose result "
            "is billed again, clear with regenerate_on_clear=True.",
        )
        return ""
