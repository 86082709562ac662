"""Texts stay the texts that were given, whatever the DAG's setting, and nothing is rendered twice."""

from __future__ import annotations

import base64
from typing import Any

import pytest
from airflow.sdk import DAG

from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator
from airflow_provider_modelmax.operators.submit import ModelMaxSubmitVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor
from tests.operators.conftest import IMAGE

TEMPLATE = "A board with the words {{ var.value.secret }} {% raw %}"
TEXTS = [
    "1984",
    "10, 9, 8",
    '{"scene": "a boat", "seconds": 4}',
    "[1]",
    "None of the ships",
    "True",
    "1e5",
    "'x'",
    "a\\nb",
]
BASE64 = base64.b64encode(IMAGE.read_bytes()).decode()

run_by_airflow = pytest.mark.usefixtures("modelmax_conn", "triggers_fire_at_once")
both_ways = pytest.mark.parametrize("way", ["as_text", "natively"])


def orders(simulator: Any) -> list[Any]:
    return [job.order for job in simulator.ledger.jobs.values()]


def shown(done: Any, map_index: int) -> dict[str, Any]:
    """Return what Airflow shows as rendered templates."""
    from airflow.models.renderedtifields import RenderedTaskInstanceFields

    return RenderedTaskInstanceFields.get_templated_fields(
        done.dag_run.get_task_instance("submit", map_index=map_index)
    )


def rendered(operator: type, context: dict[str, Any], *, native: bool, **arguments: Any) -> Any:
    with DAG("d", schedule=None, render_template_as_native_obj=native, user_defined_macros={"shout": str.upper}):
        task = operator(task_id="t", **arguments)
    task.render_template_fields(context)
    return task


@pytest.fixture(params=[False, True], ids=["as text", "natively"])
def native(request: pytest.FixtureRequest) -> bool:
    return request.param


# In one process


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_renders_to_the_text_that_it_is(native, text):
    given = {"x": text}
    task = rendered(
        ModelMaxGenerateVideoOperator,
        given,
        native=native,
        model="{{ x }}",
        prompt="{{ x }}",
        destination="{{ x }}",
        modelmax_conn_id="{{ x }}",
        parameters={"negative_prompt": "{{ x }}"},
    )
    assert task.model == task.prompt == task.destination == task.modelmax_conn_id == text
    assert task.parameters == {"negative_prompt": text}


@pytest.mark.parametrize("text", TEXTS)
def test_a_text_without_a_template_stays_what_it_is(native, text):
    task = rendered(ModelMaxSubmitVideoOperator, {}, native=native, model="veo-3.1", prompt=text)
    assert task.prompt == text


@pytest.mark.parametrize("request_id", ["1984", "1e5", "0x10", "aGk="])
def test_the_id_of_a_job_stays_a_text(native, request_id):
    job = {"model": "veo-3.1", "request_id": "{{ x }}"}
    task = rendered(ModelMaxVideoSensor, {"x": request_id}, native=native, job=job)
    assert task.job == {"model": "veo-3.1", "request_id": request_id}


def test_other_parameters_are_rendered_as_the_dag_says():
    parameters = {"seed": "{{ x }}", "camera": ["{{ x }}"], "negative_prompt": "{{ x }}"}
    for native, seed in ((True, 7), (False, "7")):
        task = rendered(
            ModelMaxSubmitVideoOperator, {"x": 7}, native=native, model="veo-3.1", prompt="x", parameters=parameters
        )
        assert task.parameters == {"seed": seed, "camera": [seed], "negative_prompt": "7"}


def test_a_text_that_a_template_has_made_is_not_rendered_again(native):
    task = rendered(
        ModelMaxSubmitVideoOperator,
        {"x": TEMPLATE},
        native=native,
        model="veo-3.1",
        prompt="{{ x }}",
        parameters={"negative_prompt": "{{ x }}", "image": BASE64},
    )
    assert task.prompt == task.parameters["negative_prompt"] == TEMPLATE


def test_macros_of_the_dag_are_known_to_texts(native):
    task = rendered(ModelMaxSubmitVideoOperator, {}, native=native, model="veo-3.1", prompt="{{ shout('a boat') }}")
    assert task.prompt == "A BOAT"


def test_a_template_that_cannot_be_rendered_names_its_field(native, log):
    with pytest.raises(Exception, match="'nobody' is undefined"):
        rendered(ModelMaxSubmitVideoOperator, {}, native=native, model="veo-3.1", prompt="a boat of {{ nobody }}")
    assert "The template of prompt cannot be rendered: 'a boat of {{ nobody }}'" in log


