"""The connection: looked up, missing, tested, its key changed, and shared in an event loop."""

from __future__ import annotations

import asyncio
import json
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest
from airflow.providers.common.compat.sdk import BaseHook
from airflow.sdk.exceptions import ErrorType
from airflow.sdk.execution_time import task_runner
from airflow.sdk.execution_time.comms import ConnectionResult, ErrorResponse, GetConnection

from airflow_provider_modelmax import airflow_errors, api
from airflow_provider_modelmax.api import DestinationError, StorageError
from airflow_provider_modelmax.hooks import connection
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.storage.objects import size_of
from tests.airflow_versions import AIRFLOW
from tests.hooks.conftest import NONE, statuses
from tests.stack.listener import answer


@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_missing_connection_says_how_to_make_one(colour):
    hook = ModelMaxHook("nobody")
    with pytest.raises(api.ConnectionSetupError, match="airflow connections add nobody --conn-type modelmax"):
        hook.get_status(NONE) if colour == "sync" else asyncio.run(hook.aget_status(NONE))


@pytest.fixture
def api_server_away(monkeypatch):
    """Answer as Airflow's supervisor does while its API server is away."""
    away = ErrorResponse(error=ErrorType.API_SERVER_ERROR)
    asked = []

    def send(message: object) -> object:
        asked.append(message)
        return away if isinstance(message, GetConnection) else None

    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", SimpleNamespace(send=send), raising=False)
    return asked


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before, the SDK raises another error when the API server is away")
@pytest.mark.parametrize("colour", ["sync", "async"])
def test_a_connection_that_the_api_server_did_not_give_may_exist_and_the_task_is_retried(api_server_away, colour):
    hook = ModelMaxHook("there")
    with pytest.raises(api.ConnectionSetupError, match="or Airflow's API server did not answer") as caught:
        hook.get_status(NONE) if colour == "sync" else asyncio.run(hook.aget_status(NONE))
    assert "it does not exist, or" in str(caught.value)
    assert not isinstance(caught.value, airflow_errors.NOT_RETRYABLE)
    assert api_server_away


@pytest.mark.skipif(AIRFLOW < (3, 3), reason="before, the SDK raises another error when the API server is away")
def test_a_stores_connection_that_the_api_server_did_not_give_may_exist(api_server_away):
    with pytest.raises(DestinationError, match="it does not exist, or Airflow's API server did not answer") as caught:
        size_of("s3://store@videos/take/")
    assert not caught.value.leads_nowhere
    assert api_server_away


def test_a_look_up_of_a_stores_connection_that_fails_is_retried(monkeypatch):
    def fail(conn_id: str) -> None:
        raise PermissionError("denied by the Execution API")

    monkeypatch.setattr(BaseHook, "get_connection", fail)
    with pytest.raises(StorageError, match=r"s3://.*look up the connection 'denied': PermissionError: denied by"):
        size_of("s3://denied@videos/take/")


@pytest.mark.parametrize("conn_type", ["http", "postgres", "openai", "HTTP", "modelmax_2", "aws"])
def test_the_password_of_a_connection_of_another_type_is_sent_nowhere(ask, simulator, monkeypatch, conn_type):
    about = {"conn_type": conn_type, "host": simulator.url, "password": "hunter2-of-another"}
    monkeypatch.setenv("AIRFLOW_CONN_WAREHOUSE", json.dumps(about))
    hook = ModelMaxHook("warehouse")
    with pytest.raises(api.ConnectionSetupError) as caught:
        ask(hook)
    said = str(caught.value)
    assert f"The type of connection 'warehouse' is '{conn_type}', but must be 'modelmax'" in said
    assert "in the UI, in the environment variable (AIRFLOW_CONN_…), or in the secrets backend" in said
    assert "hunter2" not in said
    ok, message = hook.test_connection()
    assert not ok
    assert "warehouse" not in message  # behind the test button it is an id that Airflow has made up
    assert simulator.ledger.calls() == []


@pytest.mark.parametrize("conn_type", [None, "", "generic", "modelmax", "ModelMax"])
def test_a_connection_of_our_type_or_of_none_is_taken(ask, simulator, monkeypatch, conn_type):
    about = {"conn_type": conn_type, "host": simulator.url, "password": simulator.key}
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(about))
    with pytest.raises(api.BadRequestError, match="no such request"):
        ask(ModelMaxHook())


@pytest.mark.parametrize("text", ['{"conn_type": "modelmax", "password": "sk-hidden",}', "modelmax://:sk-hid/den@"])
def test_a_connection_that_airflow_cannot_parse_is_told_from_one_that_does_not_exist(ask, monkeypatch, text):
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", text)
    with pytest.raises(api.ModelMaxError, match="check that its JSON or URI is valid") as caught:
        ask(ModelMaxHook())
    assert "sk-hid" not in str(caught.value)


