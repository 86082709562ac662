"""Submit a job and return at once; a sensor or a download waits for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any, ClassVar

from airflow_provider_modelmax import airflow_errors, literals
from airflow_provider_modelmax.api.parameters import check_flag
from airflow_provider_modelmax.literals import check_request
from airflow_provider_modelmax.operators.base import ModelMaxBaseOperator, push_job
from airflow_provider_modelmax.templating import HiddenImageField

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.api import VideoParameters
    from airflow_provider_modelmax.jobs.record import JobRecord
    from airflow_provider_modelmax.jobs.request import VideoRequest


class ModelMaxSubmitVideoOperator(ModelMaxBaseOperator):
    """Submit a video job. Free of charge: the bill comes with the result.

    Pushes XCom ``request_id`` and returns the job, ``{"request_id", "model", "status_url", "response_url"}``, for
    :class:`~airflow_provider_modelmax.sensors.job.ModelMaxVideoSensor` and
    :class:`~airflow_provider_modelmax.operators.download.ModelMaxDownloadVideoOperator`. A retry or clear continues
    with the job of the earlier try (Airflow 3.3 and later), unless that one FAILED, a retry finds that ModelMax no
    longer knows it, or the cleared task asks for something else.

    :param model: model id, for example ``veo-3.1`` (templated)
    :param prompt: what to show (templated); ``{% include 'boat.md' %}`` is the text of a file in the DAG file's folder
    :param parameters: the service's parameters (templated), see
        :class:`~airflow_provider_modelmax.api.VideoParameters`; ``image`` may be a path or URI, read on
        the worker
    :param allow_unknown_parameters: whether a parameter is sent although its name looks like a mistake for a known one,
        such as ``duration``; default False: the task fails before the submit. Other unknown names are sent as they are,
        with a warning
    :param regenerate_on_clear: whether a clear makes a new video, which is paid for again once its result is
        fetched; default False: a clear continues with the job that is there
    :param modelmax_conn_id: the connection (templated)
    """

    template_fields: Sequence[str] = ("model", "prompt", "parameters", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"parameters": "json"}
    parameters = HiddenImageField()

    def __init__(
        self,
        *,
        model: str,
        prompt: str,
        parameters: VideoParameters | Mapping[str, Any] | None = None,
        allow_unknown_parameters: bool = False,
        regenerate_on_clear: bool = False,
        modelmax_conn_id: str = literals.DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(modelmax_conn_id=modelmax_conn_id, **kwargs)
        self.model = model
        self.prompt = prompt
        self.parameters = parameters
        self.allow_unknown_parameters = check_flag("allow_unknown_parameters", allow_unknown_parameters)
        self.regenerate_on_clear = check_flag("regenerate_on_clear", regenerate_on_clear)
        self._known: JobRecord | None = None
        check_request(
            self, model=model, prompt=prompt, parameters=parameters, allow_unknown=self.allow_unknown_parameters
        )

    @airflow_errors.reporting_errors
    def execute(self, context: Context) -> dict[str, str]:
        """Submit, and return the job."""
        from airflow_provider_modelmax.jobs.submission import Submission  # noqa: PLC0415 - not at DAG parse

        with airflow_errors.translate_errors(self):
            state = self._state(context)
            submission = Submission(
                self.requested(),
                self.hook,
                state,
                self.log,
                regenerate_on_clear=self.regenerate_on_clear,
                keeps_forgotten=True,
                cancel=self._cancel_token(),
            )
            kept = state.get()
            if not kept or not submission.continues_with(kept):
                kept = submission.submit(self._identity(context))
            self._known = kept
            push_job(context, kept, has_state=state.has_store)
            return kept.job.as_dict()

    @property
    def known(self) -> JobRecord | None:
        """What is known of the job; None before there is one."""
        return self._known

    def requested(self) -> VideoRequest:
        """Return what the arguments ask for, checked.

        :raises InvalidInputError: for what is wrong
        """
        from airflow_provider_modelmax.jobs.request import VideoRequest  # noqa: PLC0415 - not at DAG parse

        return VideoRequest.check(self.model, self.prompt, self.parameters, allow_unknown=self.allow_unknown_parameters)
