"""Extra links of a task instance. Airflow gets them on the worker, at the end of each segment, also when it defers."""

from __future__ import annotations

from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_modelmax import api

if TYPE_CHECKING:
    from airflow.providers.common.compat.sdk import BaseOperator
    from airflow.sdk.types import TaskInstanceKey

SITE = "https://modelmax.io"


class ModelMaxDashboardLink(BaseOperatorLink):
    """The site of the service: keys, balance, charges. For another host, such as the simulator, its front page."""

    name = "ModelMax dashboard"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link; empty if the connection cannot be read (the task's log says why) or there is no task.

        If the arguments of a mapped task are refused, Airflow has no operator and passes the ``MappedOperator``.
        """
        hook = getattr(operator, "hook", None)
        if hook is None:
            return ""
        try:
            base_url: str = hook.base_url
        except api.ModelMaxError:
            return ""
        return SITE if base_url == api.DEFAULT_BASE_URL else f"{base_url}/"


class ManifestLink(BaseOperatorLink):
    """The manifest in the web console of its store; empty if the store has none, and until the manifest exists."""

    name = "Video manifest"

    def get_link(self, operator: BaseOperator, *, ti_key: TaskInstanceKey) -> str:
        """Return the link."""
        uri: str = getattr(operator, "manifest_uri", "")  # a MappedOperator has none
        return console_page(uri) if uri else ""


def console_page(uri: str) -> str:
    """Return the page of an object in the web console of its store; empty if there is none."""
    from airflow_provider_modelmax.storage.location import store_of  # noqa: PLC0415 - not at DAG parse

    return store_of(uri).console_page(uri)
