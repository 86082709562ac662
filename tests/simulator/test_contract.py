"""Each line of the contract page, over a real socket."""

from __future__ import annotations

import base64
import io
from urllib.parse import quote, unquote

import pytest
import requests
from PIL import Image, features

MODELS = ("veo-3.1", "veo-3.1-fast", "veo-3", "veo-3-fast", "veo-2")


def refused(answer, status=400, kind="bad_request"):
    assert answer.status_code == status, answer.text
    error = answer.json()["error"]
    assert list(answer.json()) == ["error"]
    assert set(error) == {"message", "type"}
    assert error["type"] == kind
    return error["message"]


@pytest.mark.parametrize("model", MODELS)
def test_submit_answers_202_for_every_model(client, model):
    answer = client.submit(model=model)
    assert answer.status_code == 202
    assert answer.headers["content-type"] == "application/json"
    assert set(answer.json()) == {"request_id", "status", "status_url", "response_url"}
    assert answer.json()["status"] == "IN_QUEUE"


def test_a_job_goes_through_queue_and_progress_to_completed(client, clock):
    job = client.job()
    seen = []
    for _ in range(5):
        seen.append(client.get(job["status_url"]).json())
        clock.now += 2
    assert [each["status"] for each in seen] == ["IN_QUEUE", *["IN_PROGRESS"] * 3, "COMPLETED"]
    assert all(each["request_id"] == job["request_id"] for each in seen)
    assert set(seen[-1]) == {"request_id", "status"}


def test_ids_need_quoting_and_urls_are_relative_and_quoted(client):
    jobs = [client.job() for _ in range(8)]
    assert all("=" in job["request_id"] for job in jobs)
    assert any("/" in job["request_id"] for job in jobs)
    assert any("+" in job["request_id"] for job in jobs)
    for job in jobs:
        assert job["response_url"].startswith("/v1/queue/veo-3.1/requests/")
        assert unquote(job["response_url"].rsplit("/", 1)[1]) == job["request_id"]
        assert job["status_url"] == job["response_url"] + "/status"


def test_an_id_quoted_by_the_client_is_accepted(client):
    job = client.job()
    path = f"/v1/queue/veo-3.1/requests/{quote(job['request_id'], safe='')}/status"
    assert client.get(path).json()["request_id"] == job["request_id"]


def test_result_while_running_has_no_data_and_bills_nothing(client, sim):
    job = client.job()
    answer = client.get(job["response_url"]).json()
    assert answer == {"request_id": job["request_id"], "status": "IN_QUEUE", "model": "veo-3.1"}
    assert sim.ledger.bills == []


def test_result_names_data_and_usage(client):
    answer = client.result(sample_count=3, resolution="1080p")
    assert set(answer) == {"request_id", "status", "model", "data", "usage"}
    assert len({item["url"] for item in answer["data"]}) == 3
    assert answer["usage"] == {"video_seconds": 3, "video_resolution": "1080p", "video_has_audio": False}


def test_content_id_is_not_the_request_id_and_urls_are_relative(client):
    answer = client.result()
    url = answer["data"][0]["url"]
    assert url.startswith("/v1/queue/veo-3.1/requests/")
    assert answer["request_id"] not in unquote(url)


def test_content_is_an_inline_mp4_with_its_length(client):
    answer = client.get(client.video_url())
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "video/mp4"
    assert answer.headers["content-disposition"] == 'inline; filename="video-0.mp4"'
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert answer.content[4:8] == b"ftyp"


def test_a_failed_job_answers_200_with_its_error(client):
    job = client.done("a [fail] boat")
    status = client.get(job["status_url"])
    assert status.status_code == 200
    assert status.json() == {
        "request_id": job["request_id"],
        "status": "FAILED",
        "error": "content policy violation",
    }
    result = client.get(job["response_url"]).json()
    assert set(result) == {"request_id", "status", "model", "error"}


@pytest.mark.parametrize(
    "header", [None, "", "Bearer", "Bearer sk-wrong", "Basic sk-test", "sk-test", "Bearer sk-test2"]
)
def test_a_missing_or_wrong_key_is_401_on_every_call(client, header):
    job = client.job()
    url = client.video_url()
    client.session.headers["Authorization"] = header
    refused(client.submit(), 401, "unauthorized")
    refused(client.get(job["status_url"]), 401, "unauthorized")
    refused(client.get(job["response_url"]), 401, "unauthorized")
    refused(client.get(url), 401, "unauthorized")


