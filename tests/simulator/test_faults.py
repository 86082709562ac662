"""Each kind of fault, over a real socket; and which call it strikes."""

from __future__ import annotations

import re
import time
from email.utils import parsedate_to_datetime
from pathlib import Path

import pytest
import requests

from airflow_provider_modelmax.simulator import Fault, Simulator, cli
from airflow_provider_modelmax.simulator.fault_kinds import KINDS
from airflow_provider_modelmax.simulator.faults import parse_fault, read_fault


@pytest.mark.parametrize("status", [400, 401, 402, 404, 429, 500, 502, 503, 504, 599])
def test_error_answers_with_any_status_and_the_contracts_body(client, sim, status):
    sim.fault("submit", "error", status=status, type="odd", message="hm")
    answer = client.submit()
    assert answer.status_code == status
    assert answer.json() == {"error": {"message": "hm", "type": "odd"}}
    assert sim.ledger.jobs == {}
    assert sim.ledger.calls("submit")[0].fault == "error"


def test_error_can_be_a_gateways_page_with_retry_after_in_seconds(client, sim):
    sim.fault("any", "error", status=503, html=True, retry_after=7)
    answer = client.submit()
    assert (answer.status_code, answer.headers["retry-after"]) == (503, "7")
    assert answer.text.startswith("<html>")


def test_retry_after_can_be_a_date_or_any_text(client, sim):
    sim.fault("any", "error", status=429, retry_after="date+30", times=1)
    when = parsedate_to_datetime(client.submit().headers["retry-after"])
    assert 25 < when.timestamp() - time.time() <= 31
    sim.fault("any", "error", status=429, retry_after="soon")
    assert client.submit().headers["retry-after"] == "soon"


def test_lost_answer_carries_the_call_out_and_resets(client, sim):
    sim.fault("submit", "lost_answer", times=1)
    with pytest.raises(requests.ConnectionError):
        client.submit()
    assert len(sim.ledger.jobs) == 1
    job = client.done()
    sim.fault("result", "lost_answer", times=1)
    with pytest.raises(requests.ConnectionError):
        client.get(job["response_url"])
    assert len(sim.ledger.bills) == 1
    assert sim.ledger.calls("result")[0].status is None


def test_reset_is_a_real_tcp_reset_and_carries_nothing_out(client, sim, raw_get):
    job = client.done()
    sim.fault("result", "reset", times=1)
    assert raw_get(job["response_url"]) == (b"", "reset")
    assert sim.ledger.bills == []
    assert client.get(job["response_url"]).status_code == 200


def test_an_error_can_come_after_the_call_was_carried_out(client, sim):
    job = client.done()
    sim.fault("result", "error", status=502, carry_out=True)
    assert client.get(job["response_url"]).status_code == 502
    assert len(sim.ledger.bills) == 1


def test_reset_after_so_many_bytes(client, sim, raw_get):
    url = client.video_url()
    sim.fault("content", "reset_after", bytes=5000)
    got, end = raw_get(url)
    assert (len(got.partition(b"\r\n\r\n")[2]), end) == (5000, "reset")
    assert sim.ledger.calls("content")[0].bytes_sent == 5000


