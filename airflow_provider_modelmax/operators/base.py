"""The base of all operators: the hook, ``on_kill``, rendering, and lineage."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator, BaseOperatorLink

from airflow_provider_modelmax import airflow_errors as edge
from airflow_provider_modelmax import polling
from airflow_provider_modelmax.airflow_errors import DEFAULT_CONN_ID
from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.links import ModelMaxDashboardLink
from airflow_provider_modelmax.literals import check_connection_id

if TYPE_CHECKING:
    from airflow.providers.openlineage.extractors import OperatorLineage
    from airflow.sdk import Context

    from airflow_provider_modelmax.api import Job
    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
    from airflow_provider_modelmax.jobs.cancellation import Stop
    from airflow_provider_modelmax.jobs.record import Progress


class ModelMaxBaseOperator(BaseOperator):
    """A task that talks to ModelMax.

    :param modelmax_conn_id: the connection
    """

    ui_color = "#e8defa"
    operator_extra_links: Collection[BaseOperatorLink] = (ModelMaxDashboardLink(),)

    def __init__(self, *, modelmax_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modelmax_conn_id = modelmax_conn_id
        check_connection_id(self, modelmax_conn_id)
        self._progress: Progress | None = None
        self._stop: Stop | None = None
        self._killed = False

    @cached_property
    def hook(self) -> ModelMaxHook:
        """The hook of this task's connection."""
        from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook  # noqa: PLC0415 - not at DAG parse

        return ModelMaxHook(self.modelmax_conn_id)

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render texts as texts. Airflow calls this for mapped and other tasks, and skips the ids in ``seen_oids``."""
        from airflow_provider_modelmax.templating import render_texts  # noqa: PLC0415 - not at DAG parse

        if parent is self:
            edge.keep_label_storable(context)
            seen_oids |= render_texts(self, template_fields, context, seen_oids)
        super()._do_render_template_fields(parent, template_fields, context, jinja_env, seen_oids)

    def on_kill(self) -> None:
        """Stop, leave nothing half-written, and log what becomes of the job: ModelMax has no call to cancel it."""
        self._killed = True
        if self._stop:
            self._stop.set()
        edge.log_when_killed(self.log, lambda: self._message_on_kill(self._progress))

    @property
    def known_job(self) -> Job | None:
        """The job, as far as this process knows it."""
        return self._progress.job if self._progress else None

    def _message_on_kill(self, known: Progress | None) -> str:
        if not known:
            return polling.on_kill_message(None)
        return polling.on_kill_message(known.job, asked=known.asks > 0, paid=known.result is not None)

    def _pause(self, seconds: float) -> None:
        """Wait between two attempts of a call, as long as the task is not killed."""
        (self._stop or self._begin_to_work()).pause(seconds)

    def _begin_to_work(self) -> Stop:
        """Return what a kill sets from now on."""
        from airflow_provider_modelmax.jobs.cancellation import Stop  # noqa: PLC0415 - not at DAG parse

        self._stop = Stop()
        if self._killed:  # before it began
            self._stop.set()
        return self._stop

    def get_openlineage_facets_on_start(self) -> OperatorLineage[Any, Any]:
        """Return the request."""
        from airflow_provider_modelmax.lineage.openlineage import lineage  # noqa: PLC0415 - only where OpenLineage asks

        try:
            request = self._request()
        except InvalidInputError:  # the task itself fails with it
            request = None
        return lineage(request, self._image_uri(), self._progress)

    def get_openlineage_facets_on_complete(self, _: Any) -> OperatorLineage[Any, Any]:
        """Return what was made, and what it cost."""
        return self.get_openlineage_facets_on_start()

    def get_openlineage_facets_on_failure(self, _: Any) -> OperatorLineage[Any, Any]:
        """Return how far the task got."""
        return self.get_openlineage_facets_on_start()

    def _request(self) -> dict[str, Any] | None:
        """Return what is asked for, as a manifest shows it; None where the job was submitted elsewhere."""
        return None

    def _image_uri(self) -> str | None:
        """Return where the image is, when it is an object."""
        return None