def test_a_rotated_key_is_rejected_at_once(client, sim):
    job = client.job()
    sim.settings.key = "sk-new"
    refused(client.get(job["status_url"]), 401, "unauthorized")
    client.session.headers["Authorization"] = "Bearer sk-new"
    assert client.get(job["status_url"]).status_code == 200


def test_an_empty_balance_is_402_before_anything_is_made(client, sim):
    sim.settings.balance = 0
    refused(client.submit(), 402, "insufficient_balance")
    assert sim.ledger.jobs == {}


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'"text"', b"null", b"\xff\xfe", b"[" * 100_000])
def test_a_bad_body_is_400(client, sim, body):
    headers = {"Content-Type": "application/json"}
    refused(client.session.post(f"{sim.url}/v1/queue/veo-3", data=body, headers=headers, timeout=10))


@pytest.mark.parametrize("prompt", ["", "  \n", 7, None, ["a"], True])
def test_a_prompt_that_is_no_text_is_400(client, prompt):
    assert "prompt" in refused(client.submit(prompt))


def test_half_a_character_is_400(client, sim):
    assert "prompt" in refused(client.submit("a boat \ud83d"))
    assert "negative_prompt" in refused(client.submit(negative_prompt="\ud83d"))
    assert sim.ledger.jobs == {}


def test_a_missing_prompt_is_400(client, sim):
    assert "prompt" in refused(client.session.post(f"{sim.url}/v1/queue/veo-3", json={}, timeout=10))


def test_submit_has_to_be_json_by_its_content_type(client, sim):
    for kind in ("text/plain", "application/x-www-form-urlencoded"):
        headers = {"Content-Type": kind}
        refused(client.session.post(f"{sim.url}/v1/queue/veo-3", data=b'{"prompt": "x"}', headers=headers, timeout=10))


def test_an_unknown_model_is_not_a_video_model_unless_it_is_configured(client, sim):
    assert "not a video model" in refused(client.submit(model="gpt-5"))
    sim.settings.extra_models = ("veo-4/beta",)
    job = client.submit(model="veo-4%2Fbeta").json()
    assert client.get(job["status_url"]).json()["status"] == "IN_QUEUE"


# One pixel.
PNG = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAIAAACQd1PeAAAADElEQVR4nGP4z8AAAAMBAQDJ/pLvAAAAAElFTkSuQmCC"


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("aspect_ratio", "1:1"),
        ("aspect_ratio", 1),
        ("aspect_ratio", None),
        ("resolution", "480p"),
        ("resolution", ["720p"]),
        ("duration_seconds", 0),
        ("duration_seconds", 9),
        ("duration_seconds", "8"),
        ("duration_seconds", 8.0),
        ("duration_seconds", True),
        ("generate_audio", 1),
        ("generate_audio", "true"),
        ("sample_count", 0),
        ("sample_count", 5),
        ("sample_count", True),
        ("negative_prompt", 3),
        ("image", 3),
        ("image", ""),
        ("image", "not base64!"),
        ("image", base64.b64encode(b"not an image").decode()),
        ("image", base64.b64encode(b"x" * 100_000).decode()),
        ("image", "data:image/png;base64," + PNG),
        ("image", PNG[:40]),
    ],
)
def test_a_parameter_of_wrong_type_or_value_is_400_and_named(client, sim, name, value):
    assert name in refused(client.submit(**{name: value}))
    assert sim.ledger.jobs == {}


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "GIF", "BMP", "TIFF", "AVIF"])
def test_an_image_of_any_usual_kind_is_taken(client, kind):
    if kind == "AVIF" and not features.check("avif"):
        pytest.skip("Pillow was built without it")
    file = io.BytesIO()
    Image.new("RGB", (16, 9), "teal").save(file, kind)
    assert client.submit(image=base64.b64encode(file.getvalue()).decode()).status_code == 202


def test_parameters_have_to_be_an_object(client, sim):
    body = {"prompt": "x", "parameters": [1]}
    refused(client.session.post(f"{sim.url}/v1/queue/veo-3", json=body, timeout=10))


def test_unknown_parameter_names_are_ignored(client):
    assert client.submit(camera="slow pan").status_code == 202