def test_a_connection_uri_without_a_type_is_taken(simulator, monkeypatch):
    host = simulator.url.replace(":", "%3A").replace("/", "%2F")
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", f"://:{simulator.key}@{host}/")
    assert ModelMaxHook().test_connection() == (True, "ModelMax answered and accepted the API key.")


def test_a_subclass_may_have_a_connection_type_of_its_own(simulator, monkeypatch):
    class OursHook(ModelMaxHook):
        conn_type = "our_modelmax"

    about = {"conn_type": "our_modelmax", "host": simulator.url, "password": simulator.key}
    monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(about))
    assert OursHook().test_connection()[0]
    assert not ModelMaxHook().test_connection()[0]


def test_a_failing_look_up_of_the_connection_can_pass(monkeypatch, slept):
    def fail(conn_id: str) -> None:
        raise RuntimeError("the API server restarts")

    hook = ModelMaxHook()
    monkeypatch.setattr(hook, "get_connection", fail)
    with pytest.raises(
        api.TransportError,
        match=r"could not look up connection 'modelmax_default': RuntimeError: the API server restarts",
    ) as caught:
        hook.get_status(NONE)
    assert not caught.value.reached
    assert len(slept) == 4


def test_a_connection_is_looked_up_once(hook, job, monkeypatch):
    looked_up = []
    monkeypatch.setattr(ModelMaxHook, "get_connection", lambda self, conn_id: looked_up.append(conn_id))
    for _ in range(3):
        hook.get_status(job)
    assert looked_up == []


def test_threads_that_begin_at_once_look_a_connection_up_one_after_another(modelmax_conn, simulator, monkeypatch):
    hook, looking, looked_up = ModelMaxHook(modelmax_conn), threading.Lock(), []
    found = BaseHook.get_connection

    def alone(conn_id: str) -> object:
        assert looking.acquire(blocking=False), "two threads talk over the one socket of Airflow's supervisor"
        time.sleep(0.1)
        looking.release()
        looked_up.append(conn_id)
        return found(conn_id)

    monkeypatch.setattr(ModelMaxHook, "get_connection", staticmethod(alone))
    with ThreadPoolExecutor(4) as pool:
        assert [answered for answered, _ in pool.map(lambda _: hook.test_connection(), range(4))] == [True] * 4
    assert looked_up == ["modelmax_default"]


# Testing the connection


def test_a_good_key_is_told_free_of_charge(hook, simulator):
    assert hook.test_connection() == (True, "ModelMax answered and accepted the API key.")
    assert [call.call for call in simulator.ledger.calls()] == ["status"]
    assert simulator.ledger.jobs == {}
    assert simulator.ledger.bills == []


def test_a_wrong_key_is_told(connect, simulator):
    good, message = connect(simulator.url, "sk-wrong").test_connection()
    assert not good
    assert "Put a valid API key into the password" in message
    assert "sk-wrong" not in message


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (
            {"kind": "error", "status": 404, "html": True},
            "does not look like ModelMax. Check the host of this connection.",
        ),
        ({"kind": "error", "status": 503, "html": True}, "answered 503"),
        ({"kind": "error", "status": 500}, "answered 500"),
        ({"kind": "html_200"}, "not with a JSON object"),
        ({"kind": "redirect", "to": "https://login.example/"}, "redirects to login.example"),
    ],
)
def test_a_gateway_is_no_good_connection(hook, simulator, fault, words):
    simulator.fault("any", **fault)
    good, message = hook.test_connection()
    assert not good
    assert words in message
    assert len(simulator.ledger.calls()) == 1


def test_an_answer_to_the_test_is_good_whatever_it_says_of_the_job(connect, listener):
    listener.answer = answer(b'{"request_id": "connection-test", "status": "FAILED"}')
    assert connect(listener.url).test_connection()[0]


def test_a_host_where_nobody_listens_is_no_good_connection(connect, slept, free_port):
    good, message = connect(f"http://127.0.0.1:{free_port}").test_connection()
    assert not good
    assert slept == []
    assert "Connection refused" in message


@pytest.mark.parametrize(("host", "password"), [("modelmax", "sk-1"), ("https://gw.example", "")])
def test_a_connection_that_cannot_be_used_is_no_good_one(connect, host, password):
    good, message = connect(host, password).test_connection()
    assert not good
    assert "of this connection" in message
    assert "modelmax_default" not in message


@pytest.mark.parametrize(
    ("status", "body"),
    [
        ("404 Not Found", b"404:Not Found"),
        ("404 Not Found", b'{"detail": "Not Found"}'),
        ("404 Not Found", b'{"error": {"message": "Invalid URL", "type": "invalid_request_error"}}'),
        ("400 Bad Request", b'{"error": {"message": "no", "type": "invalid_request_error"}}'),
        ("405 Method Not Allowed", b""),
        ("200 OK", b"<html>Welcome</html>"),
        ("200 OK", b'{"hello": "world"}'),
        ("204 No Content", b""),
    ],
)
def test_a_host_of_another_service_does_not_look_like_modelmax(connect, listener, status, body):
    listener.answer = answer(body, status)
    good, message = connect(listener.url).test_connection()
    assert not good
    assert message.startswith(f"{listener.url} does not look like ModelMax. Check the host of this connection.")


