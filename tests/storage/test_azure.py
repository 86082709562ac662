"""Azure Blob Storage: all that a connection may say, and blobs that are written in blocks."""

from __future__ import annotations

import base64
import contextlib
import gc
import hashlib
import io
import os
import signal
import subprocess
import sys
import threading
import time
from typing import TYPE_CHECKING, Any

import pytest

from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.storage.location import locate
from airflow_provider_modelmax.storage.objects import (
    check_writable,
    create_json,
    load_json,
    read_bytes,
    remove,
    save_json,
    save_video,
    sha256_of,
    size_of,
)
from tests.airflow_versions import AirflowTaskTimeout
from tests.mp4s import padded
from tests.stack import tls
from tests.stack.azure import ACCOUNT, KEY, Azurite, signature
from tests.stack.bare_server import Answers, answering
from tests.stack.processes import PROJECT, child_environment, free_port
from tests.stack.s3_proxy import Proxy, in_front_of
from tests.storage.common import MEBI, OLD, SMALL, nothing_new, writing
from tests.stores import CONN_ID, AzureStore, on

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

azure = on("azure")
Connected = "Callable[..., str]"
NO_PAUSE = {"initial_backoff": 0, "increment_base": 0, "random_jitter_range": 0}


def opened(store: AzureStore) -> Any:
    """Begin an upload of x.mp4."""
    place: Any = locate(store.uri("x.mp4"))
    return place.open("video/mp4")


def at(url: str, **extra: Any) -> dict[str, Any]:
    """Return a connection to a server of one's own."""
    text = f"AccountName={ACCOUNT};AccountKey={KEY};BlobEndpoint={url}/{ACCOUNT}"
    return {"conn_type": "wasb", "extra": {"connection_string": text, **extra}}


@contextlib.contextmanager
def behind(
    store: AzureStore, connected: Callable[..., str], answer: Callable[[Proxy, bytes], Any]
) -> Iterator[AzureStore]:
    """Yield the store behind a proxy: each request is answered by what is given, and sent again at once if it fails."""
    with in_front_of(store.server.url.removesuffix(f"/{ACCOUNT}"), answer) as url:
        yield AzureStore(store.server, store.prefix, connected(at(url, **NO_PAUSE)))


# Connections

FORMS = {
    "connection string": {"extra": {"connection_string": "{text}"}},
    "connection string of old": {"extra": {"extra__wasb__connection_string": "{text}"}},
    "key as password": {"password": KEY, "extra": {"account_name": ACCOUNT, "account_host": "{url}"}},
    "key in the extra": {"extra": {"account_name": ACCOUNT, "account_host": "{url}", "account_key": KEY}},
    "names of old": {
        "password": KEY,
        "extra": {"extra__wasb__account_name": ACCOUNT, "extra__wasb__account_host": "{url}"},
    },
    "signature": {"extra": {"account_name": ACCOUNT, "account_host": "{url}", "sas_token": "?{sas}"}},
    "bare signature": {"extra": {"account_name": ACCOUNT, "account_host": "{url}", "sas_token": "{sas}"}},
    "host and signature": {"host": "{url}", "extra": {"sas_token": "?{sas}"}},
    "host and bare signature": {"host": "{url}", "login": ACCOUNT, "extra": {"sas_token": "{sas}"}},
    "host and key": {"host": "{url}", "login": ACCOUNT, "password": KEY},
    "host and shared access key": {"host": "{url}", "login": ACCOUNT, "extra": {"shared_access_key": KEY}},
    "host and account key": {"host": "{url}", "login": ACCOUNT, "extra": {"account_key": KEY}},
}
"""Of a connection to this very server."""


def filled(form: Any, store: AzureStore) -> Any:
    if isinstance(form, dict):
        return {name: filled(value, store) for name, value in form.items()}
    sas = signature(read=True, write=True)
    text = store.server.connection["extra"]["connection_string"]
    return form.replace("{url}", store.server.url).replace("{sas}", sas).replace("{text}", text)


