"""Google Cloud Storage: what a connection may say, uploads in blocks, and answers that are late, lost or refusals."""

from __future__ import annotations

import gc
import itertools
import json
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest
import requests

from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.storage import gcs as gcs_module
from airflow_provider_modelmax.storage.gcs import BLOCK, STEP
from airflow_provider_modelmax.storage.location import locate
from airflow_provider_modelmax.storage.objects import (
    check_writable,
    create_json,
    load_json,
    remove,
    save_json,
    save_video,
    sha256_of,
    size_of,
)
from tests.airflow_versions import AirflowTaskTimeout
from tests.mp4s import padded
from tests.stack import tls
from tests.stack.bare_server import Answers, answering
from tests.stack.gcs import FakeGcs
from tests.stack.google_protocol import SESSIONS, Google, Request
from tests.stack.processes import PROJECT, child_environment, free_port
from tests.storage.common import MEBI, OLD, SMALL, nothing_new, writing
from tests.stores import GcsStore, on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    Connected = Callable[..., str]

pytestmark = on("gcs")
VIDEO = padded(20 * MEBI + 12_345)


def opened(store: GcsStore) -> Any:
    """Begin an upload of x.mp4."""
    place: Any = locate(store.uri("x.mp4"))
    return place.open("video/mp4")


@pytest.fixture
def google(request: pytest.FixtureRequest, store: GcsStore, connected: Connected) -> Iterator[Google]:
    """Run a server that answers as Google's documentation says, and make a connection ``google`` to it."""
    with Google().running() as server:
        connected(server.connection, "google")
        yield server


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask again for a moment only."""
    given = gcs_module._patience()
    short = {**given, "retry": given["retry"].with_delay(initial=0.01, maximum=0.02).with_timeout(0.3)}
    monkeypatch.setattr(gcs_module, "_patience", lambda: short)


# Writing


@pytest.mark.parametrize("size", [0, 1, STEP, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK, 3 * BLOCK + 12_345])
@pytest.mark.parametrize("chunk", [1_000_000, 20_000_000])
def test_what_was_written_stands_there_in_order(store: GcsStore, size: int, chunk: int) -> None:
    upload, data = opened(store), b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]
    for begin in range(0, size, chunk):
        upload.write(data[begin : begin + chunk])
    assert store.names() == []
    upload.close()
    assert store.read("x.mp4") == data
    assert store.content_type("x.mp4") == "video/mp4"


@pytest.mark.parametrize("size", [1, BLOCK, BLOCK + 1, 3 * BLOCK + 1])
@pytest.mark.parametrize("old", [None, OLD], ids=["nothing before", "an old object"])
@pytest.mark.parametrize("end", ["forgotten", "discarded", "the store is away"])
def test_an_upload_that_is_not_closed_is_never_published(
    store: GcsStore, monkeypatch: pytest.MonkeyPatch, size: int, old: bytes | None, end: str
) -> None:
    if old:
        store.put("x.mp4", old)
    upload = opened(store)
    upload.write(bytes(size))
    if end == "discarded":
        upload.discard()
    elif end == "the store is away" and size > BLOCK:
        upload._url = f"http://127.0.0.1:{free_port()}/"
        with pytest.raises(requests.ConnectionError):
            upload.discard()
    del upload
    gc.collect()
    time.sleep(0.1)
    assert nothing_new(store, old)


def test_a_killed_writer_leaves_the_old_object(store: GcsStore, tmp_path: Path) -> None:
    store.put("x.mp4", OLD)
    with writing(store, tmp_path) as process:
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert nothing_new(store, OLD)
    save_video(store.uri("x.mp4"), [VIDEO])
    assert nothing_new(store, VIDEO)


def test_a_small_object_takes_one_request_and_a_large_one_a_request_for_each_block(google: Google) -> None:
    save_video("gs://google@videos/x.mp4", [VIDEO], size=len(VIDEO))
    assert google.objects["x.mp4"] == VIDEO
    total = len(VIDEO)
    assert google.asked == [
        "POST",
        f"PUT bytes 0-{BLOCK - 1}/*",
        f"PUT bytes {BLOCK}-{2 * BLOCK - 1}/*",
        f"PUT bytes {2 * BLOCK}-{total - 1}/{total}",
        "GET",
    ]
    google.asked.clear()
    google.fault = lambda request, body: request.command == "POST" and not request.say_json(200)  # type: ignore[func-returns-value]
    save_json("gs://google@videos/x.json", {})
    assert google.asked == ["POST"]


def test_a_check_cancels_an_upload_and_tries_to_delete_what_does_not_exist(google: Google) -> None:
    check_writable("gs://google@videos/v")
    assert google.asked == ["POST", f"PUT bytes 0-{STEP - 1}/*", "DELETE", "DELETE"]
    assert (google.objects, google.sessions) == ({}, {})


def test_a_video_takes_less_than_40_mib_of_memory(store: GcsStore, tmp_path: Path) -> None:
    code = """
