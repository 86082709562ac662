"""What all operators share: the hook, and what a kill means."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import BaseOperator

from airflow_provider_modelmax import polling
from airflow_provider_modelmax.edge import DEFAULT_CONN_ID

if TYPE_CHECKING:
    from airflow_provider_modelmax.api import Job
    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook


class ModelMaxBaseOperator(BaseOperator):
    """A task that talks to ModelMax.

    :param modelmax_conn_id: the connection
    """

    ui_color = "#e8defa"

    def __init__(self, *, modelmax_conn_id: str = DEFAULT_CONN_ID, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modelmax_conn_id = modelmax_conn_id
        self._job: Job | None = None
        self._paid = False

    @cached_property
    def hook(self) -> ModelMaxHook:
        """The hook of this task's connection."""
        from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook  # noqa: PLC0415 - not at DAG parse

        return ModelMaxHook(self.modelmax_conn_id)

    def on_kill(self) -> None:
        """Say what stops and what goes on: ModelMax has no call to cancel a job."""
        self.log.warning("%s", polling.on_kill_message(self._job.request_id if self._job else None, paid=self._paid))
