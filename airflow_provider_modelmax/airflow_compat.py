"""What this provider uses of Airflow that is not public. Each has a test that fails if Airflow changes it."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from airflow.sdk import Context


class RendersTexts:
    """Mixin of operators and sensors: their text fields are rendered once, and to texts, whatever the DAG's setting.

    Airflow calls ``_do_render_template_fields`` for mapped and other tasks (3.1.8 to 3.3.2).
    """

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render the texts; Airflow renders the rest, and skips the objects with the ids in ``seen_oids``."""
        from airflow_provider_modelmax.airflow_errors import keep_label_storable  # noqa: PLC0415 - not at DAG parse
        from airflow_provider_modelmax.templating import read_texts, render_texts  # noqa: PLC0415 - not at DAG parse

        if parent is self:
            keep_label_storable(context)
            seen_oids |= render_texts(self, template_fields, context, seen_oids)
        super()._do_render_template_fields(  # type: ignore[misc]
            parent, template_fields, context, jinja_env, seen_oids
        )
        if parent is self:
            read_texts(self)
