"""S3 servers that differ from Amazon's, and buckets that demand something: as their answers say it."""

from __future__ import annotations

import json
import logging
import os
import re
import signal
import subprocess
import sys
import uuid
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest
from fsspec.config import conf, set_conf_env

from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.storage import objects as storage
from airflow_provider_modelmax.storage import s3 as s3_module
from airflow_provider_modelmax.storage.objects import (
    check_writable,
    create_json,
    load_json,
    save_json,
    save_video,
    size_of,
    throwaway,
)
from tests.mp4s import padded
from tests.stack import tls
from tests.stack.processes import PROJECT, child_environment, free_port
from tests.stack.s3 import SeaweedFS
from tests.storage.common import MEBI, SMALL
from tests.stores import S3Store

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.stack.s3_proxy import Proxy

    Behind = Callable[..., S3Store]


@pytest.fixture(autouse=True)
def _warns_once_a_test() -> None:
    s3_module._warn_that_claims_may_collide.cache_clear()


def without_conditional_writes(proxy: Proxy, body: bytes) -> None:
    if "If-None-Match" in proxy.headers and proxy.command == "PUT":
        message = "A header you provided implies functionality that is not implemented"
        proxy.refuse(501, "NotImplemented", message, Header="If-None-Match")
    else:
        proxy.hand_on(body)


def test_a_check_sends_the_conditional_write_and_leaves_nothing(behind: Behind) -> None:
    sent = []

    def answer(proxy: Proxy, body: bytes) -> None:
        sent.append((proxy.command, proxy.headers.get("If-None-Match"), "uploadId" in proxy.path))
        proxy.hand_on(body)

    store = behind(answer)
    check_writable(store.uri("v"))
    assert ("PUT", "*", False) in sent
    assert [is_upload for command, _, is_upload in sent if command == "DELETE"] == [True]  # an abort, of its own right
    assert store.names() == []
    assert store.leftovers() == []


def test_a_store_that_refuses_conditional_writes_takes_claims_with_one_warning(
    behind: Behind, caplog: pytest.LogCaptureFixture
) -> None:
    store = behind(without_conditional_writes)
    with caplog.at_level("WARNING"):
        check_writable(store.uri("v"))
        assert create_json(store.uri("v/x.json"), {"who": "first"})
        assert not create_json(store.uri("v/x.json"), {"who": "second"})
        assert create_json(store.uri("v/y.json"), {"who": "second"})
    assert load_json(store.uri("v/x.json")) == {"who": "first"}
    warnings = [record.getMessage() for record in caplog.records if "conditional writes" in record.getMessage()]
    assert len(warnings) == 1
    assert "begin at the same moment, both may be billed" in warnings[0]
    assert store.names() == ["v/x.json", "v/y.json"]


def test_of_several_who_create_a_document_at_once_the_last_to_write_has_it(behind: Behind) -> None:
    store = behind(without_conditional_writes)
    uri = store.uri("claim.json")
    with ThreadPoolExecutor(4) as pool:
        created = list(pool.map(lambda number: create_json(uri, {"who": number}), range(4)))
    assert created.count(True) == 1
    assert load_json(uri) == {"who": created.index(True)}


def test_a_store_that_compares_no_checksums_is_left_without_the_probe(behind: Behind) -> None:
    def answer(proxy: Proxy, body: bytes) -> None:
        if proxy.headers.get("Content-MD5"):
            store.put(proxy.path.partition(f"/{store.prefix}/")[2].partition("?")[0], body)
            proxy.say(200, b"", {"ETag": '"0"'})
        else:
            proxy.hand_on(body)

    store = behind(answer)
    check_writable(store.uri("v"))
    assert store.names() == []