import itertools, resource, sys
from airflow_provider_modelmax.storage.objects import save_video
from tests.mp4s import encode

small, chunk = encode("faststart"), bytes(1 << 20)
save_video(sys.argv[1], [small])
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
head = small + (8 + (60 << 20)).to_bytes(4, "big") + b"free"
save_video(sys.argv[1], itertools.chain([head], itertools.repeat(chunk, 60)))
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)
"""
    home = {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    environment = child_environment({**store.environment(), **home})
    command = [sys.executable, "-c", code, store.uri("x.mp4")]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert int(done.stdout.split()[-1]) < 40 * 1024  # KiB


# Reading


@pytest.mark.parametrize("size", [0, 1, BLOCK, 2 * BLOCK + 1])
def test_an_object_of_any_size_is_read_whole(store: GcsStore, size: int) -> None:
    data = VIDEO[:size]
    store.put("x.mp4", data)
    assert b"".join(locate(store.uri("x.mp4")).blocks()) == data


def test_an_object_that_is_replaced_while_it_is_read_is_no_mixture(google: Google) -> None:
    google.objects["x.mp4"] = VIDEO
    blocks = locate("gs://google@videos/x.mp4").blocks()
    assert next(blocks) == VIDEO[:BLOCK]
    google.objects["x.mp4"] = VIDEO[::-1]
    with pytest.raises(FileNotFoundError):
        next(blocks)


# Answers that are late or lost


def once(fault: Callable[[Request, bytes], object], begins: int = BLOCK) -> Callable[[Request, bytes], bool]:
    """Let a fault happen to the first request that sends the block which begins there."""
    times = itertools.count()

    def answer(request: Request, body: bytes) -> bool:
        if f"bytes {begins}-" not in request.headers.get("Content-Range", "") or next(times):
            return False
        fault(request, body)
        return True

    return answer


def take_and_hang_up(request: Request, body: bytes) -> None:
    """Let the answer to a request be lost."""
    request.say = lambda *_: None  # type: ignore[method-assign]
    request.resume(request.path, body)
    request.hang_up()


FAULTS: dict[str, Callable[[Request, bytes], object]] = {
    "busy": lambda request, _: request.say_json(503),
    "throttled": lambda request, _: request.say_json(429),
    "cut": lambda request, _: request.hang_up(),
    "the answer is lost": take_and_hang_up,
    "a part is kept": lambda request, body: request.keep(body, STEP),
    "nothing is kept": lambda request, body: request.keep(body, 0),
}


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("begins", [0, BLOCK, 2 * BLOCK], ids=["first block", "second", "last"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_block_whose_way_is_disturbed_is_sent_again(google: Google, fault: str, begins: int) -> None:
    google.fault = once(FAULTS[fault], begins)
    save_video("gs://google@videos/x.mp4", [VIDEO])
    assert google.objects["x.mp4"] == VIDEO


def test_what_was_damaged_on_its_way_is_not_published(google: Google) -> None:
    def damage(request: Request, body: bytes) -> None:
        request.resume(request.path, b"x" * len(body))

    google.fault = once(damage)
    with pytest.raises(StorageError, match="CRC32C does not match"):
        save_video("gs://google@videos/x.mp4", [VIDEO])
    assert google.objects == {}


@pytest.mark.parametrize("status", [404, 410])
def test_an_upload_that_google_has_forgotten_is_to_be_retried(google: Google, status: int) -> None:
    google.fault = once(lambda request, _: request.say_json(status))
    with pytest.raises(StorageError, match=r"gs://videos/x\.mp4: the store does not know the upload") as raised:
        save_video("gs://google@videos/x.mp4", [VIDEO])
    assert not isinstance(raised.value, DestinationError)
    assert google.objects == {}


@pytest.mark.usefixtures("impatient")
def test_a_store_that_stays_busy_says_so_by_every_call(google: Google) -> None:
    google.fault = lambda request, _: not request.say_json(503)  # type: ignore[func-returns-value]
    uri = "gs://google@videos/x"
    calls: list[Callable[[], object]] = [
        lambda: check_writable(uri),
        lambda: save_video(uri, [SMALL]),
        lambda: save_video(uri, [VIDEO]),
        lambda: save_json(uri, {}),
        lambda: create_json(uri, {}),
        lambda: load_json(uri),
        lambda: size_of(uri),
        lambda: sha256_of(uri),
        lambda: remove(uri),
    ]
    for call in calls:
        with pytest.raises(StorageError, match="The store is too busy") as raised:
            call()
        assert not isinstance(raised.value, DestinationError)


def test_a_document_that_another_one_creates_meanwhile_is_not_ours(google: Google) -> None:
    google.fault = lambda request, _: not request.say_json(412)  # type: ignore[func-returns-value]
    assert not create_json("gs://google@videos/x.json", {})
    assert google.queries[0]["ifGenerationMatch"] == ["0"]


@pytest.mark.usefixtures("impatient")
def test_a_store_that_is_away_is_no_mistake_of_the_destination(google: Google, connected: Connected) -> None:
    google.url = f"http://127.0.0.1:{free_port()}"
    folder = f"gs://{connected(google.connection)}@videos/v"
    for call in (lambda: check_writable(folder), lambda: size_of(f"{folder}/x.mp4")):
        with pytest.raises(StorageError, match="the store failed ") as raised:
            call()
        assert not isinstance(raised.value, DestinationError)


@pytest.mark.parametrize("where", ["POST", f"PUT bytes {BLOCK}", "GET"])
@pytest.mark.parametrize("error", [KeyboardInterrupt, AirflowTaskTimeout, SystemExit])
def test_a_signal_is_heard_while_the_store_hangs(google: Google, where: str, error: type[BaseException]) -> None:
    hanging, ended = threading.Event(), threading.Event()

    def hang(request: Request, _: bytes) -> bool:
        if not hanging.is_set() and google.asked[-1].startswith(where):
            hanging.set()
        if hanging.is_set():
            ended.wait(30)
            request.hang_up()
        return hanging.is_set()

    def ring(*_: object) -> None:
        raise error

    google.fault = hang
    before = signal.signal(signal.SIGTERM, ring)
    main = threading.main_thread()
    rung: list[float] = []

    def terminate() -> None:
        hanging.wait(30)
        time.sleep(0.3)
        rung.append(time.monotonic())
        signal.pthread_kill(main.ident or 0, signal.SIGTERM)

    ringing = threading.Thread(target=terminate)
    ringing.start()
    try:
        with pytest.raises(error):
            save_video("gs://google@videos/x.mp4", [VIDEO])
    finally:
        signal.signal(signal.SIGTERM, before)
        ended.set()
        ringing.join()
    assert time.monotonic() - rung[0] < gcs_module.GRACE + 1


# Connections


def test_an_emulator_needs_no_connection(store: GcsStore, monkeypatch: pytest.MonkeyPatch) -> None:
    for host in (store.server.url, store.server.url.removeprefix("http://")):
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", host)
        uri = store.uri("x.mp4").replace("store@", "")
        save_video(uri, [VIDEO])
        assert size_of(uri) == len(VIDEO)
        assert store.read("x.mp4") == VIDEO


def test_a_connection_with_an_endpoint_is_not_led_to_the_emulator(
    google: Google, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", f"http://127.0.0.1:{free_port()}")
    save_video("gs://google@videos/x.mp4", [VIDEO])
    assert google.objects["x.mp4"] == VIDEO


def test_an_emulator_of_the_environment_is_used_by_connections(
    google: Google, connected: Connected, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("STORAGE_EMULATOR_HOST", google.url)
    conn_id = connected({"conn_type": "google_cloud_platform", "extra": {"is_anonymous": True}})
    save_video(f"gs://{conn_id}@videos/x.mp4", [VIDEO])
    assert google.objects["x.mp4"] == VIDEO


@pytest.mark.parametrize("endpoint", ["storage.example:4443", "ftp://x", "https://"])
def test_an_endpoint_that_is_no_url_is_named(google: Google, connected: Connected, endpoint: str) -> None:
    connection = google.connection
    connection["extra"]["gcs.endpoint"] = endpoint
    with pytest.raises(DestinationError, match=r"gcs\.endpoint '.*' in the extra of the connection is no URL"):
        check_writable(f"gs://{connected(connection)}@videos/v")


@pytest.mark.parametrize("slash", ["", "/"])
def test_an_endpoint_may_end_in_a_slash(google: Google, connected: Connected, slash: str) -> None:
    google.url += slash
    conn_id = connected(google.connection)
    google.url = google.url.removesuffix("/")
    save_video(f"gs://{conn_id}@videos/x.mp4", [VIDEO])
    assert google.objects["x.mp4"] == VIDEO


@pytest.mark.parametrize(("pays", "billed"), [(True, "p"), ("other", "other"), (False, None), (None, None)])
def test_the_requester_may_pay(google: Google, connected: Connected, pays: Any, billed: str | None) -> None:
    connection = google.connection
    connection["extra"] |= {"project": "p", "gcs.requester-pays": pays}
    save_video(f"gs://{connected(connection)}@videos/x.mp4", [VIDEO])
    assert google.queries[0].get("userProject") == (billed and [billed])


@pytest.mark.usefixtures("impatient")
def test_an_own_ca_is_named_in_the_environment(
    store: GcsStore, connected: Connected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificate = tls.certificate(tmp_path)
    with FakeGcs(certificate) as server:
        uri = f"gs://{connected(server.connection)}@{server.bucket}/x.mp4"
        with pytest.raises(StorageError, match=r"No secure connection could be made(?s:.)* REQUESTS_CA_BUNDLE"):
            save_video(uri, [VIDEO])
        monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(certificate.ca))
        save_video(uri, [VIDEO])
        assert size_of(uri) == len(VIDEO)


def key_of(url: str) -> dict[str, str]:
    """Return the key of a service account whose tokens come from there."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import rsa

    private = rsa.generate_private_key(65537, 2048).private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    return {
        "type": "service_account",
        "project_id": "p",
        "client_email": "robot@p.iam.gserviceaccount.com",
        "private_key": private.decode(),
        "token_uri": f"{url}/token",
    }