def test_left_out_parameters_take_the_services_defaults(client, sim):
    client.session.post(f"{sim.url}/v1/queue/veo-3", json={"prompt": "[fail]"}, timeout=10)
    (job,) = sim.ledger.jobs.values()
    order = job.order
    assert (order.aspect_ratio, order.resolution, order.duration_seconds) == ("16:9", "720p", 8)
    assert (order.generate_audio, order.sample_count, order.image) == (True, 1, None)


@pytest.mark.parametrize("end", ["", "/status", "/content/0"])
@pytest.mark.parametrize("name", ["bm9uZQ==", "..", "?", "%00", "x" * 500])
def test_an_unknown_id_is_400(client, end, name):
    refused(client.get(f"/v1/queue/veo-3.1/requests/{quote(name, safe='').replace('..', '%2E.')}{end}"))


def test_a_request_id_is_no_content_id(client):
    job = client.done()
    refused(client.get(job["response_url"] + "/content/0"))


def test_a_model_that_is_not_the_jobs_is_a_provider_mismatch(client):
    job = client.done()
    for path in (job["status_url"], job["response_url"], client.get(job["response_url"]).json()["data"][0]["url"]):
        assert "mismatch" in refused(client.get(path.replace("veo-3.1", "veo-2")))


@pytest.mark.parametrize("index", ["1", "-1", "x", "00", "%30x", "9" * 400])
def test_a_bad_content_index_is_400(client, index):
    assert "index" in refused(client.get(client.video_url()[:-1] + index))


def test_content_before_the_end_is_400(client, sim):
    client.job()
    (content_id,) = sim.service.contents
    refused(client.get(f"/v1/queue/veo-3.1/requests/{quote(content_id, safe='')}/content/0"))


def test_content_of_a_failed_job_says_that_there_is_none(client, sim):
    client.done("[fail]")
    (content_id,) = sim.service.contents
    path = f"/v1/queue/veo-3.1/requests/{quote(content_id, safe='')}/content/0"
    assert "failed" in refused(client.get(path))


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/queue/", "/v2/queue/veo-3", "/v1/queue/a/requests/b/cancel", "/favicon.ico"]
)
def test_an_unknown_path_is_a_gateways_404(client, path):
    answer = client.get(path)
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "text/html"


def test_a_wrong_method_is_405_with_allow(client, sim):
    answer = client.get("/v1/queue/veo-3")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert client.session.post(sim.url + client.job()["status_url"], timeout=10).headers["allow"] == "GET"


def test_a_body_beyond_all_measure_is_413(client, sim):
    answer = client.session.post(f"{sim.url}/v1/queue/veo-3", data=b"x" * (65 << 20), timeout=20)
    assert answer.status_code == 413


def test_one_connection_carries_many_calls(client, sim):
    job = client.job()
    adapter = client.session.get_adapter(sim.url)
    for _ in range(20):
        client.get(job["status_url"])
    pools = adapter.poolmanager.pools
    assert [pools[key].num_connections for key in list(pools.keys())] == [1]


def test_range_is_honoured_and_can_be_switched_off(client, sim):
    url = client.video_url()
    whole = client.get(url)
    part = client.get(url, headers={"Range": "bytes=100-299"})
    assert (part.status_code, part.content) == (206, whole.content[100:300])
    assert part.headers["content-range"] == f"bytes 100-299/{len(whole.content)}"
    assert client.get(url, headers={"Range": "bytes=-10"}).content == whole.content[-10:]
    assert client.get(url, headers={"Range": "bytes=500-"}).content == whole.content[500:]
    assert client.get(url, headers={"Range": "bytes=99999999-"}).status_code == 416
    assert client.get(url, headers={"Range": "bytes=-"}).status_code == 200
    assert client.get(url, headers={"Range": "bytes=0-9", "If-Range": '"other"'}).status_code == 200
    assert client.get(url, headers={"Range": "bytes=0-9", "If-Range": whole.headers["etag"]}).status_code == 206
    sim.settings.ranges = False
    answer = client.get(url, headers={"Range": "bytes=0-9"})
    assert (answer.status_code, answer.content) == (200, whole.content)


def test_a_fresh_session_without_a_key_learns_nothing(sim):
    assert requests.get(sim.url + "/v1/queue/veo-3/requests/x", timeout=5).status_code == 401