@pytest.mark.parametrize("refused", ["PUT", "POST"])
@pytest.mark.parametrize(
    ("status", "code", "fields", "said"),
    [
        (
            403,
            "AccessDenied",
            {},
            "access denied (?s:.)*If a policy of the bucket demands encryption headers, see docs",
        ),
        (403, "AccessDenied", {"Header": "x-amz-server-side-encryption"}, "demands encryption headers .*FSSPEC_S3="),
        (400, "InvalidRequest", {"Message": "x-amz-server-side-encryption is required"}, "demands encryption headers"),
        (501, "NotImplemented", {"Header": "x-amz-checksum-crc32"}, "refuses the checksums that botocore adds"),
        (400, "InvalidArgument", {"Message": "aws-chunked encoding is not supported"}, "refuses the checksums that"),
        (501, "NotImplemented", {}, "does not support a part of the request .*request_checksum_calculation"),
        (301, "PermanentRedirect", {"Endpoint": "videos.s3-eu-west-3.amazonaws.com"}, "in another region"),
        (400, "AuthorizationHeaderMalformed", {"Region": "eu-west-3"}, 'in another region.*Put "region_name"'),
        (400, "ExpiredToken", {}, "the credentials have expired"),
        (403, "ExpiredToken", {}, "the credentials have expired"),
        (400, "InvalidBucketName", {}, "does not accept the name of the bucket"),
        (400, "KeyTooLongError", {}, "a name is too long"),
    ],
)
def test_what_a_store_demands_is_named_before_anything_is_spent(
    behind: Behind, refused: str, status: int, code: str, fields: dict[str, str], said: str
) -> None:
    def answer(proxy: Proxy, body: bytes) -> None:
        if proxy.command == refused:
            proxy.refuse(status, code, **{"message": "No.", **fields})
        else:
            proxy.hand_on(body)

    fields = {("message" if name == "Message" else name): value for name, value in fields.items()}
    store = behind(answer)
    calls: list[Callable[[], object]] = [lambda: check_writable(store.uri("v"))]
    if refused == "PUT":
        calls += [lambda: save_json(store.uri("x.json"), {}), lambda: save_video(store.uri("x.mp4"), [SMALL])]
    for call in calls:
        with pytest.raises(DestinationError, match=said):
            call()
    assert store.names() == []
    assert store.leftovers() == []


@pytest.mark.parametrize(
    ("status", "code", "said"),
    [
        (403, "RequestTimeTooSkewed", "The clock of this worker and that of the store differ"),
        (503, "SlowDown", "The store is too busy. Retry later"),
        (429, "TooManyRequests", "The store is too busy. Retry later"),
        (507, "XMinioStorageFull", "The quota is used up. Free space"),
        (403, "QuotaExceeded", "The quota is used up. Free space"),
    ],
)
def test_what_may_pass_is_named_and_retried(behind: Behind, status: int, code: str, said: str) -> None:
    store = behind(lambda proxy, _: proxy.refuse(status, code))
    for call in (lambda: check_writable(store.uri("v")), lambda: save_json(store.uri("x.json"), {})):
        with pytest.raises(StorageError, match=said) as raised:
            call()
        assert not isinstance(raised.value, DestinationError)


def without_checksums(proxy: Proxy, body: bytes) -> None:
    odd = [
        name for name in proxy.headers if name.lower().startswith(("x-amz-checksum", "x-amz-trailer", "x-amz-sdk-ch"))
    ]
    if odd or "aws-chunked" in proxy.headers.get("Content-Encoding", ""):
        proxy.refuse(501, "NotImplemented", "A header you provided is not implemented", Header=(odd or ["?"])[0])
    else:
        proxy.hand_on(body)


def test_the_setting_that_an_error_about_checksums_names_works(behind: Behind) -> None:
    with pytest.raises(DestinationError, match="request_checksum_calculation") as raised:
        check_writable(behind(without_checksums).uri("v"))
    setting = json.loads(re.findall(r'"config_kwargs": (\{.*?\})', str(raised.value))[0])
    store = behind(without_checksums, **setting)
    check_writable(store.uri("v"))
    for video in (SMALL, padded(9 * MEBI)):
        save_video(store.uri("v/x.mp4"), [video], size=len(video))
        assert store.read("v/x.mp4") == video
    assert create_json(store.uri("v/x.json"), {})
    assert load_json(store.uri("v/x.json")) == {}