class Tokens(Answers):
    """Gives everybody a token."""

    def answer(self, body: bytes) -> None:
        assert b"assertion=" in body
        self.say(200, b'{"access_token": "its-token", "expires_in": 3600, "token_type": "Bearer"}')


class Refuses(Answers):
    """Refuses everybody, as Google does when a key was deleted."""

    def answer(self, _: bytes) -> None:
        self.say(400, b'{"error": "invalid_grant", "error_description": "Invalid grant: account not found"}')


@pytest.mark.parametrize("field", ["keyfile_dict", "key_path", "environment"])
def test_the_token_of_a_service_account_goes_with_every_request(
    google: Google, connected: Connected, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, field: str
) -> None:
    file, connection = tmp_path / "key.json", google.connection
    with answering(Tokens) as url:
        file.write_text(json.dumps(key_of(url)))
        connection["extra"] = {"gcs.endpoint": google.url}
        if field == "environment":
            monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(file))
        else:
            connection["extra"][field] = str(file) if field == "key_path" else file.read_text()
        save_video(f"gs://{connected(connection)}@videos/x.mp4", [VIDEO])
    assert google.objects["x.mp4"] == VIDEO
    assert set(google.tokens) == {"Bearer its-token"}


def test_a_connection_that_may_not_replace_an_object_is_refused_before_anything_is_written(google: Google) -> None:
    def refuse(request: Request, _: bytes) -> bool:
        if request.command != "DELETE" or SESSIONS in request.path:
            return False
        request.say_json(403, error={"code": 403, "message": "robot lacks storage.objects.delete access"})
        return True

    google.fault = refuse
    with pytest.raises(DestinationError, match=r"access denied (?s:.)*storage\.objects\.delete"):
        check_writable("gs://google@videos/v")
    assert google.objects == {}