def test_a_connection_without_balance_is_a_good_one(connect, listener):
    listener.answer = answer(
        b'{"error": {"message": "top up", "type": "insufficient_balance"}}', "402 Payment Required"
    )
    assert connect(listener.url).test_connection()[0]


def test_a_missing_connection_is_no_good_one():
    assert ModelMaxHook("nobody").test_connection()[0] is False


# In an event loop


def test_in_a_loop_the_connection_is_looked_up_once_and_a_call_is_made_once(modelmax_conn, simulator, looked_up):
    async def ask() -> None:
        hook = ModelMaxHook(modelmax_conn)
        for _ in range(3):
            with pytest.raises(api.BadRequestError):
                await hook.aget_status(NONE)
        simulator.fault("status", "error", status=503)
        with pytest.raises(api.TemporaryError):
            await hook.aget_status(NONE)
        await hook.aclose()
        await hook.aclose()

    asyncio.run(ask())
    assert looked_up == ["modelmax_default"]
    assert statuses(simulator, "status") == [400, 400, 400, 503]


def test_in_a_loop_the_job_that_is_asked_for_is_the_one_in_the_dict_at_that_moment(hook):
    async def ask() -> tuple[list[api.Job], list[str]]:
        jobs = [await asyncio.to_thread(hook.submit_video, "veo-3.1", prompt) for prompt in ("a boat", "a pier")]
        asked: dict[str, str] = {}
        answered = []
        for job in (*jobs, jobs[0]):
            asked.update(job.as_dict())
            answered.append((await hook.aget_status(asked)).request_id)
        answered.append((await hook.aget_status(jobs[1])).request_id)
        await hook.aclose()
        return jobs, answered

    (boat, pier), answered = asyncio.run(ask())
    assert answered == [boat.request_id, pier.request_id, boat.request_id, pier.request_id]


def test_a_key_that_was_changed_while_waiting_is_taken_up(connect, simulator):
    hook = connect(simulator.url, "sk-old")
    simulator.settings.key = "sk-old"

    async def ask() -> str:
        job = await asyncio.to_thread(hook.submit_video, "veo-3.1", "a boat")
        await hook.aget_status(job)
        simulator.settings.key = "sk-new"
        connect(simulator.url, "sk-new")
        answered = await hook.aget_status(job)
        await hook.aclose()
        return answered.request_id

    assert asyncio.run(ask()) in simulator.ledger.jobs
    assert statuses(simulator, "status") == [200, 401, 200]


def test_a_key_that_is_refused_and_was_not_changed_is_asked_with_once(connect, simulator):
    async def ask() -> None:
        hook = connect(simulator.url, "sk-revoked")
        try:
            await hook.aget_status(NONE)
        finally:
            await hook.aclose()

    with pytest.raises(api.UnauthorizedError):
        asyncio.run(ask())
    assert statuses(simulator, "status") == [401]


def test_in_a_loop_secrets_are_masked_from_another_thread(connect, simulator, monkeypatch):
    threads = []
    monkeypatch.setattr(connection, "mask_secret", lambda _: threads.append(threading.get_ident()))
    hook = connect(simulator.url, "sk-simulator", proxy="http://127.0.0.1:9")

    async def ask() -> int:
        await connection.alook_up(hook, hook.modelmax_conn_id)
        return threading.get_ident()

    assert asyncio.run(ask()) not in threads
    assert len(threads) == 2  # key and proxy; what Airflow masks by itself in the loop before 3.3 is not ours


def test_a_connection_of_the_database_is_found_where_dag_test_runs_the_trigger(simulator, monkeypatch):
    rest = dict.fromkeys(("login", "schema", "port", "extra"))
    about = {"conn_id": "stored", "conn_type": "modelmax", "host": simulator.url, "password": simulator.key}
    found = ConnectionResult(**about, **rest)
    inline = SimpleNamespace(send=lambda message: found if isinstance(message, GetConnection) else None)
    monkeypatch.setattr(task_runner, "SUPERVISOR_COMMS", inline, raising=False)
    with pytest.raises(api.BadRequestError, match="no such request"):
        asyncio.run(ModelMaxHook("stored").aget_status(NONE))


def test_key_and_proxy_are_masked_in_logs(connect, simulator, monkeypatch):
    masked = []
    monkeypatch.setattr(connection, "mask_secret", masked.append)
    with pytest.raises(api.TransportError):
        asyncio.run(connect(simulator.url, "sk-1", proxy="http://me:p%40w@127.0.0.1:9").aget_status(NONE))
    assert masked == ["sk-1", "http://me:p%40w@127.0.0.1:9", "p%40w", "p@w"]