def test_the_setting_that_an_error_about_encryption_names_works(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    def answer(proxy: Proxy, body: bytes) -> None:
        begins = proxy.command == "POST" and proxy.path.endswith("?uploads")
        writes = proxy.command == "PUT" and "partNumber" not in proxy.path
        if (begins or writes) and proxy.headers.get("x-amz-server-side-encryption") != "AES256":
            proxy.refuse(403, "AccessDenied", "the header x-amz-server-side-encryption is required")
        else:
            seen.append(proxy.command)
            for name in [name for name in proxy.headers if "encryption" in name]:
                assert name  # signed, so it is handed on
            proxy.hand_on(body)

    seen: list[str] = []
    with pytest.raises(DestinationError, match="FSSPEC_S3") as raised:
        check_writable(behind(answer).uri("v"))
    (value,) = re.findall(r"FSSPEC_S3='(.*?)'", str(raised.value))
    monkeypatch.setitem(conf, "s3", {})
    set_conf_env(conf, {"FSSPEC_S3": value})
    store = behind(answer)
    check_writable(store.uri("v"))
    for video in (SMALL, padded(9 * MEBI)):
        save_video(store.uri("v/x.mp4"), [video])
        assert store.read("v/x.mp4") == video
    assert create_json(store.uri("v/x.json"), {})


@pytest.mark.parametrize("endpoint", ["localhost:9000", "minio.example", "//minio:9000", "s3.example.com/path"])
def test_an_endpoint_without_a_scheme_is_named(connected: Callable[..., str], endpoint: str) -> None:
    connection = {"conn_type": "aws", "login": "a", "password": "b", "extra": {"endpoint_url": endpoint}}
    for call in (check_writable, size_of):
        with pytest.raises(DestinationError, match=r"endpoint_url .* Begin it with http:// or https://"):
            call(f"s3://{connected(connection)}@videos/v")


def test_a_server_without_tls_behind_https_is_named(behind: Behind, connected: Callable[..., str]) -> None:
    store = behind(lambda proxy, body: proxy.hand_on(body))
    connection = store.server.connection
    connection["extra"]["endpoint_url"] = store.server.url.replace("http:", "https:")
    connection["extra"]["config_kwargs"]["retries"] = {"total_max_attempts": 1}
    with pytest.raises(StorageError, match=r"""No secure connection could be made.*"verify" in the extra""") as raised:
        check_writable(f"s3://{connected(connection)}@videos/v")
    assert not isinstance(raised.value, DestinationError)


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SeaweedFS]:
    """Run a server whose certificate nobody knows."""
    with SeaweedFS(tls.certificate(tmp_path_factory.mktemp("tls"))) as server:
        yield server


@pytest.mark.parametrize("size", [len(SMALL), 12 * MEBI + 345])
@pytest.mark.parametrize("verify", ["the CA", False])
def test_the_verify_of_a_connection_is_that_of_amazons_operators(
    https: SeaweedFS, connected: Callable[..., str], verify: str | bool, size: int
) -> None:
    assert https.certificate
    connection = https.connection
    connection["extra"]["verify"] = verify and str(https.certificate.ca)
    store = S3Store(https, uuid.uuid4().hex, connected(connection))
    video = SMALL if size == len(SMALL) else padded(size)
    check_writable(store.uri("v"))
    save_video(store.uri("v/x.mp4"), [video], size=len(video))
    assert create_json(store.uri("v/x.json"), {})
    assert store.read("v/x.mp4") == video


def test_a_certificate_that_nobody_knows_is_named(https: SeaweedFS, connected: Callable[..., str]) -> None:
    connection = https.connection
    connection["extra"]["config_kwargs"]["retries"] = {"total_max_attempts": 1}
    with pytest.raises(StorageError, match=r"""No secure connection could be made.*"verify" in the extra"""):
        check_writable(f"s3://{connected(connection)}@videos/v")