@pytest.mark.parametrize("status", [400, 403])
def test_no_error_shows_the_url_with_which_anybody_may_finish_an_upload(
    google: Google, caplog: pytest.LogCaptureFixture, status: int
) -> None:
    def refuse(request: Request, _: bytes) -> bool:
        if request.command == "POST":
            request.say(
                200, b"", {"Location": f"{google.url}/upload/storage/v1/b/videos/o?upload_id=SECRET-OF-SESSION&x=1"}
            )
        elif request.command == "DELETE":
            request.close_connection = True
        else:
            request.say_json(status, error={"code": status, "message": "no"})
        return True

    google.fault = refuse
    with pytest.raises(StorageError) as caught, caplog.at_level("WARNING"):
        save_video("gs://google@videos/x.mp4", [VIDEO], size=len(VIDEO))
    assert "An unfinished upload may be left behind" in caplog.text
    error: BaseException | None = caught.value
    while error:
        assert "SECRET" not in f"{error} {error!r}"
        error = error.__cause__
    assert "SECRET" not in caplog.text


def test_a_key_that_google_refuses_is_access_denied(google: Google, connected: Connected) -> None:
    with answering(Refuses) as url:
        connection = google.connection
        connection["extra"] = {"gcs.endpoint": google.url, "keyfile_dict": json.dumps(key_of(url))}
        folder = f"gs://{connected(connection)}@videos/v"
        for call in (lambda: check_writable(folder), lambda: size_of(f"{folder}/x"), lambda: save_json(folder, {})):
            with pytest.raises(DestinationError, match=r"access denied \(.*invalid_grant(?s:.)* Check the credentials"):
                call()
    assert google.asked == []


