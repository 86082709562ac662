"""What this provider uses of Airflow that is not public. Each has a test that fails if Airflow changes it."""

from __future__ import annotations

import os
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import conf

from airflow_provider_modelmax.api import text

if TYPE_CHECKING:
    import jinja2
    from airflow.sdk import Context


MAX_LABEL = 250
"""Characters of a mapped task's label (``map_index_template``): PostgreSQL and MySQL refuse a longer one, and the
api-server then refuses the task's success."""

_LABEL = "{{ modelmax_label() }}"


class RendersTexts:
    """Mixin of operators and sensors: their text fields are rendered once, and to texts, whatever the DAG's setting.

    Airflow calls ``_do_render_template_fields`` for mapped and other tasks (3.1.8 to 3.3.2).
    """

    def _do_render_template_fields(
        self, parent: Any, template_fields: Iterable[str], context: Context, jinja_env: Any, seen_oids: set[int]
    ) -> None:
        """Render the texts; Airflow renders the rest, and skips the objects with the ids in ``seen_oids``."""
        from airflow_provider_modelmax.templating import read_texts, render_texts  # noqa: PLC0415 - not at DAG parse

        if parent is self:
            keep_label_storable(context)
            seen_oids |= render_texts(self, template_fields, context, seen_oids)
        super()._do_render_template_fields(  # type: ignore[misc]
            parent, template_fields, context, jinja_env, seen_oids
        )
        if parent is self:
            read_texts(self)


def keep_label_storable(context: Context) -> None:
    """Make the label from any ``map_index_template`` fit into Airflow's database.

    Airflow renders it before the task runs, and once more when it is over, to store it together with the task's state.

    :param context: the task's, while its template fields are rendered
    """
    template = context.get("map_index_template")
    if template is None or template == _LABEL:
        return
    from jinja2 import pass_context  # noqa: PLC0415 - not at DAG parse
    from jinja2.nativetypes import NativeEnvironment  # noqa: PLC0415

    ti: Any = context["ti"]

    @pass_context
    def label(variables: jinja2.runtime.Context) -> str:
        try:
            parts = variables.environment.from_string(template).generate(variables.get_all())
            rendered = "".join(map(str, parts))  # `render` would read it as a Python literal, with native types
        except Exception as error:
            context["task"].log.warning("map_index_template cannot be rendered: %s", error)
            rendered = ti.map_index
        shortened = text.storable(text.cut(str(rendered), MAX_LABEL - 1))
        # With render_template_as_native_obj, what this returns is read as a Python literal.
        return repr(shortened) if isinstance(variables.environment, NativeEnvironment) else shortened

    variables_of_templates: dict[str, Any] = context  # type: ignore[assignment]
    variables_of_templates |= {"map_index_template": _LABEL, "modelmax_label": label}


def default_deferrable() -> bool:
    """Return ``[operators] default_deferrable`` where the environment sets it, and True otherwise.

    A false in ``airflow.cfg`` is ignored: Airflow writes its own defaults into that file (3.1.8, 3.3.2).
    """
    if "AIRFLOW__OPERATORS__DEFAULT_DEFERRABLE" not in os.environ:
        return True
    return bool(conf.getboolean("operators", "default_deferrable"))


def mask_secret(secret: str) -> None:
    """Mask a text in this task's logs. Airflow documents the function, but has moved its module twice."""
    from airflow.sdk.log import mask_secret as mask  # noqa: PLC0415 - not at DAG parse

    mask(secret)


def never_expire() -> Any:
    """Return the retention of a task state that never expires (3.3 and later)."""
    from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - Airflow 3.3 and later

    return NEVER_EXPIRE


def is_hook_lineage_read() -> bool:
    """Return whether a plugin reads hook lineage. Without one, loading the collector would take 100 ms for nothing."""
    try:
        from airflow.sdk.plugins_manager import get_hook_lineage_readers_plugins  # noqa: PLC0415 - not on 3.1
    except ImportError:
        return True
    return bool(get_hook_lineage_readers_plugins())