def test_a_name_that_is_too_long_is_refused_with_the_limit(behind: Behind) -> None:
    store = behind(lambda proxy, body: proxy.hand_on(body))
    deep = "/".join(["f" * 200] * 4)
    room = 1024 - len(f"{store.prefix}/{deep}/")
    check_writable(store.uri(deep), longest=store.uri(f"{deep}/{'é' * (room // 2)}"))
    for name in ("é" * (room // 2 + 1), "n" * (room + 1)):
        with pytest.raises(DestinationError, match=r"bytes in UTF-8, and the store allows 1,024"):
            check_writable(store.uri(deep), longest=store.uri(f"{deep}/{name}"))
    with pytest.raises(DestinationError, match="a name is too long"):  # this server's limit between slashes
        create_json(store.uri("n" * 256), {})
    assert store.names() == []
    assert store.leftovers() == []


CHECK = """
import os, signal, sys
from airflow_provider_modelmax.storage.s3 import S3Upload
from airflow_provider_modelmax.storage.objects import check_writable

S3Upload.discard = lambda *_: os.kill(os.getpid(), signal.SIGKILL)
check_writable(sys.argv[1])
"""


def test_the_upload_of_a_killed_check_is_aborted_by_the_next(s3: S3Store) -> None:
    environment = child_environment(
        {**s3.environment(), "AIRFLOW_HOME": os.environ["AIRFLOW_HOME"], "PYTHONPATH": str(PROJECT)}
    )
    done = subprocess.run([sys.executable, "-c", CHECK, s3.uri("v")], env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    (left,) = s3.leftovers()
    assert throwaway.PREFIX in left
    s3.begin(f"v/{throwaway.new_name()}")  # of a check that still runs
    s3.begin("v/x.mp4")
    check_writable(s3.uri("v"))
    assert left not in s3.leftovers()
    assert len(s3.leftovers()) == 2


def test_checks_of_one_folder_at_once_do_not_disturb_each_other(s3: S3Store) -> None:
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(check_writable, [s3.uri("v")] * 16)) == [None] * 16
    assert s3.leftovers() == []


def test_a_store_that_is_away_says_so_before_anything_is_spent(
    connected: Callable[..., str], caplog: pytest.LogCaptureFixture
) -> None:
    extra: dict[str, Any] = {
        "endpoint_url": f"http://127.0.0.1:{free_port()}",
        "config_kwargs": {"retries": {"total_max_attempts": 1}},
    }
    folder = f"s3://{connected({'conn_type': 'aws', 'login': 'a', 'password': 'b', 'extra': extra})}@videos/v"
    with caplog.at_level(logging.WARNING), pytest.raises(StorageError, match="the store failed"):
        check_writable(folder, longest=f"{folder}/{uuid.uuid4().hex}")
    assert size_of.__module__ == storage.__name__


def test_a_document_whose_answer_breaks_is_read_again(behind: Behind) -> None:
    broken: list[str] = []

    def answer(proxy: Proxy, body: bytes) -> None:
        if proxy.command == "GET" and len(broken) < 2:
            broken.append(proxy.path)
            proxy.send_response(200)
            proxy.send_header("Content-Length", "100")
            proxy.end_headers()
            proxy.wfile.write(b"{")
            proxy.close_connection = True
        else:
            proxy.hand_on(body)

    store = behind(answer)
    store.put("x.json", b'{"a": 1}')
    assert load_json(store.uri("x.json")) == {"a": 1}
    assert len(broken) == 2


def test_what_the_environment_sets_goes_with_every_call_that_takes_it(
    behind: Behind, monkeypatch: pytest.MonkeyPatch
) -> None:
    sent: set[tuple[str, str | None]] = set()

    def answer(proxy: Proxy, body: bytes) -> None:
        sent.add((proxy.command, proxy.headers.get("x-amz-request-payer")))
        proxy.hand_on(body)

    settings = {"s3_additional_kwargs": {"RequestPayer": "requester", "ContentType": "text/plain", "NoSuch": 1}}
    monkeypatch.setitem(conf, "s3", settings)
    store = behind(answer)
    check_writable(store.uri("v"))
    save_video(store.uri("v/x.mp4"), [padded(9 * MEBI)])
    assert load_json(store.uri("v/y.json")) is None
    assert sent == {(command, "requester") for command in ("POST", "PUT", "GET", "HEAD", "DELETE")}
    assert store.content_type("v/x.mp4") == "video/mp4"


@pytest.mark.parametrize("text", [b"", b'{"a": 1}', None], ids=["empty", "document", "nothing"])
def test_a_document_is_read_in_one_call(behind: Behind, text: bytes | None) -> None:
    sent: list[str] = []

    def answer(proxy: Proxy, body: bytes) -> None:
        sent.append(f"{proxy.command} {proxy.path}")
        proxy.hand_on(body)

    store = behind(answer)
    if text is not None:
        store.put("x.json", text)
    sent.clear()
    if text:
        assert load_json(store.uri("x.json")) == {"a": 1}
    elif text is None:
        assert load_json(store.uri("x.json")) is None
    else:
        with pytest.raises(DestinationError, match="is in the way"):
            load_json(store.uri("x.json"))
    assert len(sent) == 1