@pytest.mark.usefixtures("impatient")
def test_tokens_that_cannot_be_fetched_at_the_moment_are_no_mistake_of_the_connection(
    google: Google, connected: Connected
) -> None:
    connection = google.connection
    connection["extra"] = {
        "gcs.endpoint": google.url,
        "keyfile_dict": json.dumps(key_of(f"http://127.0.0.1:{free_port()}")),
    }
    with pytest.raises(StorageError, match="the store failed ") as raised:
        check_writable(f"gs://{connected(connection)}@videos/v")
    assert not isinstance(raised.value, DestinationError)


def test_the_own_credentials_of_a_worker_are_those_of_the_environment(
    google: Google, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with answering(Tokens) as url:
        (tmp_path / "key.json").write_text(json.dumps(key_of(url)))
        monkeypatch.setenv("GOOGLE_APPLICATION_CREDENTIALS", str(tmp_path / "key.json"))
        place: Any = locate("gs://videos/x.mp4")
        assert place.client.session.credentials.service_account_email == "robot@p.iam.gserviceaccount.com"
        assert place.client.storage.project == "p"


def test_a_key_file_that_is_missing_is_named(connected: Connected, store: GcsStore) -> None:
    conn_id = connected({"conn_type": "google_cloud_platform", "extra": {"key_path": "/no/such/key.json"}})
    with pytest.raises(DestinationError, match=r"cannot be opened .*/no/such/key\.json.* Correct the connection"):
        check_writable(f"gs://{conn_id}@videos/v")
