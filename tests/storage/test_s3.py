"""Parts on their way to a real S3 server: in order, no more at once than agreed, and none forgotten."""

from __future__ import annotations

import gc
import multiprocessing
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError

from airflow_provider_modelmax.storage import s3 as s3_module
from airflow_provider_modelmax.storage.s3 import AT_ONCE, PART, S3Upload
from tests.stack.processes import wait_until
from tests.stack.s3 import BUCKET, OWNER, SeaweedFS
from tests.stack.s3_proxy import Proxy, in_front_of

FORK = multiprocessing.get_context("fork")


@pytest.fixture(scope="module")
def server() -> Iterator[SeaweedFS]:
    with SeaweedFS() as server:
        yield server


def client_of(url: str) -> Any:
    return boto3.client(
        "s3",
        endpoint_url=url,
        region_name="us-east-1",
        aws_access_key_id=OWNER.login,
        aws_secret_access_key=OWNER.password,
        config=Config(s3={"addressing_style": "path"}),
    )


@pytest.fixture
def client(server: SeaweedFS) -> Any:
    return client_of(server.url)


@pytest.fixture
def key() -> str:
    return uuid.uuid4().hex


@pytest.fixture(autouse=True)
def _all_room_is_given_back() -> Iterator[None]:
    yield
    taken = [s3_module._room.acquire(timeout=5) for _ in range(AT_ONCE)]
    assert all(taken)
    for _ in taken:
        s3_module._room.release()


