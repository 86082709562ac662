"""Parts on their way to a real S3 server: in order, no more at once than agreed, and none forgotten."""

from __future__ import annotations

import http.client
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager
from typing import Any
from urllib.parse import urlsplit

import pytest
from s3fs import S3FileSystem

from airflow_provider_modelmax.storage import s3 as s3_upload
from airflow_provider_modelmax.storage.s3 import AT_ONCE, PART, S3Upload
from tests.stack.bare_server import Answers, answering
from tests.stack.processes import wait_until
from tests.stack.s3 import OWNER, SeaweedFS


@pytest.fixture(scope="module")
def server() -> Iterator[SeaweedFS]:
    with SeaweedFS() as server:
        yield server


@pytest.fixture
def fs(server: SeaweedFS) -> S3FileSystem:
    return S3FileSystem(key=OWNER.login, secret=OWNER.password, endpoint_url=server.url)


@pytest.fixture
def path(server: SeaweedFS) -> str:
    return f"{server.bucket}/{uuid.uuid4().hex}"


@pytest.fixture(autouse=True)
def _all_room_is_given_back() -> Iterator[None]:
    yield
    taken = [s3_upload._on_their_way.acquire(blocking=False) for _ in range(AT_ONCE)]
    assert all(taken)
    for _ in taken:
        s3_upload._on_their_way.release()


def numbered(size: int) -> bytes:
    """Return bytes of which no two parts are alike."""
    return b"".join(number.to_bytes(8, "big") for number in range(size // 8 + 1))[:size]


@pytest.mark.parametrize("size", [0, 1, PART - 1, PART, PART + 1, 3 * PART, 4 * PART + 12_345])
@pytest.mark.parametrize("chunk", [1_000_000, 7 * 1_000_000])
def test_what_was_written_stands_there_in_order(fs, path, server, size, chunk):
    upload, data = S3Upload(fs, path, {"ContentType": "video/mp4"}), numbered(size)
    for begin in range(0, size, chunk):
        assert upload.write(data[begin : begin + chunk]) == len(data[begin : begin + chunk])
    assert server.list_objects(path.partition("/")[2]) == {}
    upload.close()
    assert server.read(path.partition("/")[2]) == data
    assert fs.info(path, refresh=True)["ContentType"] == "video/mp4"
    assert server.list_multipart_uploads() == []


@pytest.mark.parametrize("size", [1, PART, 3 * PART + 1])
def test_what_is_discarded_leaves_nothing(fs, path, server, size):
    upload = S3Upload(fs, path, {})
    upload.write(bytes(size))
    upload.discard()
    assert server.list_objects(path.partition("/")[2]) == {}
    assert server.list_multipart_uploads() == []


class Gate:
    """Holds parts back on their way, and counts them."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.open, self.waiting, self.most = threading.Event(), 0, 0
        send, gate = S3FileSystem._call_s3, self

        async def held_back(fs: Any, method: str, *args: Any, **kwargs: Any) -> Any:
            if method == "upload_part":
                gate.waiting += 1
                gate.most = max(gate.most, gate.waiting)
                while not gate.open.is_set():
                    await s3_upload.asyncio.sleep(0.01)
                gate.waiting -= 1
            return await send(fs, method, *args, **kwargs)

        monkeypatch.setattr(S3FileSystem, "_call_s3", held_back)


@pytest.mark.parametrize("files", [1, 2, 5])
def test_no_more_parts_are_on_their_way_than_agreed_however_many_files_there_are(fs, path, server, files, monkeypatch):
    gate, data = Gate(monkeypatch), numbered(4 * PART)

    def write(number: int) -> None:
        upload = S3Upload(fs, f"{path}-{number}", {})
        upload.write(data)
        upload.close()

    with ThreadPoolExecutor(files) as pool:
        writing = [pool.submit(write, number) for number in range(files)]
        # A file that finds no room sends its part all the same, and waits for it.
        wait_until(lambda: gate.waiting >= max(AT_ONCE, files - AT_ONCE), 10, "parts are on their way")
        gate.open.set()
        for each in writing:
            each.result()
    assert gate.most <= AT_ONCE + files
    for number in range(files):
        assert server.read(f"{path}-{number}".partition("/")[2]) == data


def test_it_takes_more_while_parts_are_on_their_way(fs, path, monkeypatch):
    gate = Gate(monkeypatch)
    upload = S3Upload(fs, path, {})
    upload.write(bytes(AT_ONCE * PART + PART - 1))
    wait_until(lambda: gate.waiting == AT_ONCE, 10, "parts are on their way")
    gate.open.set()
    upload.close()
    assert fs.info(path, refresh=True)["size"] == (AT_ONCE + 1) * PART - 1


def test_a_part_that_the_store_refuses_ends_the_upload(fs, path, server):
    upload = S3Upload(fs, path, {})
    upload.write(bytes(PART))
    key = path.partition("/")[2]
    (begun,) = server.client().list_multipart_uploads(Bucket=server.bucket, Prefix=key)["Uploads"]
    server.client().abort_multipart_upload(Bucket=server.bucket, Key=key, UploadId=begun["UploadId"])
    with pytest.raises(FileNotFoundError):
        upload.write(bytes(5 * PART))
    upload.discard()
    assert server.list_objects(key) == {}


def throttled(server: SeaweedFS, part: int) -> AbstractContextManager[str]:
    """Stand before the store, and answer SlowDown once to a part that has come."""
    store, pending = urlsplit(server.url), f"partNumber={part}"

    class Throttle(Answers):
        def answer(self, body: bytes) -> None:
            nonlocal pending
            if pending and pending in self.path:
                pending = ""
                self.say(503, b"<Error><Code>SlowDown</Code><Message>Reduce your request rate.</Message></Error>")
                return
            connection = http.client.HTTPConnection(store.hostname, store.port, timeout=30)
            connection.request(self.command, self.path, body, dict(self.headers))
            answer = connection.getresponse()
            ours = {"content-length", "transfer-encoding", "connection"}
            headers = {name: value for name, value in answer.getheaders() if name.lower() not in ours}
            self.say(answer.status, answer.read(), headers)
            connection.close()

    return answering(Throttle)


@pytest.mark.parametrize("part", [1, 2])
def test_a_part_that_the_store_is_too_busy_for_is_sent_again_whole(path, server, part):
    """S3fs calls again, with the same file."""
    once = {"retries": {"total_max_attempts": 1}}
    with throttled(server, part) as url:
        fs = S3FileSystem(key=OWNER.login, secret=OWNER.password, endpoint_url=url, config_kwargs=once)
        upload, data = S3Upload(fs, path, {}), numbered(2 * PART - 1000)
        upload.write(data)
        upload.close()
    assert server.read(path.partition("/")[2]) == data


def test_others_may_send_parts_over_the_same_filesystem(fs, path, server):
    upload = S3Upload(fs, path, {})
    upload.write(bytes(2 * PART))
    upload.close()
    with fs.open(f"{path}-theirs", "wb", block_size=PART) as theirs:
        theirs.write(bytes(2 * PART))
    assert fs.info(f"{path}-theirs", refresh=True)["size"] == 2 * PART