def test_cut_body_promises_more_than_comes(client, sim, raw_get):
    url = client.video_url()
    size = len(client.get(url).content)
    sim.fault("content", "cut_body")
    got, end = raw_get(url)
    head, _, body = got.partition(b"\r\n\r\n")
    assert f"content-length: {size}".encode() in head
    assert (len(body), end) == (size // 2, "closed")
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(url)


def test_cut_chunked_lacks_the_last_chunk(client, sim, raw_get):
    url = client.video_url()
    sim.fault("content", "cut_chunked", bytes=3000)
    got, end = raw_get(url)
    assert b"transfer-encoding: chunked" in got
    assert not got.endswith(b"0\r\n\r\n")
    assert end == "closed"
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(url)


def test_close_delimited_cut_looks_like_a_clean_end(client, sim, raw_get):
    url = client.video_url()
    whole = client.get(url).content
    sim.fault("content", "close_delimited_cut")
    answer = client.get(url)
    assert "content-length" not in answer.headers
    assert answer.content == whole[: len(whole) // 2]
    assert raw_get(url)[1] == "closed"


def test_corrupt_body_keeps_the_length_and_garbles_the_boxes(client, sim):
    url = client.video_url()
    whole = client.get(url).content
    sim.fault("content", "corrupt_body", times=1)
    bad = client.get(url).content
    second = int.from_bytes(whole[:4], "big")
    assert len(bad) == len(whole)
    assert bad[:second] == whole[:second]
    assert int.from_bytes(bad[second : second + 4], "big") < 8
    sim.fault("content", "corrupt_body", offset=4)
    assert client.get(url).content[4:8] != b"ftyp"


def test_corrupt_body_of_json_is_no_text(client, sim):
    job = client.job()
    sim.fault("status", "corrupt_body")
    with pytest.raises(requests.JSONDecodeError):
        client.get(job["status_url"]).json()


def test_not_a_video_is_html_that_says_it_is_one(client, sim):
    url = client.video_url()
    sim.fault("content", "not_a_video")
    answer = client.get(url)
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.content.startswith(b"<html>")


def test_empty_body_is_empty(client, sim):
    url = client.video_url()
    sim.fault("content", "empty_body")
    assert client.get(url).content == b""


def test_html_200_is_a_page_instead(client, sim):
    sim.fault("any", "html_200")
    answer = client.submit()
    assert (answer.status_code, answer.headers["content-type"]) == (200, "text/html")


def test_redirect_leads_elsewhere(client, sim):
    sim.fault("content", "redirect", to="http://127.0.0.1:1/x", status=307)
    answer = client.get(client.video_url(), allow_redirects=False)
    assert (answer.status_code, answer.headers["location"]) == (307, "http://127.0.0.1:1/x")


def test_slow_body_takes_its_time(client, sim):
    url = client.video_url()
    size = len(client.get(url).content)
    sim.fault("content", "slow_body", bytes_per_second=size * 5, times=1)
    start = time.monotonic()
    assert len(client.get(url).content) == size
    assert 0.1 < time.monotonic() - start < 2
    sim.fault("content", "slow_body", pause_after=2000, pause_seconds=0.1)
    start = time.monotonic()
    assert len(client.get(url).content) == size
    assert time.monotonic() - start > 0.1


def test_slow_body_works_for_json_too(client, sim):
    sim.fault("submit", "slow_body", bytes_per_second=10_000)
    assert client.submit().json()["status"] == "IN_QUEUE"


def test_slow_answer_is_carried_out_at_once(client, sim):
    sim.fault("submit", "slow_answer", seconds=0.2)
    with pytest.raises(requests.ReadTimeout):
        client.session.post(f"{sim.url}/v1/queue/veo-3", json={"prompt": "[fail]"}, timeout=0.1)
    assert len(sim.ledger.jobs) == 1


def test_cut_json_is_no_json(client, sim):
    sim.fault("submit", "cut_json", times=1)
    with pytest.raises(requests.JSONDecodeError):
        client.submit().json()
    sim.fault("submit", "cut_json", bytes=1)
    assert client.submit().text == "{"


def test_missing_field_drops_a_field_at_any_depth(client, sim):
    sim.fault("submit", "missing_field", field="status_url", times=1)
    assert "status_url" not in client.submit().json()
    sim.fault("result", "missing_field", field="usage.video_seconds", times=1)
    sim.fault("result", "missing_field", field="data.0.url", times=1)
    sim.fault("result", "missing_field", field="no.such.field", times=1)
    job = client.done()
    assert "video_seconds" not in client.get(job["response_url"]).json()["usage"]
    assert client.get(job["response_url"]).json()["data"] == [{}]
    assert set(client.get(job["response_url"]).json()) == {"request_id", "status", "model", "data", "usage"}


def test_set_field_gives_wrong_types(client, sim):
    sim.fault("submit", "set_field", field="request_id", value=17, times=1)
    assert client.submit().json()["request_id"] == 17
    sim.fault("result", "set_field", field="data", value="none")
    assert client.result()["data"] == "none"


def test_unknown_status_is_a_word_nobody_documented(client, sim):
    job = client.job()
    sim.fault("status", "unknown_status")
    assert client.get(job["status_url"]).json()["status"] == "PAUSED"


def test_foreign_url_leads_to_another_host(client, sim):
    with Simulator() as other:
        sim.fault("submit", "foreign_url", to=other.url, field="status_url", times=1)
        job = client.done()
        assert job["status_url"].startswith(other.url + "/v1/queue/")
        assert job["response_url"].startswith("/v1/queue/")
        sim.fault("any", "foreign_url", to=other.url)
        urls = [item["url"] for item in client.get(job["response_url"]).json()["data"]]
        assert all(url.startswith(other.url + "/v1/") for url in urls)
        assert client.job()["response_url"].startswith(other.url)


def test_a_fault_that_changes_nothing_leaves_no_mark_and_is_not_spent(client, sim):
    url = client.video_url()
    whole = client.get(url).content
    kinds = (("cut_json", {}), ("unknown_status", {}), ("foreign_url", {"to": "http://x"}))
    active = [sim.fault("any", kind, times=1, **params) for kind, params in kinds]
    assert client.get(url).content == whole
    assert sim.ledger.calls("content")[-1].fault is None
    assert [each.struck for each in active] == [0, 0, 0]
    assert client.submit().text.count("}") == 0
    assert [each.struck for each in active] == [1, 0, 0]


def test_a_field_that_had_the_value_already_is_set_once_all_the_same(client, sim):
    job = client.job()
    status = client.get(job["status_url"]).json()["status"]
    active = sim.fault("status", "set_field", field="status", value=status, times=1)
    client.get(job["status_url"])
    assert sim.ledger.calls("status")[-1].fault == "set_field"
    assert active.struck == 1


def test_the_next_fault_strikes_where_an_older_one_changes_nothing(client, sim):
    job = client.job()
    sim.fault("status", "missing_field", field="no.such.field")
    sim.fault("status", "unknown_status")
    assert client.get(job["status_url"]).json()["status"] == "PAUSED"


def test_fail_job_and_stuck_jobs_are_decided_at_the_submit(client, sim):
    sim.fault("submit", "fail_job", error="no", prompt="bad", times=1)
    sim.fault("submit", "stuck_queue", prompt="queue")
    sim.fault("submit", "stuck_progress", prompt="progress")
    jobs = [client.job(prompt) for prompt in ("bad", "queue", "progress", "bad")]
    client.clock.now += 10_000
    answers = [client.get(job["status_url"]).json() for job in jobs]
    assert [each["status"] for each in answers] == ["FAILED", "IN_QUEUE", "IN_PROGRESS", "COMPLETED"]
    assert answers[0]["error"] == "no"
    faults = [call.fault for call in sim.ledger.calls("submit")]
    assert faults == ["fail_job", "stuck_queue", "stuck_progress", None]


def test_one_job_can_be_given_times_of_its_own(client, sim):
    sim.fault("submit", "timing", queue_seconds=0, run_seconds=0)
    assert client.get(client.job()["status_url"]).json()["status"] == "COMPLETED"


def test_times_and_after_count_calls(client, sim):
    job = client.job()
    active = sim.fault("status", "error", status=500, after=1, times=2)
    codes = [client.get(job["status_url"]).status_code for _ in range(5)]
    assert codes == [200, 500, 500, 200, 200]
    assert (active.struck, active.spent) == (2, True)


def test_a_fault_can_be_meant_for_one_job_one_model_or_one_status(client, sim):
    job, other = client.job(), client.job()
    sim.fault("status", "error", request_id=job["request_id"], when="COMPLETED")
    assert client.get(job["status_url"]).status_code == 200
    client.clock.now += 100
    assert client.get(job["status_url"]).status_code == 500
    assert client.get(other["status_url"]).status_code == 200
    sim.clear_faults()
    sim.fault("any", "error", model="veo-2")
    assert client.submit().status_code == 202
    assert client.submit(model="veo-2").status_code == 500


def test_faults_of_different_stages_strike_together_and_of_one_stage_in_turn(client, sim):
    sim.fault("submit", "slow_answer", seconds=0.05, times=1)
    sim.fault("submit", "error", status=500, times=1)
    sim.fault("submit", "error", status=502, times=1)
    assert [client.submit().status_code for _ in range(3)] == [500, 502, 202]
    assert sim.ledger.calls("submit")[0].fault == "error, slow_answer"


def test_a_spoiling_fault_waits_for_a_good_answer(client, sim):
    url = client.video_url()
    sim.fault("content", "cut_body", times=1)
    assert client.get(url + "9").status_code == 400
    with pytest.raises(requests.exceptions.ChunkedEncodingError):
        client.get(url)


def test_faults_match_prompts_of_odd_bodies_too(client, sim):
    sim.fault("submit", "error", prompt="boat", status=500)
    for body in (b"{", b"[]", b'{"prompt": 3}'):
        assert client.session.post(f"{sim.url}/v1/queue/veo-3", data=body, timeout=5).status_code == 400
    assert client.submit("a boat").status_code == 500


@pytest.mark.parametrize(
    ("text", "fault"),
    [
        ("content:cut_body:times=1", Fault("cut_body", "content", times=1)),
        ("any:reset", Fault("reset")),
        ("any:redirect:to=http://127.0.0.1:99", Fault("redirect", params={"to": "http://127.0.0.1:99"})),
        ("status:error:status=429:retry_after=7", Fault("error", "status", params={"status": 429, "retry_after": 7})),
        ('{"kind": "reset", "call": "status", "after": 2}', Fault("reset", "status", after=2)),
        ('{"kind": "error", "params": {"status": 502}}', Fault("error", params={"status": 502})),
    ],
)
def test_a_fault_is_read_from_text(text, fault):
    assert parse_fault(text) == fault


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("cut_body", "CALL:KIND"),
        ("content:cut_body=1", "CALL:KIND"),
        ("content:nonsense", "no such fault: nonsense"),
        ("nonsense:reset", "no such call: nonsense"),
        ("status:fail_job", "call must be submit"),
        ("any:reset:depth=3", "reset has no depth"),
        ("any:redirect", "redirect needs to"),
        ("any:reset:times=-1", "times must be a count"),
        ("any:reset:after=x", "after must be a count"),
        ("any:reset:when=DONE", "when must be one of IN_QUEUE"),
        ("submit:fail_job:when=FAILED", "when is not known at a submit"),
        ("submit:error:request_id=x", "request_id is not known at a submit"),
        ("{", "not a fault: '{' is no JSON"),
        ('{"kind": [1]}', "no such fault: [1]"),
        ('{"kind": "reset", "prompt": 2024}', "prompt must be text"),
    ],
)
def test_a_fault_that_means_nothing_is_refused(text, words):
    with pytest.raises(ValueError, match=re.escape(words)):
        parse_fault(text)


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("any:error:status=abc", "status must be an HTTP status"),
        ("any:error:status=99", "status must be an HTTP status"),
        ("any:error:status=204", "status must be an HTTP status"),
        ("any:error:status=1000", "status must be an HTTP status"),
        ("any:error:html=1", "html must be true or false"),
        ("any:error:retry_after=date+x", "retry_after must be"),
        ("any:error:retry_after=date+1e99", "retry_after must be"),
        ("any:slow_answer:seconds=x", "seconds must be a number of seconds"),
        ("any:slow_answer:seconds=-1", "seconds must be a number of seconds"),
        ("any:slow_answer:seconds=NaN", "seconds must be a number of seconds"),
        ("any:cut_json:bytes=1.5", "bytes must be a whole number"),
        ("content:cut_body:bytes=-5", "bytes must be a whole number"),
        ("content:slow_body:bytes_per_second=0", "bytes_per_second must be more than 0"),
        ("content:corrupt_body:offset=x", "offset must be a whole number"),
        ("submit:timing:run_seconds=abc", "run_seconds must be a span of seconds"),
        ('{"kind": "redirect", "to": 5}', "to must be text on one line"),
        ('{"kind": "redirect", "to": "x\\r\\ny: z"}', "to must be text on one line"),
        ('{"kind": "missing_field", "field": 3}', "field must be text"),
        ('{"kind": "fail_job", "error": 5}', "error must be text"),
        ('{"kind": "fail_job", "error": "\\ud800"}', "error must be text"),
    ],
)
def test_a_parameter_that_cannot_work_is_refused_by_its_name(text, words):
    with pytest.raises(ValueError, match=f"^{re.escape(words)}"):
        parse_fault(text)


