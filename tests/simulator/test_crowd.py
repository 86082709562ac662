"""Many clients at once, and a client while a video is being made."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from airflow_provider_modelmax.simulator import Simulator
from tests.simulator.conftest import Client

CLIENTS, JOBS = 8, 5


def test_clients_at_once_lose_no_job_and_no_bill(sim, clock):
    def work(client):
        jobs = [client.job(duration_seconds=2) for _ in range(JOBS)]
        clock.now += 100
        return [client.get(job["response_url"]).json() for job in jobs]

    before = sim.settings.balance
    with ThreadPoolExecutor(CLIENTS) as pool:
        results = [each for some in pool.map(work, [Client(sim, clock) for _ in range(CLIENTS)]) for each in some]
    assert {each["status"] for each in results} == {"COMPLETED"}
    assert len({each["request_id"] for each in results}) == len(sim.ledger.jobs) == CLIENTS * JOBS
    assert [bill.nth for bill in sim.ledger.bills] == [1] * CLIENTS * JOBS
    assert sim.settings.balance == before - 2 * CLIENTS * JOBS
    assert sim.ledger.count("submit") == sim.ledger.count("result") == CLIENTS * JOBS


def test_a_fault_for_one_call_strikes_one_of_many_clients(sim, clock):
    sim.fault("submit", "error", status=502, times=1)
    with ThreadPoolExecutor(CLIENTS) as pool:
        answers = pool.map(Client.submit, [Client(sim, clock) for _ in range(CLIENTS)])
    assert sorted(answer.status_code for answer in answers) == [202] * (CLIENTS - 1) + [502]


def test_a_status_call_is_answered_while_a_video_is_made(clock):
    with ThreadPoolExecutor(1) as pool:
        with Simulator(key="sk-test", queue_seconds=0, run_seconds=0) as sim:
            client = Client(sim, clock)
            job = client.job(resolution="4k", duration_seconds=8)
            url = client.get(job["response_url"]).json()["data"][0]["url"]
            content = pool.submit(Client(sim, clock).get, url)
            statuses = [client.get(job["status_url"]).json()["status"] for _ in range(3)]
            assert (statuses, content.done()) == (["COMPLETED"] * 3, False)
        with pytest.raises(requests.ConnectionError):
            content.result()
