"""What is billed, and what the ledger keeps."""

from __future__ import annotations

import hashlib
import json

from airflow_provider_modelmax.simulator import Simulator
from airflow_provider_modelmax.simulator.orders import Order


def test_each_result_call_of_a_completed_job_bills(client, sim):
    job = client.done(sample_count=2)
    before = sim.settings.balance
    client.get(job["response_url"])
    client.get(job["response_url"])
    assert [(bill.request_id, bill.video_seconds, bill.nth) for bill in sim.ledger.bills] == [
        (job["request_id"], 2, 1),
        (job["request_id"], 2, 2),
    ]
    assert sim.settings.balance == before - 4


def test_status_and_content_calls_never_bill(client, sim):
    url = client.video_url()
    for _ in range(3):
        client.get(url)
    assert len(sim.ledger.bills) == 1


def test_a_failed_job_is_not_billed(client, sim):
    client.get(client.done("[fail]")["response_url"])
    assert sim.ledger.bills == []


def test_bills_use_the_balance_up(client, sim):
    sim.settings.balance = 1
    job = client.done()
    assert client.submit().status_code == 202
    client.get(job["response_url"])
    assert client.submit().status_code == 402


def test_the_ledger_tells_each_call_and_its_job(client, sim):
    job = client.job()
    client.get(job["status_url"])
    client.get(job["status_url"])
    calls = sim.ledger.calls("status", job["request_id"])
    assert [call.status for call in calls] == [200, 200]
    assert calls[0].path == job["status_url"]
    assert calls[0].model == "veo-3.1"
    assert sim.ledger.calls("submit")[0].request_id == job["request_id"]
    assert sim.ledger.count("status", job["request_id"]) == sim.ledger.count("status") == 2
    assert sim.status(job["request_id"]) == "IN_QUEUE"


def test_the_ledger_never_holds_the_key(client, sim):
    client.session.headers["X-Other"] = sim.key
    client.get(f"/{sim.key}?k={sim.key}")
    client.get(client.video_url())
    (odd,) = sim.ledger.calls("other")
    assert odd.key_seen
    text = client.get("/simulator/ledger").text + client.get("/").text + repr(sim.ledger.calls())
    assert sim.key not in text


def test_another_host_can_tell_whether_it_saw_the_key(client, sim):
    with Simulator(key=sim.key) as other:
        client.session.get(f"{other.url}/x", headers={"Authorization": None}, timeout=5)
        assert other.headers_seen == []
        client.session.get(f"{other.url}/x", headers={"Authorization": "Bearer nonsense"}, timeout=5)
        client.session.get(f"{other.url}/x?key={sim.key}", headers={"Authorization": None}, timeout=5)
        assert [call.authorization for call in other.headers_seen] == ["wrong", "missing"]


def test_calls_are_kept_up_to_a_limit_and_counted_beyond(client, sim):
    sim.service.reset(keep_calls=5)
    job = client.job()
    for _ in range(10):
        client.get(job["status_url"])
    assert len(sim.ledger.calls()) == 5
    assert sim.ledger.count("status", job["request_id"]) == 10


def test_the_ledger_names_each_served_video(client, sim):
    url = client.video_url()
    content = client.get(url).content
    (job,) = json.loads(client.get("/simulator/ledger").text)["jobs"]
    assert job["videos"] == [{"url": url, "bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}]
    assert sim.ledger.calls("content")[0].bytes_sent == len(content)


def test_reset_forgets_everything_and_restores_the_settings(client, sim):
    client.result()
    sim.settings.key, sim.settings.balance = "sk-new", 0
    sim.fault("any", "reset")
    sim.reset()
    assert (sim.key, sim.settings.balance) == ("sk-test", 100_000)
    assert (sim.ledger.jobs, sim.ledger.bills, sim.ledger.calls(), sim.service.faults.active) == ({}, [], [], ())


def test_the_same_seed_gives_the_same_times():
    def plans(seed):
        with Simulator(seed=seed) as sim:
            return [sim.service.accept(Order("veo-3", "[fail]")).plan for _ in range(3)]

    assert plans(7) == plans(7) != plans(8)
    assert all(1 <= plan[1][0] <= 3 for plan in plans(9))
