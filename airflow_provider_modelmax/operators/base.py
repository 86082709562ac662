"""The bases of the operators: what they share with each other, and with Airflow."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, NoReturn

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_modelmax import airflow_compat, airflow_errors, api, deadlines, metrics, polling
from airflow_provider_modelmax.airflow_compat import RendersTexts
from airflow_provider_modelmax.api.parameters import check_deadline_argument, check_flag, check_poll_interval
from airflow_provider_modelmax.links import ManifestLink, ModelMaxDashboardLink
from airflow_provider_modelmax.literals import DEFAULT_CONN_ID, check_connection_id, check_destination

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
    from airflow_provider_modelmax.jobs.cancellation import CancelToken
    from airflow_provider_modelmax.jobs.lifecycle import VideoJob, Waiting
    from airflow_provider_modelmax.jobs.record import JobRecord
    from airflow_provider_modelmax.jobs.request import VideoRequest
    from airflow_provider_modelmax.jobs.task_state import TaskState

DEFAULT_DEADLINE = polling.DEFAULT_DEADLINE


class ModelMaxBaseOperator(RendersTexts, BaseOperator):
    """A task that calls ModelMax.

    :param modelmax_conn_id: the connection
    """

    ui_color = "#e8defa"
    operator_extra_links: Collection[BaseOperatorLink] = (ModelMaxDashboardLink(),)

    def __init__(self, *, modelmax_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modelmax_conn_id = modelmax_conn_id
        check_connection_id(self, modelmax_conn_id)
        self._cancel: CancelToken | None = None
        self._is_killed = False

    @cached_property
    def hook(self) -> ModelMaxHook:
        """The hook of this task's connection."""
        from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook  # noqa: PLC0415 - not at DAG parse

        return ModelMaxHook(self.modelmax_conn_id)

    @property
    def known(self) -> JobRecord | None:
        """What is known of the job; None before there is one."""
        return None

    @property
    def known_job(self) -> api.Job | None:
        """The job, None before there is one."""
        return self.known.job if self.known else None

    def on_kill(self) -> None:
        """Stop, leave nothing half-written, and log what becomes of the job: ModelMax has no call to cancel it."""
        self._is_killed = True
        if self._cancel:
            self._cancel.cancel()
        airflow_errors.log_when_killed(self.log, lambda: _on_kill_message(self.known))

    def requested(self) -> VideoRequest | None:
        """Return what the arguments ask for, checked; None if the job was submitted elsewhere.

        :raises InvalidInputError: for what is wrong
        """
        return None

    def _cancel_token(self) -> CancelToken:
        """Return a new token, which :meth:`on_kill` cancels: ``dag.test()`` runs all tries with one operator."""
        from airflow_provider_modelmax.jobs.cancellation import CancelToken  # noqa: PLC0415 - not at DAG parse

        self._cancel = CancelToken()
        if self._is_killed:  # before it began
            self._cancel.cancel()
        return self._cancel

    def _state(self, context: Context) -> TaskState:
        from airflow_provider_modelmax.jobs.task_state import TaskState  # noqa: PLC0415 - not at DAG parse

        ti = context["ti"]
        store = context.get("task_state_store")
        return TaskState(store, max_tries=int(ti.max_tries), try_number=int(ti.try_number))

    @staticmethod
    def _identity(context: Context) -> dict[str, Any]:
        ti = context["ti"]
        return {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the request."""
        from airflow_provider_modelmax.lineage.openlineage import lineage  # noqa: PLC0415 - only where OpenLineage asks

        if self.known:
            return lineage(self.known.request, self.known.image_uri, self.known)
        try:
            request = self.requested()
        except api.InvalidInputError:  # the task itself fails with it
            request = None
        if request is None:
            return lineage(None, None, None)
        return lineage(request.description, request.image_uri, None)

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage[Any, Any]:
        """Return what was made, and what it cost."""
        return self.get_openlineage_facets_on_start()

    def get_openlineage_facets_on_failure(self, _: Any) -> OperatorLineage[Any, Any]:
        """Return how far the task got."""
        return self.get_openlineage_facets_on_start()


class ModelMaxVideoOperator(ModelMaxBaseOperator):
    """A task that waits for a job, fetches its result once and downloads its videos.

    A subclass says in :meth:`video_job` which job.

    :param destination: folder URI, or the object's when it ends in ``.mp4`` (templated)
    :param overwrite: whether another job's video at that object may be replaced
    :param deadline: how long to wait for the job in each try, or until when (aware datetime)
    :param poll_interval: seconds between two status calls
    :param deferrable: whether to wait without a worker slot
    """

    operator_extra_links: Collection[BaseOperatorLink] = (ModelMaxDashboardLink(), ManifestLink())

    def __init__(
        self,
        *,
        destination: str,
        overwrite: bool = False,
        deadline: timedelta | datetime = DEFAULT_DEADLINE,
        poll_interval: float | timedelta = polling.DEFAULT_POLL_INTERVAL,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.overwrite = check_flag("overwrite", overwrite)
        self.deadline = check_deadline_argument(deadline)
        self.poll_interval = check_poll_interval(poll_interval)
        self.deferrable = (
            airflow_compat.default_deferrable() if deferrable is None else check_flag("deferrable", deferrable)
        )
        self._job: VideoJob | None = None
        check_destination(self, destination)

    def video_job(self, context: Context, event_id: str | None = None) -> VideoJob:
        """Return the job, opened.

        :param event_id: id of the job that was waited for; None at the beginning of a try
        """
        raise NotImplementedError

    @property
    def known(self) -> JobRecord | None:
        """What is known of the job; None before there is one."""
        return self._job.known if self._job else None

    @property
    def manifest_uri(self) -> str:
        """The URI of the manifest; empty until it is there."""
        return self._job.store.manifest.uri if self._job and self.known and self.known.result else ""

    @airflow_errors.reporting_errors
    def execute(self, context: Context) -> list[str]:
        """Do what is not done yet; defer while the job runs."""
        with airflow_errors.translate_errors(self):
            return self._continue(context, self.video_job(context))

    @airflow_errors.reporting_errors
    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> list[str]:
        """Continue when the trigger has fired."""
        from airflow_provider_modelmax.triggers.event import JobEvent  # noqa: PLC0415 - not at DAG parse

        def outcome() -> None:
            job_event.raise_for_outcome()
            self.log.info("%s", job_event)
            queued, generating = job_event.queued_seconds, job_event.generating_seconds
            metrics.waited(record.job.model, queued=queued, generating=generating)

        with airflow_errors.translate_errors(self):
            job_event = JobEvent.from_dict(event)
            job = self.video_job(context, job_event.request_id)
            record = job.record
            if job_event.is_of_another(record.job.request_id):
                self.log.info("%s The task has another job now: %s.", job_event, record.job.request_id)
                return self._continue(context, self.video_job(context))
            try:
                done = job.resume(outcome)
            except api.UnusableResultError as error:
                self._push_usage(context, job, error)
                raise
            return self._hand_over(context, done.record)

    def _new_job(self, context: Context, stem: str, **job: Any) -> VideoJob:
        from airflow_provider_modelmax.jobs.lifecycle import VideoJob  # noqa: PLC0415 - not at DAG parse

        state = self._state(context)
        self._job = VideoJob(
            self.hook,
            state,
            self._identity(context),
            self.log,
            destination=self.destination,
            stem=stem,
            deadline=deadlines.absolute_deadline(self.deadline, self.execution_timeout),
            poll_interval=self.poll_interval,
            overwrite=self.overwrite,
            cancel=self._cancel_token(),
            on_job=lambda record: push_job(context, record, has_state=state.has_store),
            on_result=lambda record: self._push_result(context, record),
            **job,
        )
        return self._job

    def _continue(self, context: Context, job: VideoJob) -> list[str]:
        from airflow_provider_modelmax.jobs.lifecycle import Waiting  # noqa: PLC0415 - not at DAG parse

        is_short = job.deadline - deadlines.utcnow() < deadlines.MIN_DEFERRAL
        try:
            step = job.advance() if self.deferrable and not is_short else job.wait()
        except api.UnusableResultError as error:
            self._push_usage(context, job, error)
            raise
        if isinstance(step, Waiting):
            self._defer(job, step)
        return self._hand_over(context, step.record)

    def _defer(self, job: VideoJob, waiting: Waiting) -> NoReturn:
        from airflow_provider_modelmax.triggers.job import ModelMaxJobTrigger  # noqa: PLC0415 - not at DAG parse

        self.log.info("Waiting without a worker slot, until %s at most.", polling.shown(job.deadline))
        self.defer(
            trigger=ModelMaxJobTrigger.waiting_for(
                job.record.job,
                conn_id=self.modelmax_conn_id,
                deadline=job.deadline,
                poll_interval=self.poll_interval,
                submitted=job.record.submitted,
                ask_from=waiting.next_poll,
                seen=waiting.wait,
            ),
            method_name="execute_complete",
            timeout=deadlines.deferral_timeout(job.deadline),
        )

    # What others get: none of it can fail a task whose video is paid for

    def _push_result(self, context: Context, fetched: JobRecord) -> None:
        if not self._job:
            return
        xcoms = {"usage": fetched.usage, "manifest": self._job.store.manifest.uri}
        if fetched.job.request_id != self._job.record.job.request_id:  # another execution paid for its own job
            xcoms["request_id"] = fetched.job.request_id
        self._push(context, xcoms)

    def _push_usage(self, context: Context, job: VideoJob, error: api.UnusableResultError) -> None:
        self._push(context, {"usage": dict(error.usage), "manifest": job.store.manifest.uri})

    def _push(self, context: Context, xcoms: Mapping[str, Any]) -> None:
        for key, value in xcoms.items():
            with self._warned(f"XCom {key}"):
                context["ti"].xcom_push(key=key, value=value)

    @contextmanager
    def _warned(self, what: str) -> Iterator[None]:
        """Log an exception instead of failing the task."""
        try:
            yield
        except Exception as error:
            self.log.warning("%s could not be pushed: %s", what, error)

    def _hand_over(self, context: Context, landed: JobRecord) -> list[str]:
        from airflow_provider_modelmax.lineage.assets import (  # noqa: PLC0415 - not at DAG parse
            add_asset_events,
            add_hook_lineage,
        )

        uris, image = [video.uri for video in landed.videos], landed.image_uri
        with self._warned("The asset events"):
            job = {"request_id": landed.job.request_id, "model": landed.job.model}
            add_asset_events(context, {**job, "usage": landed.usage, "manifest": self.manifest_uri, "uris": uris})
        with self._warned("The lineage"):
            add_hook_lineage(self.hook, read=[image] if image else [], written=uris)
        return uris


def push_job(context: Context, record: JobRecord, *, has_state: bool) -> None:
    """Push XCom ``request_id``, and, if Airflow keeps no state of the task, ``job``: a resume finds the job there."""
    context["ti"].xcom_push(key="request_id", value=record.job.request_id)
    if not has_state and record.order:
        asked = record.as_dict()
        keys = ("order", "fingerprint", "request", "samples", "destination", "submitted_at")
        context["ti"].xcom_push(key="job", value={**record.job.as_dict(), **{key: asked[key] for key in keys}})


def _on_kill_message(known: JobRecord | None) -> str:
    if not known:
        return polling.on_kill_message(None)
    return polling.on_kill_message(known.job, asked=known.attempts > 0, paid=known.result is not None)
