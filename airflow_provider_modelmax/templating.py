"""Template fields that are texts: rendered once, never twice, and to a text whatever the DAG's setting."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api.image import hide_image
from airflow_provider_modelmax.api.text import excerpt, read_dict

if TYPE_CHECKING:
    from airflow.sdk import BaseOperator, Context

_TEXTS = frozenset({"model", "prompt", "destination", "modelmax_conn_id"})

_TEXTS_IN = {
    "parameters": frozenset({"negative_prompt"}),
    "job": frozenset({"request_id", "model", "status_url", "response_url"}),
}
"""Fields that are dicts, and the keys in them that are texts."""


class HiddenImageField:
    """A template field that is a mapping; an image in it is hidden, also where a template or an upstream task gave it.

    Rendering ends with setting the field, for mapped and unmapped tasks alike; after it Airflow stores the fields.
    """

    def __set_name__(self, owner: type, name: str) -> None:
        self.name = f"_{name}"

    def __get__(self, operator: Any, owner: type) -> Any:
        return self if operator is None else getattr(operator, self.name)

    def __set__(self, operator: Any, value: Any) -> None:
        hidden = hide_image(value) if isinstance(value, Mapping) and "image" in value else value
        setattr(operator, self.name, hidden)
        setattr(operator, f"{self.name}_given", id(value))


def read_texts(operator: Any) -> None:
    """Convert ``parameters`` that rendered to the text of a dict to the dict."""
    parameters = getattr(operator, "parameters", None)
    if isinstance(parameters, str):
        operator.parameters = read_dict(parameters) or parameters


def render_texts(
    operator: BaseOperator, template_fields: Iterable[str], context: Context, upstream: set[int]
) -> set[int]:
    """Render the texts of ``operator``, and return the ids of all objects that Airflow must not render any more.

    With ``render_template_as_native_obj=True`` Airflow makes a number of the prompt "1984" and a tuple of "10, 9, 8".

    :param upstream: the ids of the values that come from an upstream task by ``.expand()``
    """
    text = _Text(operator, context)
    done, of_upstream = set(), _expanded_by_upstream(operator, context)
    for field in template_fields:
        value = getattr(operator, field)
        given = getattr(operator, f"_{field}_given", id(value))  # before its image was hidden
        if given in upstream or id(value) in upstream or field in of_upstream:
            done.add(id(value))
        elif field in _TEXTS and isinstance(value, str):
            setattr(operator, field, text.rendered(field, value))
            done.add(id(getattr(operator, field)))
        elif field in _TEXTS_IN and isinstance(value, dict):
            texts = {
                key: text.rendered(f"{field}[{key!r}]", each, optional=True)
                for key, each in value.items()
                if key in _TEXTS_IN[field] and isinstance(each, str)
            }
            if texts:
                setattr(operator, field, {**value, **texts})
                done |= {id(each) for each in texts.values()}
    return done


def _expanded_by_upstream(operator: BaseOperator, context: Context) -> Collection[str]:
    """Return the fields from an upstream task by ``.expand_kwargs()``, whose values Airflow would render."""
    dag = operator.get_dag()
    in_dag = dag.task_dict.get(operator.task_id) if dag else None  # the mapped task, where this is one of its instances
    given: Any = getattr(getattr(in_dag, "expand_input", None), "value", None)
    if given is None or isinstance(given, Mapping):  # not mapped, or by `.expand()`, which Airflow does not render
        return ()
    index: Any = context["ti"].map_index
    if not isinstance(given, Sequence):
        fields = given.resolve(context)[index]
    else:
        fields = () if isinstance(given[index], Mapping) else given[index].resolve(context)
    return set(fields)


class _Text:
    """Renders the texts of one operator."""

    def __init__(self, operator: BaseOperator, context: Context) -> None:
        self._log, self._context = operator.log, context
        dag = operator.get_dag()
        env = dag.get_template_env(force_sandboxed=True) if dag else operator.get_template_env()
        self._nones = 0
        # A DAG with its own `finalize` decides what becomes of a None.
        self._env = env if env.finalize else env.overlay(finalize=self._finalize)

    def rendered(self, name: str, template: str, *, optional: bool = False) -> str | None:
        """Return the text that ``template`` renders to.

        :param optional: whether to return None if the template rendered to nothing but None
        """
        self._nones = 0
        try:
            text: str = self._env.from_string(template).render(self._context)
        except Exception:
            self._log.error("The template of %s cannot be rendered: %s", name, excerpt(template))
            raise
        if not self._nones:
            return text
        self._log.warning(
            "A value in the template of %s is None, and the text became %s. Check where the value comes from.",
            name,
            excerpt(text),
        )
        return None if optional and text.strip() == "None" else text

    def _finalize(self, value: object) -> object:
        """Count what Jinja writes into a text as "None", or as the "nan" of a table's empty cell."""
        self._nones += value is None or (not isinstance(value, str) and str(value) in {"nan", "NaT", "<NA>"})
        return value