def test_a_value_that_is_no_json_cannot_be_set():
    with pytest.raises(ValueError, match="value must be JSON"):
        Fault("set_field", params={"field": "status", "value": object()})


@pytest.mark.parametrize("name", ["error", "prompt", "model"])
def test_text_that_looks_like_a_number_stays_text(name):
    fault = parse_fault(f"submit:fail_job:{name}=2024")
    assert {**vars(fault), **fault.params}[name] == "2024"


def test_a_fault_can_be_meant_for_a_prompt_with_a_number(client, sim):
    sim.add_fault(parse_fault("submit:error:prompt=2024:status=502"))
    assert [client.submit(prompt).status_code for prompt in ("a boat", "a boat of 2024")] == [202, 502]


def test_a_fault_is_an_object():
    for value in ([], {}, {"kind": "reset", "params": 3}):
        with pytest.raises((ValueError, TypeError)):
            read_fault(value)


def test_every_kind_is_in_the_help_and_struck_in_a_test():
    told = re.findall(r"^  (\w+) +\w", cli.EPILOG, re.MULTILINE)
    struck = set(re.findall(r'\.fault\(\s*"\w+", "(\w+)"', Path(__file__).read_text()))
    assert [name for name in KINDS if name not in told] == []
    assert set(KINDS) - struck == set()


def test_a_ready_made_fault_can_be_put_in_force(client, sim):
    sim.add_fault(Fault("error", "submit", params={"status": 504}))
    assert client.submit().status_code == 504