def numbered(size: int) -> bytes:
    """Return bytes of which no two parts are alike."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 4 * PART + 12_345])
@pytest.mark.parametrize("chunk", [1_000_000, 7 * 1_000_000])
def test_what_was_written_stands_there_in_order(client, key, server, size, chunk):
    upload, data = S3Upload(client, BUCKET, key, {"ContentType": "video/mp4"}), numbered(size)
    for begin in range(0, size, chunk):
        assert upload.write(data[begin : begin + chunk]) == len(data[begin : begin + chunk])
    assert server.list_objects(key) == {}
    upload.close()
    assert server.read(key) == data
    assert client.head_object(Bucket=BUCKET, Key=key)["ContentType"] == "video/mp4"
    assert server.list_multipart_uploads() == []


@pytest.mark.parametrize("size", [1, PART, 3 * PART + 1])
def test_what_is_discarded_leaves_nothing(client, key, server, size):
    upload = S3Upload(client, BUCKET, key, {})
    upload.write(bytes(size))
    upload.discard()
    assert server.list_objects(key) == {}
    assert server.list_multipart_uploads() == []


def test_what_is_forgotten_is_not_published(client, key, server):
    S3Upload(client, BUCKET, key, {}).write(bytes(2 * PART + 1))
    gc.collect()
    wait_until(lambda: not server.list_objects(key), 1, "nothing is there")
    client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=unfinished(server, key))


def unfinished(server: SeaweedFS, key: str) -> str:
    (begun,) = server.client().list_multipart_uploads(Bucket=BUCKET, Prefix=key)["Uploads"]
    return str(begun["UploadId"])


class Gate:
    """Stands in front of the store, holds parts back on their way, and counts them."""

    def __init__(self) -> None:
        self.open, self.waiting, self.most, self._lock = threading.Event(), 0, 0, threading.Lock()

    def answer(self, proxy: Proxy, body: bytes) -> None:
        if "partNumber=" in proxy.path:
            self._count(1)
            self.open.wait(30)
            self._count(-1)
        proxy.hand_on(body)

    def _count(self, step: int) -> None:
        with self._lock:
            self.waiting += step
            self.most = max(self.most, self.waiting)


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


@pytest.mark.parametrize("files", [1, 2, 5])
def test_no_more_parts_are_on_their_way_than_agreed_however_many_files_there_are(key, server, files, gate):
    data = numbered(4 * PART)

    def write(number: int) -> None:
        upload = S3Upload(client, BUCKET, f"{key}-{number}", {})
        upload.write(data)
        upload.close()

    with in_front_of(server.url, gate.answer) as url, ThreadPoolExecutor(files) as pool:
        client = client_of(url)
        writing = [pool.submit(write, number) for number in range(files)]
        # One that finds no room sends its part all the same, and waits for it: a store that hangs stops nobody else.
        wait_until(lambda: gate.waiting >= max(AT_ONCE, files - AT_ONCE), 10, "parts are on their way")
        gate.open.set()
        for each in writing:
            each.result()
    assert gate.most <= AT_ONCE + files
    for number in range(files):
        assert server.read(f"{key}-{number}") == data


def test_it_takes_more_while_parts_are_on_their_way(key, server, gate):
    with in_front_of(server.url, gate.answer) as url:
        upload = S3Upload(client_of(url), BUCKET, key, {})
        upload.write(bytes(AT_ONCE * PART + PART - 1))
        wait_until(lambda: gate.waiting == AT_ONCE, 10, "parts are on their way")
        gate.open.set()
        upload.close()
    assert server.list_objects(key) == {key: (AT_ONCE + 1) * PART - 1}


def test_a_signal_is_heard_while_the_store_hangs(key, server, gate, monkeypatch):
    monkeypatch.setattr(s3_module, "GRACE", 0.2)

    def stop(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, stop)
    try:
        with in_front_of(server.url, gate.answer) as url:
            upload = S3Upload(client_of(url), BUCKET, key, {})
            signal.setitimer(signal.ITIMER_REAL, 0.5)
            begun = time.monotonic()
            with pytest.raises(KeyboardInterrupt):
                upload.write(bytes(5 * PART))
            upload.discard()
            assert time.monotonic() - begun < 5
            gate.open.set()
    finally:
        signal.signal(signal.SIGALRM, before)
    assert server.list_objects(key) == {}
    assert server.list_multipart_uploads(key) == []


def test_an_upload_goes_on_where_no_thread_can_be_started(client, key, server, monkeypatch):
    def fail(_: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    data = numbered(5 * PART + 1)
    upload = S3Upload(client, BUCKET, key, {})
    monkeypatch.setattr(s3_module.threading.Thread, "start", fail)
    upload.write(data)
    upload.close()
    assert server.read(key) == data


def test_uploads_go_on_in_a_process_that_was_forked_while_parts_were_under_way(key, server, gate):
    data = numbered(3 * PART + 1)
    with in_front_of(server.url, gate.answer) as url:
        upload = S3Upload(client_of(url), BUCKET, key, {})
        upload.write(bytes(AT_ONCE * PART))
        wait_until(lambda: gate.waiting == AT_ONCE, 10, "parts are on their way")

        def write() -> None:
            mine = S3Upload(client_of(server.url), BUCKET, f"{key}-forked", {})
            mine.write(data)
            mine.close()

        child = FORK.Process(target=write, daemon=True)
        child.start()
        child.join(30)
        assert child.exitcode == 0
        gate.open.set()
        upload.discard()
    assert server.read(f"{key}-forked") == data


def test_an_upload_does_not_wait_for_one_whose_store_hangs(client, key, server, gate):
    data = numbered(3 * PART + 1)
    with in_front_of(server.url, gate.answer) as url:
        hanging = S3Upload(client_of(url), BUCKET, key, {})
        hanging.write(bytes(AT_ONCE * PART))
        wait_until(lambda: gate.waiting == AT_ONCE, 10, "parts are on their way")
        other = S3Upload(client, BUCKET, f"{key}-other", {})
        other.write(data)
        other.close()
        assert gate.waiting == AT_ONCE
        gate.open.set()
        hanging.discard()
    assert server.read(f"{key}-other") == data


def test_a_part_that_the_store_refuses_ends_the_upload(client, key, server):
    upload = S3Upload(client, BUCKET, key, {})
    upload.write(bytes(PART))
    client.abort_multipart_upload(Bucket=BUCKET, Key=key, UploadId=unfinished(server, key))
    with pytest.raises(ClientError, match="NoSuchUpload"):
        upload.write(bytes(5 * PART))
    upload.discard()
    assert server.list_objects(key) == {}


@pytest.mark.parametrize("part", [1, 2])
def test_a_part_that_the_store_is_too_busy_for_is_sent_again_whole(key, server, part):
    pending = [f"partNumber={part}"]

    def answer(proxy: Proxy, body: bytes) -> None:
        if pending and pending[0] in proxy.path:
            pending.clear()
            proxy.refuse(503, "SlowDown", "Reduce your request rate.")
        else:
            proxy.hand_on(body)

    with in_front_of(server.url, answer) as url:
        upload, data = S3Upload(client_of(url), BUCKET, key, {}), numbered(2 * PART - 1000)
        upload.write(data)
        upload.close()
    assert server.read(key) == data
    assert not pending
