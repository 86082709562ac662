"""The page and the control API."""

from __future__ import annotations

import asyncio
import logging
import math
import re
import tempfile
import threading
import time
from dataclasses import fields
from urllib.parse import quote

import pytest
import requests

from airflow_provider_modelmax.simulator import Fault, Settings, Simulator
from airflow_provider_modelmax.simulator.control import control
from airflow_provider_modelmax.simulator.faults import Active
from airflow_provider_modelmax.simulator.ledger import Bill, Call
from airflow_provider_modelmax.simulator.readers import span
from airflow_provider_modelmax.simulator.server import Server
from airflow_provider_modelmax.simulator.wire import Request

EVIL = "<script>alert('x')</script>&\""


@pytest.fixture
def steer(sim, client):
    def call(method, path, json=None, data=None):
        return client.session.request(
            method, sim.url + path, json=json, data=data, headers={"Authorization": None}, timeout=5
        )

    return call


def test_the_page_escapes_what_came_from_outside(client, sim):
    client.get(client.done(EVIL)["response_url"])
    sim.fault("submit", "fail_job", error=EVIL)
    client.done("x")
    page = client.get("/").text
    assert "<script>alert" not in page
    assert "&lt;script&gt;alert" in page


def test_the_page_shows_jobs_bills_faults_and_how_to_connect(client, sim):
    job = client.done("a boat at sea", sample_count=2)
    client.get(job["response_url"])
    client.get(job["response_url"])
    sim.fault("content", "cut_body", times=3)
    answer = client.get("/")
    assert answer.headers["content-type"].startswith("text/html")
    for text in (
        "a boat at sea",
        "COMPLETED",
        "bill no. 2",
        "cut_body",
        "AIRFLOW_CONN_MODELMAX_DEFAULT",
        "/simulator/ledger",
    ):
        assert text in answer.text
    assert sim.key not in answer.text


def test_a_preview_link_of_the_page_shows_the_video_and_bills_nothing(client, sim, steer):
    client.done()
    page = client.get("/").text
    path = page.partition('href="/simulator/videos/')[2].partition('"')[0]
    answer = steer("GET", f"/simulator/videos/{path}")
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content[4:8] == b"ftyp"
    assert sim.ledger.bills == []
    assert sim.ledger.count("content") == 0
    assert steer("GET", f"/simulator/videos/{path}7").status_code == 404


