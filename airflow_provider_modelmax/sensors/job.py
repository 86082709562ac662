"""Wait for a job that was submitted elsewhere: status calls only, so a sensor can never bill."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar, NoReturn

from airflow.providers.common.compat.sdk import (
    AirflowFailException,
    AirflowSensorTimeout,
    AirflowSkipException,
    BaseSensorOperator,
    PokeReturnValue,
)

from airflow_provider_modelmax import airflow_compat, airflow_errors, api, deadlines, literals, metrics, polling
from airflow_provider_modelmax.airflow_compat import RendersTexts
from airflow_provider_modelmax.api.parameters import LONGEST_WAIT, check_flag, check_poll_interval
from airflow_provider_modelmax.links import ModelMaxDashboardLink
from airflow_provider_modelmax.literals import check_connection_id, check_job

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook

KEPT_WAIT = "modelmax_wait"
"""Key of the task state in which the reschedule mode keeps a wait in doubt between two pokes (Airflow 3.3+)."""

RESCHEDULE_INTERVAL = 60.0
"""Seconds. Each poke in reschedule mode costs a worker process."""


class ModelMaxVideoSensor(RendersTexts, BaseSensorOperator):
    """Wait until a job is over; succeed when it is COMPLETED. Never bills.

    Returns the job, so that a download can take ``sensor.output``. When the job FAILED the task fails at once, or is
    skipped with ``soft_fail=True``; at its ``timeout`` likewise, and when a wait in the triggerer is given up.

    :param job: ``submit.output``, or ``{"model": …, "request_id": …}`` (templated)
    :param modelmax_conn_id: the connection (templated)
    :param poll_interval: seconds between two status calls; default ``poke_interval`` where that is given, else 5, in
        ``mode="reschedule"`` 60
    :param poke_interval: Airflow's own, for the modes that do not defer; default ``poll_interval``
    :param deferrable: whether to wait in the triggerer; default: not where ``mode="reschedule"`` asks for the other
        way without a slot, else ``[operators] default_deferrable`` where the environment sets it, else True
    """

    template_fields: Sequence[str] = ("job", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "json"}
    ui_color = "#e8defa"
    operator_extra_links = (ModelMaxDashboardLink(),)

    def __init__(
        self,
        *,
        job: Mapping[str, str],
        modelmax_conn_id: str = literals.DEFAULT_CONN_ID,
        poll_interval: float | timedelta | None = None,
        poke_interval: float | timedelta | None = None,
        deferrable: bool | None = None,
        mode: str = "poke",
        **kwargs: Any,
    ) -> None:
        usual = RESCHEDULE_INTERVAL if mode == "reschedule" and not deferrable else polling.DEFAULT_POLL_INTERVAL
        wanted = next((each for each in (poll_interval, poke_interval) if each is not None), usual)
        self.poll_interval = check_poll_interval(wanted)
        # Named in the signature, or Airflow would not give us the one of `default_args`.
        super().__init__(
            mode=mode, poke_interval=self.poll_interval if poke_interval is None else poke_interval, **kwargs
        )
        self.job = job
        self.modelmax_conn_id = modelmax_conn_id
        usual_way = mode != "reschedule" and airflow_compat.default_deferrable()
        self.deferrable = usual_way if deferrable is None else check_flag("deferrable", deferrable)
        self._wait: polling.Wait | None = None
        self._ask_from: datetime | None = None
        self._keeps = False
        check_connection_id(self, modelmax_conn_id)
        check_job(self, job)

    @cached_property
    def hook(self) -> ModelMaxHook:
        """The hook of this task's connection."""
        from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook  # noqa: PLC0415 - not at DAG parse

        return ModelMaxHook(self.modelmax_conn_id)

    @property
    def known_job(self) -> api.Job | None:
        """The job, None if ``job`` is not usable."""
        try:
            return api.Job.of(self.job)
        except api.InvalidInputError:
            return None

    @airflow_errors.reporting_errors
    def execute(self, context: Context) -> Any:
        """Wait in the chosen mode."""
        if not self.deferrable:
            return super().execute(context)
        with self._soft():
            if seen := self.poke(context):
                return seen.xcom_value
            return self._defer(api.Job.of(self.job))

    def poke(self, context: Context) -> PokeReturnValue:
        """Ask for the status once."""
        with self._translated(context):
            job = api.Job.of(self.job)
            self._wait = wait = self.hook.look(self._wait or self._begin(context, job), job)
            step = wait.next_step(deadlines.utcnow())
            if isinstance(step, polling.Over) and step.error:
                raise step.error
            self._keep(context, wait if wait.in_doubt else None)
            if wait.is_over:
                metrics.waited(job.model, queued=wait.seconds_in_queue, generating=wait.seconds_running)
            self._ask_from = step.at if isinstance(step, polling.AskAgain) else None
            return PokeReturnValue(isinstance(step, polling.Over), job.as_dict())

    @airflow_errors.reporting_errors
    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> dict[str, str]:
        """Continue when the trigger has fired."""
        from airflow_provider_modelmax.triggers.event import JobEvent  # noqa: PLC0415 - not at DAG parse

        with self._soft(api.ModelMaxError), self._translated():
            job_event, job = JobEvent.from_dict(event), api.Job.of(self.job)
            if job_event.is_of_another(job.request_id):
                self.log.info("%s The task has another job now: %s.", job_event, job.request_id)
                self._defer(job)
            job_event.raise_for_outcome()
            self.log.info("%s", job_event)
            metrics.waited(job.model, queued=job_event.queued_seconds, generating=job_event.generating_seconds)
            return job.as_dict()

    def on_kill(self) -> None:
        """Log what becomes of the job."""
        airflow_errors.log_when_killed(self.log, lambda: polling.on_kill_message(self.known_job))

    def _get_next_poke_interval(self, *args: Any, **kwargs: Any) -> float:
        """Pause as the base class does, and at least as long as the service asks: it may be another process then."""
        usual: float = super()._get_next_poke_interval(*args, **kwargs)
        trouble = self._wait.trouble if self._wait else None
        if not trouble or not trouble.retry_after or not self._ask_from:
            return usual
        return max(usual, (self._ask_from - deadlines.utcnow()).total_seconds())

    def _defer(self, job: api.Job) -> NoReturn:
        from airflow_provider_modelmax.triggers.job import ModelMaxJobTrigger  # noqa: PLC0415 - not at DAG parse

        deadline = deadlines.bounded_deadline(self._deadline(), self.execution_timeout)
        self.defer(
            trigger=ModelMaxJobTrigger.waiting_for(
                job,
                conn_id=self.modelmax_conn_id,
                deadline=deadline,
                poll_interval=self.poll_interval,
                ask_from=self._ask_from,
                seen=self._wait,
            ),
            method_name="execute_complete",
            timeout=deadlines.deferral_timeout(deadline),
        )

    def _begin(self, context: Context, job: api.Job) -> polling.Wait:
        wait = polling.Wait.begin(
            job.request_id, deadline=self._deadline(), poll_interval=self.poll_interval, now=deadlines.utcnow()
        )
        store = self._store(context)
        kept = store.get(KEPT_WAIT) if store is not None else None
        self._keeps = bool(kept)
        return wait.taken_over(kept) if kept and kept.get("try_number") == context["ti"].try_number else wait

    def _deadline(self) -> datetime:
        return deadlines.utcnow() + timedelta(seconds=min(self.timeout, LONGEST_WAIT.total_seconds()))

    def _keep(self, context: Context, wait: polling.Wait | None) -> None:
        """Keep what the next process needs, or drop it. Each call of the store takes 20-35 ms: only when it matters."""
        store = self._store(context)
        if store is not None and wait:
            store.set(KEPT_WAIT, {**wait.kept(), "try_number": context["ti"].try_number})
        elif store is not None and self._keeps:
            store.delete(KEPT_WAIT)
        self._keeps = bool(wait)

    def _store(self, context: Context) -> Any:
        return context.get("task_state_store") if self.mode == "reschedule" else None

    @contextmanager
    def _translated(self, context: Context | None = None) -> Iterator[None]:
        """Raise Airflow's exceptions for errors of ModelMax.

        :param context: if given, what the next poke would continue from is dropped at an error
        """
        with airflow_errors.translate_errors(self):
            try:
                yield
            except api.ModelMaxError as error:
                if context is not None:
                    self._keep(context, None)
                if isinstance(error, api.JobNotOverError) and error.timed_out:
                    raise AirflowSensorTimeout(str(error)) from error
                raise

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the job that the sensor waits for."""
        from airflow_provider_modelmax.jobs.record import JobRecord  # noqa: PLC0415
        from airflow_provider_modelmax.lineage.openlineage import lineage  # noqa: PLC0415 - only where OpenLineage asks

        return lineage(None, None, JobRecord(self.known_job) if self.known_job else None)

    @contextmanager
    def _soft(self, *more: type[Exception]) -> Iterator[None]:
        """Skip where ``soft_fail`` or ``never_fail`` ask for it, as the base class does around ``poke``.

        :param more: what ``soft_fail`` skips at as well: after it has deferred the base class does so at every end
        """
        ends: tuple[type[Exception], ...] = (AirflowFailException, AirflowSensorTimeout, *more)
        try:
            yield
        except ends as error:
            if self.soft_fail or self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
        except api.ModelMaxError as error:
            if self.never_fail:
                raise AirflowSkipException(str(error)) from error
            raise