@azure
@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_a_connection_reads_and_writes(store: AzureStore, connected: Connected, form: str) -> None:
    conn_id = connected({"conn_type": "wasb", **filled(FORMS[form], store)})
    folder = store.uri("").rstrip("/").replace(f"{CONN_ID}@", f"{conn_id}@")
    check_writable(folder)
    assert create_json(f"{folder}/x.json", {"a": 1})
    save_video(f"{folder}/x.mp4", [padded(9 * MEBI)])
    assert load_json(f"{folder}/x.json") == {"a": 1}
    assert store.names() == ["x.json", "x.mp4"]


HERE = "https://acc.blob.core.windows.net/"
PRINCIPAL = {"login": "client", "password": "secret"}


@pytest.fixture
def credentials(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """Note with what Microsoft's credentials are made."""
    identity, made = pytest.importorskip("azure.identity"), []
    for name in ("ClientSecretCredential", "DefaultAzureCredential"):

        class Noted(getattr(identity, name)):  # type: ignore[misc]
            def __init__(self, *args: Any, _name: str = name, **kwargs: Any) -> None:
                made.append((_name, *args, *((key, value) for key, value in kwargs.items() if value)))

            def get_token(self, *_: Any, **__: Any) -> None: ...

        monkeypatch.setattr(identity, name, Noted)
        for module in ("hooks.wasb", "utils"):
            with contextlib.suppress(AttributeError):
                monkeypatch.setattr(f"airflow.providers.microsoft.azure.{module}.{name}", Noted)
    for name in [name for name in os.environ if name.startswith("AZURE_")]:
        monkeypatch.delenv(name)
    return made


SECRET = ("ClientSecretCredential", ("tenant", "client", "secret"))
DEFAULT = "DefaultAzureCredential"


@pytest.mark.parametrize(
    ("connection", "url", "credential"),
    [
        ({**PRINCIPAL, "extra": {"tenant_id": "tenant", "account_name": "acc"}}, HERE, SECRET),
        ({**PRINCIPAL, "host": HERE, "extra": {"tenant_id": "tenant"}}, HERE, SECRET),
        ({**PRINCIPAL, "host": HERE.replace(".blob.", ".dfs."), "extra": {"tenant_id": "tenant"}}, HERE, SECRET),
        ({"extra": {"account_name": "acc"}}, HERE, (DEFAULT, ())),
        ({"login": "acc"}, HERE, (DEFAULT, ())),
        ({"extra": {"account_name": "acc", "managed_identity_client_id": "m"}}, HERE, (DEFAULT, ("m",))),
        ({"login": "acc", "extra": {"managed_identity_client_id": "m"}}, HERE, (DEFAULT, ("m",))),
        ({"extra": {"account_name": "acc", "workload_identity_client_id": "w"}}, HERE, (DEFAULT, ("w",))),
        ({"extra": {"account_name": "acc", "account_host": "acc.blob.core.chinacloudapi.cn"}},
         "https://acc.blob.core.chinacloudapi.cn/", (DEFAULT, ())),
        ({"extra": {"account_name": "acc", "anon": True}}, HERE, None),
        ({"login": "acc", "password": KEY}, HERE, ("SharedKey", ("acc",))),
        ({"password": KEY, "extra": {"account_name": "acc"}}, HERE, ("SharedKey", ("acc",))),
        ({"conn_type": "adls", "login": "acc", "password": KEY}, HERE, ("SharedKey", ("acc",))),
        ({"extra": {"connection_string": f"DefaultEndpointsProtocol=https;AccountName=acc;AccountKey={KEY}"}},
         HERE, ("SharedKey", ("acc",))),
        ({"extra": {"account_name": "acc", "sas_token": "?sv=1&sig=s"}}, HERE, ("Sas", ("?sv=1&sig=s",))),
    ],
)  # fmt: skip
def test_what_a_connection_says_arrives(
    connected: Connected, credentials: list[Any], connection: dict[str, Any], url: str, credential: Any
) -> None:
    from airflow_provider_modelmax.storage.azure import AzureLocation

    client = AzureLocation.client_of(connected({"conn_type": "wasb", **connection}))
    assert client.url == url
    assert found(client, credentials) == credential


def found(client: Any, credentials: list[Any]) -> Any:
    """Return kind and content of the credential of a client."""
    kept = client.credential
    if kept is None:
        return None
    if hasattr(kept, "signature"):
        return "Sas", (kept.signature,)
    if hasattr(kept, "account_key"):
        return "SharedKey", (kept.account_name,)
    ((kind, *given),) = credentials
    return kind, tuple(each[1] if isinstance(each, tuple) else each for each in given)


@pytest.mark.parametrize(
    ("environment", "credential"),
    [
        ({"CONNECTION_STRING": f"AccountName=acc;AccountKey={KEY}"}, ("SharedKey", ("acc",))),
        ({"ACCOUNT_NAME": "acc", "ACCOUNT_KEY": KEY}, ("SharedKey", ("acc",))),
        ({"ACCOUNT_NAME": "acc", "SAS_TOKEN": "sv=1&sig=s"}, ("Sas", ("sv=1&sig=s",))),
        ({"ACCOUNT_NAME": "acc", "TENANT_ID": "tenant", "CLIENT_ID": "client", "CLIENT_SECRET": "secret"}, SECRET),
        ({"ACCOUNT_NAME": "acc"}, (DEFAULT, ())),
        ({"ACCOUNT_NAME": "acc", "ANON": "true"}, None),
        ({"ACCOUNT_NAME": "acc", "ANON": "false"}, (DEFAULT, ())),
    ],
)
def test_without_a_connection_the_environment_of_the_worker_says_it(
    monkeypatch: pytest.MonkeyPatch, credentials: list[Any], environment: dict[str, str], credential: Any
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(f"AZURE_STORAGE_{name}", value)
    place: Any = locate("abfs://videos/x.mp4")
    assert place.client.url == HERE
    assert found(place.client, credentials) == credential


def test_a_connection_without_a_credential_takes_that_of_the_environment(
    monkeypatch: pytest.MonkeyPatch, credentials: list[Any], connected: Connected
) -> None:
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_NAME", "another")
    monkeypatch.setenv("AZURE_STORAGE_ACCOUNT_KEY", KEY)
    conn_id = connected({"conn_type": "wasb", "extra": {"account_name": "acc"}})
    place: Any = locate(f"abfs://{conn_id}@videos/x.mp4")
    assert place.client.url == HERE
    assert found(place.client, credentials) == ("SharedKey", ("acc",))


def test_without_an_account_the_error_says_where_to_name_it(credentials: list[Any]) -> None:
    with pytest.raises(DestinationError, match=r"abfs://videos: no storage account is named\. Put account_name"):
        size_of("abfs://videos/x.mp4")
    assert credentials == []


# Blobs


@azure
@pytest.mark.parametrize("size", [1000, 8 * MEBI, 17 * MEBI + 1])
def test_a_writer_that_is_only_forgotten_publishes_nothing(store: AzureStore, size: int) -> None:
    store.put("x.mp4", OLD)
    upload = opened(store)
    assert upload.write(bytes(size)) == size
    del upload
    gc.collect()
    assert nothing_new(store, OLD)


@azure
def test_a_killed_writer_leaves_the_old_blob(store: AzureStore, tmp_path: Path) -> None:
    store.put("x.mp4", OLD)
    with writing(store, tmp_path) as process:
        process.send_signal(signal.SIGKILL)
    assert store.uncommitted("x.mp4") == 2
    assert store.read("x.mp4") == OLD
    video = padded(9 * MEBI)
    save_video(store.uri("x.mp4"), [video])
    assert store.read("x.mp4") == video
    assert store.uncommitted("x.mp4") == 0


@azure
def test_two_writers_of_one_blob_never_mix_their_blocks(store: AzureStore) -> None:
    first, second = opened(store), opened(store)
    first.write(b"1" * 9 * MEBI)
    second.write(b"2" * 9 * MEBI)
    first.write(b"1" * 9 * MEBI)
    second.write(b"2" * 9 * MEBI)
    second.close()
    with pytest.raises(Exception, match="InvalidBlockList"):
        first.close()
    assert store.read("x.mp4") == b"2" * 18 * MEBI


@azure
def test_blocks_that_adlfs_left_do_not_stop_a_video(store: AzureStore) -> None:
    """Earlier versions wrote with it, and a worker may be killed while the new one is installed."""
    from adlfs.spec import AzureBlobFile

    store.stage("x.mp4", AzureBlobFile._get_block_id(), b"half")
    video = padded(9 * MEBI)
    save_video(store.uri("x.mp4"), [video])
    assert store.read("x.mp4") == video


@azure
def test_blocks_of_another_kind_are_named(store: AzureStore) -> None:
    store.put("x.mp4", OLD)
    store.stage("x.mp4", "1", b"half")
    with pytest.raises(DestinationError, match="unfinished upload of another program"):
        save_video(store.uri("x.mp4"), [padded(9 * MEBI)])
    assert store.read("x.mp4") == OLD


@azure
@pytest.mark.parametrize("size", [0, 1, 4 * MEBI, 4 * MEBI + 1, 9 * MEBI])
def test_a_blob_of_any_size_is_read_whole(store: AzureStore, size: int) -> None:
    data = os.urandom(size)
    store.put("x.mp4", data)
    assert sha256_of(store.uri("x.mp4")) == hashlib.sha256(data).hexdigest()
    assert locate(store.uri("x.mp4")).read() == data


@azure
def test_a_blob_that_is_replaced_while_it_is_read_is_no_mixture(store: AzureStore) -> None:
    store.put("x.mp4", bytes(9 * MEBI))
    blocks = locate(store.uri("x.mp4")).blocks()
    next(blocks)
    store.put("x.mp4", b"1" * 9 * MEBI)
    with pytest.raises(Exception, match="ConditionNotMet"):
        next(blocks)


@azure
def test_a_folder_of_a_hierarchical_namespace_is_no_object(store: AzureStore) -> None:
    store.put("x.mp4", b"", metadata={"hdi_isfolder": "true"})
    assert size_of(store.uri("x.mp4")) is None


@azure
@pytest.mark.parametrize("name", ["x.json", "狐 🦊/ü.json", "a?b#c%20&d=+;e.json", "~/[x] 'y'.json"])
def test_what_is_removed_is_gone(store: AzureStore, name: str) -> None:
    save_json(store.uri(name), {})
    assert store.content_type(name) == "application/json"
    remove(store.uri(name))
    remove(store.uri(name))
    assert store.names() == []


# What goes wrong


@azure
@pytest.mark.parametrize("busy", ["comp=block&", "comp=blocklist", "x.json"])
def test_what_a_busy_store_refused_is_sent_again(store: AzureStore, connected: Connected, busy: str) -> None:
    refused = []

    def answer(proxy: Proxy, body: bytes) -> None:
        if busy in proxy.path and len(refused) < 2:
            refused.append(proxy.path)
            proxy.refuse(503, "ServerBusy")
        else:
            proxy.hand_on(body)

    video = padded(9 * MEBI)
    with behind(store, connected, answer) as busy_store:
        save_video(busy_store.uri("x.mp4"), [video])
        save_json(busy_store.uri("x.json"), {})
    assert len(refused) == 2
    assert store.read("x.mp4") == video
    assert store.names() == ["x.json", "x.mp4"]


@azure
def test_a_commit_whose_answer_is_lost_is_repeated(store: AzureStore, connected: Connected) -> None:
    sent = []

    def answer(proxy: Proxy, body: bytes) -> None:
        sent.extend(["commit"] if "comp=blocklist" in proxy.path else [])
        if sent == ["commit"]:
            sent.append("lost")
            proxy.wfile = io.BytesIO()
            proxy.close_connection = True
        proxy.hand_on(body)

    video = padded(9 * MEBI)
    with behind(store, connected, answer) as lossy:
        save_video(lossy.uri("x.mp4"), [video])
    assert sent == ["commit", "lost", "commit"]
    assert store.read("x.mp4") == video


@contextlib.contextmanager
def refusing(connected: Connected, status: int, code: str) -> Iterator[str]:
    """Run a server that answers every request alike, and yield a folder there."""
    text = f"<?xml version='1.0' encoding='utf-8'?><Error><Code>{code}</Code><Message>No.</Message></Error>"

    class Refusal(Answers):
        def answer(self, _: bytes) -> None:
            body = b"" if self.command == "HEAD" else text.encode()
            self.say(status, body, {"x-ms-error-code": code, "Content-Type": "application/xml"})

    with answering(Refusal) as url:
        yield f"abfs://{connected(at(url, retry_total=0))}@videos/v"


def calls_on(folder: str) -> dict[str, Callable[[], object]]:
    return {
        "check": lambda: check_writable(folder),
        "size": lambda: size_of(f"{folder}/x.mp4"),
        "load": lambda: load_json(f"{folder}/x.json"),
        "save": lambda: save_json(f"{folder}/x.json", {}),
        "create": lambda: create_json(f"{folder}/x.json", {}),
        "small": lambda: save_video(f"{folder}/x.mp4", [SMALL]),
        "big": lambda: save_video(f"{folder}/x.mp4", [padded(9 * MEBI)]),
        "hash": lambda: sha256_of(f"{folder}/x.mp4"),
    }


@azure
@pytest.mark.parametrize(
    ("status", "code", "error", "said"),
    [
        (401, "NoAuthenticationInformation", DestinationError, "access denied"),
        (403, "AuthenticationFailed", DestinationError, "access denied"),
        (403, "AuthorizationPermissionMismatch", DestinationError, "access denied"),
        (503, "ServerBusy", StorageError, "The store is too busy"),
        (500, "InternalError", StorageError, "Retry"),
    ],
)
def test_a_refusal_is_named_by_every_call(
    store: AzureStore, connected: Connected, status: int, code: str, error: type[Exception], said: str
) -> None:
    assert store
    with refusing(connected, status, code) as folder:
        for call in calls_on(folder).values():
            with pytest.raises(error, match=said) as raised:
                call()
            assert type(raised.value) is error
        with pytest.raises(StorageError, match="cannot be read"):
            read_bytes(f"{folder}/x.mp4", 10)


@azure
def test_a_container_that_is_not_there_is_named(store: AzureStore, connected: Connected) -> None:
    assert store
    with refusing(connected, 404, "ContainerNotFound") as folder:
        calls = calls_on(folder)
        for name in ("size", "load", "hash"):
            assert calls[name]() is None
        for name in ("check", "save", "create", "small", "big"):
            with pytest.raises(DestinationError, match="the bucket or folder does not exist"):
                calls[name]()
        with pytest.raises(FileNotFoundError):
            read_bytes(f"{folder}/x.mp4", 10)


@azure
@pytest.mark.parametrize(("status", "code"), [(412, "ConditionNotMet"), (409, "BlobAlreadyExists")])
def test_a_document_whose_condition_fails_is_taken(
    store: AzureStore, connected: Connected, status: int, code: str
) -> None:
    assert store
    with refusing(connected, status, code) as folder:
        assert not create_json(f"{folder}/x.json", {})
        for name in ("save", "small", "big"):
            with pytest.raises(StorageError, match=code):
                calls_on(folder)[name]()


@azure
def test_a_signature_is_in_no_error(store: AzureStore, connected: Connected) -> None:
    sas = signature(read=True, write=True)
    secret = base64.b64encode(os.urandom(32)).decode()
    assert store
    assert "sig=" in sas
    extra = {"account_name": ACCOUNT, "account_host": f"http://127.0.0.1:{free_port()}", "retry_total": 0}
    conn_id = connected({"conn_type": "wasb", "extra": {**extra, "sas_token": f"?sv=1&sig={secret}"}})
    for call in calls_on(f"abfs://{conn_id}@videos/v").values():
        with pytest.raises(StorageError) as raised:
            call()
        assert "sig=" not in str(raised.value)


@pytest.fixture(scope="module")
def https(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """Run a server whose certificate nobody knows."""
    with Azurite(tls.certificate(tmp_path_factory.mktemp("tls"))) as server:
        yield server


@azure
@pytest.mark.filterwarnings("ignore:Unverified HTTPS request")
@pytest.mark.parametrize("verify", [True, False], ids=["our CA", "not verified"])
def test_a_certificate_of_ones_own_is_named_in_the_connection(
    store: AzureStore, https: Azurite, connected: Connected, verify: bool
) -> None:
    assert https.certificate
    connection = https.connection
    connection["extra"]["retry_total"] = 0
    with pytest.raises(StorageError, match=r"""No secure connection could be made.*"connection_verify" there"""):
        check_writable(AzureStore(https, store.prefix, connected(connection)).uri("v"))
    connection["extra"]["connection_verify"] = verify and str(https.certificate.ca)
    place = AzureStore(https, store.prefix, connected(connection))
    save_video(place.uri("x.mp4"), [padded(9 * MEBI)])
    assert size_of(place.uri("x.mp4")) == 9 * MEBI
    assert place.names() == ["x.mp4"]


@azure
@pytest.mark.parametrize("held", ["comp=block&", "comp=blocklist", "x.json"])
def test_a_store_that_hangs_does_not_hold_back_a_signal(store: AzureStore, connected: Connected, held: str) -> None:
    let_go = threading.Event()

    def answer(proxy: Proxy, body: bytes) -> None:
        if held in proxy.path and proxy.command == "PUT":
            begun.set()
            let_go.wait(30)
        proxy.hand_on(body)

    def end(*_: object) -> None:
        raise AirflowTaskTimeout

    begun, usual = threading.Event(), signal.signal(signal.SIGTERM, end)

    def kill() -> None:
        begun.wait(30)
        time.sleep(0.3)
        os.kill(os.getpid(), signal.SIGTERM)

    def write() -> None:
        save_json(hanging.uri("x.json"), {})
        save_video(hanging.uri("x.mp4"), [padded(9 * MEBI)])

    with behind(store, connected, answer) as hanging:
        killer = threading.Thread(target=kill)
        killer.start()
        began = time.monotonic()
        try:
            with pytest.raises(AirflowTaskTimeout):
                write()
        finally:
            took = time.monotonic() - began
            signal.signal(signal.SIGTERM, usual)
            let_go.set()
            killer.join()
    assert took < 5


MEMORY = """
import itertools, sys
from airflow_provider_modelmax.storage.objects import save_video
from tests.mp4s import encode

def kib(name):
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) for line in status if line.startswith(name))

head = encode("faststart")
save_video(sys.argv[1], [head])
before = kib("VmRSS")
chunks = (b"x" * (1 << 20) for _ in range(60))
save_video(sys.argv[1], itertools.chain([head + (8 + (60 << 20)).to_bytes(4, "big") + b"free"], chunks))
print("grown by", kib("VmHWM") - before)
"""


@azure
@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_grows_by_less_than_40_mib(store: AzureStore, tmp_path: Path) -> None:
    home = {"AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", MEMORY, store.uri("x.mp4")],
        env=child_environment({**store.environment(), **home}),
        check=True,
        capture_output=True,
        text=True,
    )
    assert int(done.stdout.rpartition("grown by ")[2]) < 40 * 1024
    assert size_of(store.uri("x.mp4")) > 60 * MEBI