def test_a_none_within_a_text_is_warned_of(native, log):
    arguments = {"model": "veo-{{ x }}", "prompt": "A film about {{ x }}", "destination": "/videos/{{ x }}/"}
    rendered(
        ModelMaxGenerateVideoOperator,
        {"x": None},
        native=native,
        **arguments,
        parameters={"negative_prompt": "no {{ x }}, please"},
    )
    warnings = [line for line in log if "is None, and the text became" in line]
    fields = ["model", "prompt", "parameters['negative_prompt']", "destination"]
    assert [line.partition(" is None")[0] for line in warnings] == [f"A value in the template of {f}" for f in fields]
    assert "'A film about None'" in warnings[1]


def test_an_empty_cell_of_a_table_within_a_text_is_warned_of(native, log):
    rendered(
        ModelMaxSubmitVideoOperator, {"x": float("nan")}, native=native, model="veo-3.1", prompt="A film about {{ x }}"
    )
    assert any("'A film about nan'" in line for line in log)


@pytest.mark.parametrize(
    "prompt", ["None of the ships has a sail", "{{ x }} of the ships", "{{ 'a' if x else None or 'b' }}", "Nan's boat"]
)
def test_a_sentence_with_the_word_none_is_not_warned_of(native, log, prompt):
    rendered(ModelMaxSubmitVideoOperator, {"x": "None"}, native=native, model="veo-3.1", prompt=prompt)
    assert log == []


def test_a_negative_prompt_that_is_none_is_left_out(native):
    task = rendered(
        ModelMaxSubmitVideoOperator,
        {"x": None},
        native=native,
        model="veo-3.1",
        prompt="a boat",
        parameters={"negative_prompt": "{{ x }}"},
    )
    assert task.parameters == {"negative_prompt": None}


def test_an_image_in_the_text_of_a_dict_is_hidden(native):
    task = rendered(
        ModelMaxSubmitVideoOperator,
        {"x": {"image": BASE64, "duration_seconds": 4}},
        native=native,
        model="veo-3.1",
        prompt="a boat",
        parameters="{{ x }}",
    )
    assert str(task.parameters["image"]).startswith("<image, ")
    assert task.parameters["duration_seconds"] == 4


# By Airflow


@run_by_airflow
@both_ways
def test_numbers_flags_and_texts_of_a_form_are_sent_as_what_they_are(way, run, simulator):
    done = run(f"submit_{way}", prompt="10, 9, 8", seconds="4", audio="false", avoid="1984")
    assert done.state == "success", done.output
    (order,) = orders(simulator)
    assert (order.prompt, order.duration_seconds, order.generate_audio) == ("10, 9, 8", 4, False)
    assert order.negative_prompt == "1984"


@run_by_airflow
@both_ways
def test_parameters_and_job_are_taken_from_xcom_by_a_template(way, run, simulator):
    done = run(f"submit_a_dict_{way}", parameters={"duration_seconds": 4, "negative_prompt": "it's 1984"})
    assert done.state == "success", done.output
    (order,) = orders(simulator)
    assert (order.duration_seconds, order.negative_prompt) == (4, "it's 1984")


@run_by_airflow
@both_ways
def test_the_texts_of_an_upstream_task_are_not_rendered(way, run, simulator):
    parameters = {"duration_seconds": "1", "negative_prompt": TEMPLATE, "image": BASE64}
    done = run(f"submit_expanded_{way}", model="veo-3.1", prompts=[TEMPLATE, "1984"], parameters=[parameters])
    assert done.state == "success", done.output
    assert {(order.model, order.prompt) for order in orders(simulator)} == {("veo-3.1", TEMPLATE), ("veo-3.1", "1984")}
    assert {order.negative_prompt for order in orders(simulator)} == {TEMPLATE}
    assert "<image, " in str(shown(done, 0)["parameters"])  # a text on Airflow 3.1


@run_by_airflow
@both_ways
def test_the_texts_that_an_upstream_task_gives_to_expand_kwargs_are_not_rendered(way, run, simulator):
    given = [{"prompt": TEMPLATE, "parameters": {"negative_prompt": TEMPLATE, "image": BASE64}}, {"prompt": "1984"}]
    done = run(f"submit_expanded_by_kwargs_{way}", model="veo-3.1", orders=given)
    assert done.state == "success", done.output
    assert {(order.model, order.prompt) for order in orders(simulator)} == {("veo-3.1", TEMPLATE), ("veo-3.1", "1984")}
    assert {order.negative_prompt for order in orders(simulator)} == {TEMPLATE, ""}


@run_by_airflow
@both_ways
def test_of_a_list_for_expand_kwargs_only_the_authors_own_texts_are_rendered(way, run, simulator):
    done = run(f"submit_expanded_by_some_kwargs_{way}", model="veo-3.1", order={"prompt": TEMPLATE})
    assert done.state == "success", done.output
    assert {order.prompt for order in orders(simulator)} == {TEMPLATE, "veo-3.1"}
