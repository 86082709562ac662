"""The simulator's answers have the shape of the printed samples of the contract."""

from __future__ import annotations

from urllib.parse import quote

import pytest

from tests.samples import CONTENT_ID, REQUEST_ID, load, names

FIXED = {"status", "type", "video_resolution", "video_has_audio", "video_seconds", "model"}


def shape(value, name=""):
    """Keys and types, and the value itself where the contract fixes it."""
    if isinstance(value, dict):
        return {key: shape(each, key) for key, each in value.items()}
    if isinstance(value, list):
        return [shape(each) for each in value]
    return value if name in FIXED else type(value)


@pytest.fixture
def stage(client, sim, clock):
    """Bring the simulator to where a sample begins, and play the sample's request."""

    def play(name):
        sample = load(name)
        order = load("submit_all_parameters" if "two_samples" in name else "submit").request_json
        job = post(order).json()
        record = sim.ledger.jobs[job["request_id"]]
        advance(name)
        return sample, send(sample, record)

    def post(order):
        prompt = order["prompt"] + (" [fail]" if current["fails"] else "")
        return client.session.post(f"{sim.url}/v1/queue/veo-3.1", json={**order, "prompt": prompt}, timeout=10)

    def advance(name):
        clock.now += 3 if "in_progress" in name else 0 if "in_queue" in name else 100
        if name == "error_402":
            sim.settings.balance = 0
        if name.startswith(("error_50", "gateway")):
            sim.fault("any", "error", status=int(name[-3:]), html="gateway" in name, retry_after=7)

    def send(sample, record):
        path = sample.path
        for theirs, ours in ((REQUEST_ID, record.request_id), (CONTENT_ID, record.content_id)):
            path = path.replace(quote(theirs, safe=""), quote(ours, safe=""))
        key = sample.request_headers["authorization"].replace("sk-sample", sim.key)
        return client.session.request(
            sample.method, sim.url + path, json=sample.request_json, headers={"Authorization": key}, timeout=20
        )

    current = {"fails": False}

    def run(name):
        current["fails"] = "failed" in name
        return play(name)

    return run


@pytest.mark.parametrize("name", names())
def test_an_answer_has_the_shape_of_its_sample(stage, name):
    sample, answer = stage(name)
    assert answer.status_code == sample.status
    assert answer.headers["content-type"] == sample.headers["content-type"]
    if sample.json is not None:
        assert shape(answer.json()) == shape(sample.json)
    if "retry-after" in sample.headers:
        assert "retry-after" in answer.headers
    if "content-disposition" in sample.headers:
        assert answer.headers["content-disposition"] == sample.headers["content-disposition"]