def test_the_ledger_shows_calls_bills_and_jobs_as_json(client, steer):
    job = client.done("a boat")
    client.get(job["response_url"])
    ledger = steer("GET", "/simulator/ledger").json()
    assert ledger["counts"] == {"submit": 1, "result": 1}
    assert [call["call"] for call in ledger["calls"]] == ["submit", "result"]
    assert ledger["billed_video_seconds"] == 1
    assert ledger["bills"][0]["request_id"] == job["request_id"]
    (shown,) = ledger["jobs"]
    assert (shown["status"], shown["prompt"], shown["bills"]) == ("COMPLETED", "a boat", 1)
    assert shown["calls"] == {"status": 0, "result": 1, "content": 0}
    assert [step["status"] for step in shown["plan"]] == ["IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert len(steer("GET", "/simulator/ledger?calls=1").json()["calls"]) == 1
    assert steer("GET", "/simulator/ledger?calls=x").status_code == 400


def test_faults_over_the_control_api(client, steer):
    (added,) = steer("POST", "/simulator/faults", {"call": "submit", "kind": "error", "status": 502}).json()
    assert added["params"]["status"] == 502
    assert client.submit().status_code == 502
    assert steer("GET", "/simulator/faults").json()[0]["struck"] == 1
    steer("DELETE", f"/simulator/faults/{added['id']}")
    assert client.submit().status_code == 202
    assert len(steer("POST", "/simulator/faults", [{"kind": "reset"}, {"kind": "html_200"}]).json()) == 2
    assert steer("DELETE", "/simulator/faults").json() == []


@pytest.mark.parametrize("number", ["99", "9" * 5000, "%C2%B2"])
def test_a_fault_that_is_not_in_force_cannot_be_lifted(client, sim, steer, number):
    sim.fault("submit", "error")
    assert steer("DELETE", f"/simulator/faults/{number}").status_code == 404
    assert client.submit().status_code == 500


def test_a_preview_of_a_sample_without_end_is_404(client, sim, steer):
    client.done()
    (content_id,) = sim.service.contents
    path = f"/simulator/videos/{quote(content_id, safe='')}/"
    assert [steer("GET", path + index).status_code for index in ("9" * 5000, "00")] == [404, 404]


@pytest.mark.parametrize("body", [b"[" * 100_000, b"{", b'{"kind": "odd"}', b"[3]", b'{"kind": "reset", "depth": 1}'])
def test_a_fault_that_means_nothing_is_refused_in_a_sentence(steer, body):
    answer = steer("POST", "/simulator/faults", data=body)
    assert answer.status_code == 400
    assert answer.json()["problem"]


def test_settings_over_the_control_api_never_show_the_key(client, sim, steer):
    answer = steer("POST", "/simulator/settings", {"balance": 5, "key": "sk-new", "run_seconds": "0-1"})
    assert answer.json()["balance"] == 5
    assert "sk-new" not in answer.text
    assert client.submit().status_code == 401
    assert sim.settings.run_seconds == "0-1"
    assert steer("GET", "/simulator/settings").json()["balance"] == 5


@pytest.mark.parametrize(
    "change",
    [
        {"balance": "x"},
        {"balance": True},
        {"colour": 1},
        {"key": ""},
        {"run_seconds": "3-1"},
        {"ranges": 1},
        [],
        {"filler_bytes": 3},
        {"filler_bytes": 100.5},
        {"filler_bytes": -16},
        {"filler_bytes": 10**30},
        {"extra_models": "veo-9"},
        {"extra_models": [9]},
        {"run_seconds": "inf"},
        {"run_seconds": [1, 10**400]},
        {"key": "\ud800"},
        {"balance": 10**400},
    ],
)
def test_a_setting_that_cannot_work_is_refused(sim, steer, change):
    before = dict(vars(sim.settings))
    assert steer("POST", "/simulator/settings", change).status_code == 400
    assert vars(sim.settings) == before


def test_reset_over_the_control_api(client, sim, steer):
    client.job()
    assert steer("POST", "/simulator/reset").json()["jobs"] == []
    assert sim.ledger.jobs == {}


@pytest.mark.parametrize(("method", "path"), [("GET", "/simulator/x"), ("DELETE", "/simulator/jobs/x"), ("POST", "/")])
def test_an_unknown_control_call_names_the_known_ones(steer, method, path):
    answer = steer(method, path)
    assert answer.status_code == 404
    assert "GET /simulator/ledger" in answer.json()["problem"]


@pytest.mark.parametrize("client_address", [None, ("10.0.0.7", 5)])
def test_the_control_api_is_for_loopback_only(sim, client_address):
    answer = asyncio.run(control(sim.service, Request("GET", "/simulator/ledger", "", {}), client_address))
    assert answer.status == 403


def test_only_loopback_can_be_listened_on():
    for host in ("0.0.0.0", "192.168.1.5", "example.com"):
        with pytest.raises(ValueError, match="loopback"):
            Simulator(host=host)


def test_a_taken_port_is_an_error(sim):
    with pytest.raises(OSError, match="in use"), Simulator(port=sim.port):
        pass


def test_a_span_is_one_number_or_two_in_order():
    assert [span(value) for value in (2, "2", "1-3", (1, 3), [0, 0.5])] == [(2, 2), (2, 2), (1, 3), (1, 3), (0, 0.5)]
    for wrong in ("", "a", "3-1", "-1", (1, 2, 3), (), (None,), -1, None):
        with pytest.raises(ValueError, match="span"):
            span(wrong)


def test_settings_refuse_what_they_do_not_know():
    with pytest.raises(TypeError):
        Settings(colour="blue")
    with pytest.raises(AttributeError, match="colour"):
        Settings().colour = "blue"


@pytest.mark.parametrize("balance", [math.nan, math.inf])
def test_a_balance_is_a_number(balance):
    with pytest.raises(ValueError, match="balance must be"):
        Settings(balance=balance)


def test_a_setting_is_checked_where_it_is_set(sim):
    with pytest.raises(ValueError, match="run_seconds must be a span of seconds"):
        sim.settings.run_seconds = "soon"
    sim.settings.extra_models = ["veo-9"]
    assert sim.settings.extra_models == ("veo-9",)


def test_what_cannot_start_leaves_nothing_behind(monkeypatch, tmp_path):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    before = threading.active_count()
    with pytest.raises(ValueError, match=r"cannot use the certificate no\.pem"):
        Simulator(tls=("no.pem", "no.key")).__enter__()
    monkeypatch.setattr(Server, "run", lambda *_: None)
    with pytest.raises(RuntimeError, match="did not start"):
        Simulator().__enter__()
    assert list(tmp_path.iterdir()) == []
    assert threading.active_count() == before


def test_a_simulator_gives_the_connection_that_leads_to_it():
    from airflow_provider_modelmax.simulator import Simulator

    with Simulator(queue_seconds=0, run_seconds=0) as simulator:
        connection = simulator.connection
    assert connection == {"conn_type": "modelmax", "host": simulator.url, "password": "sk-simulator"}


@pytest.mark.parametrize("shown", [Settings, Call, Bill, Fault, Active])
def test_every_field_that_a_test_may_ask_about_is_described(shown):
    told = re.findall(r"^ *:param (\w+): \S", shown.__doc__, re.MULTILINE)
    assert told == [each.name for each in fields(shown)]


def test_the_page_shows_the_scheme_that_it_came_by(certificate):
    with Simulator(tls=(str(certificate.chain), str(certificate.key))) as sim:
        page = requests.get(sim.url, verify=str(certificate.ca), timeout=5).text
    assert f"&quot;host&quot;: &quot;{sim.url}&quot;" in page


def test_it_ends_at_once_and_quietly_in_the_middle_of_a_body(caplog):
    with Simulator(queue_seconds=0, run_seconds=0) as sim:
        sim.fault("submit", "slow_body", bytes_per_second=20)
        headers = {"Authorization": f"Bearer {sim.key}"}
        url, order = f"{sim.url}/v1/queue/veo-3", {"prompt": "[fail]"}
        answer = requests.post(url, json=order, headers=headers, timeout=5, stream=True)
        start = time.monotonic()
    assert time.monotonic() - start < 5  # the rest of the body would take twice as long
    assert [record for record in caplog.records if record.levelno >= logging.WARNING] == []
    with pytest.raises(requests.RequestException):
        answer.json()


def test_it_answers_from_the_first_moment_on():
    with Simulator() as sim:
        assert sim.url.startswith("http://127.0.0.1:")
        assert requests.get(f"{sim.url}/v1/queue/veo-3/requests/x", timeout=5).status_code == 401
