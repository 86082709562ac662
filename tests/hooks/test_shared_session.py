"""A thousand who wait over one connection: one lookup, one session, also when keys change and lookups fail."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from airflow.sdk import Connection

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks import shared_session as room
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.hooks.conftest import NONE

CROWD = 50


def together(story: Callable[[list[ModelMaxHook]], Awaitable[Any]]) -> Any:
    """Run a story with a crowd of hooks in one loop."""

    async def run() -> Any:
        crowd = [ModelMaxHook() for _ in range(CROWD)]
        try:
            return await story(crowd)
        finally:
            for each in crowd:
                await each.aclose()
            assert room._sessions[asyncio.get_running_loop()] == {}

    return asyncio.run(run())


async def all_ask(crowd: list[ModelMaxHook], job: Any = NONE) -> list[Any]:
    return await asyncio.gather(*(each.aget_status(job) for each in crowd), return_exceptions=True)


def test_a_crowd_looks_up_once_and_shares_a_session_that_the_last_one_closes(connect, simulator, looked_up):
    connect(simulator.url)

    async def story(crowd: list[ModelMaxHook]) -> tuple[Any, Any]:
        answers = await all_ask(crowd)
        assert {type(each) for each in answers} == {api.BadRequestError}
        session = crowd[0]._session._transport._session
        for each in crowd[1:]:
            await each.aclose()
        return session, session.closed

    session, closed_early = together(story)
    assert looked_up == ["modelmax_default"]
    assert (closed_early, session.closed) == (False, True)
    assert simulator.ledger.count("status") == CROWD


def test_a_new_key_is_looked_up_once_by_all(connect, simulator, looked_up):
    connect(simulator.url, "sk-old")
    simulator.settings.key = "sk-old"

    async def story(crowd: list[ModelMaxHook]) -> None:
        await all_ask(crowd)
        simulator.settings.key = "sk-new"
        connect(simulator.url, "sk-new")
        assert {type(each) for each in await all_ask(crowd)} == {api.BadRequestError}

    together(story)
    assert len(looked_up) == 2


def test_calls_under_way_get_their_answers_when_the_key_is_changed_beside_them(connect, simulator):
    connect(simulator.url, "sk-old")
    simulator.settings.key = "sk-old"

    async def story(crowd: list[ModelMaxHook]) -> None:
        await all_ask(crowd)
        old = crowd[0]._session._transport
        simulator.fault("status", "slow_answer", seconds=0.3, times=CROWD - 1)
        slow = asyncio.ensure_future(all_ask(crowd[1:]))
        while simulator.ledger.count("status") < 2 * CROWD - 1:  # noqa: ASYNC110 - it runs in a thread
            await asyncio.sleep(0.01)
        simulator.settings.key = "sk-new"
        connect(simulator.url, "sk-new")
        assert {type(each) for each in await all_ask(crowd[:1])} == {api.BadRequestError}
        assert not old._session.closed
        assert {type(each) for each in await slow} == {api.BadRequestError}
        assert old._session.closed

    together(story)


def test_a_revoked_key_is_no_storm_of_look_ups(connect, simulator, looked_up):
    connect(simulator.url, "sk-old")
    simulator.settings.key = "sk-old"

    async def story(crowd: list[ModelMaxHook]) -> None:
        await all_ask(crowd)
        simulator.settings.key = "sk-new"
        for _ in range(3):
            assert {type(each) for each in await all_ask(crowd)} == {api.UnauthorizedError}

    together(story)
    assert len(looked_up) == 2


def test_a_connection_that_leads_elsewhere_is_noticed_after_a_while(connect, simulator, looked_up, monkeypatch):
    connect("http://127.0.0.1:9")

    async def story(crowd: list[ModelMaxHook]) -> None:
        assert {type(each) for each in await all_ask(crowd)} == {api.TransportError}
        connect(simulator.url)
        assert {type(each) for each in await all_ask(crowd)} == {api.TransportError}
        monkeypatch.setattr(room, "LOOK_UP_EVERY", -1)
        assert {type(each) for each in await all_ask(crowd[:1])} == {api.BadRequestError}

    together(story)
    assert len(looked_up) == 2


def test_a_look_up_that_fails_leaves_the_way_that_is_known(connect, simulator, monkeypatch):
    connect(simulator.url)

    async def broken(conn_id: str) -> object:
        raise ConnectionError("no answer from the supervisor")

    async def story(crowd: list[ModelMaxHook]) -> None:
        await all_ask(crowd)
        monkeypatch.setattr(room, "LOOK_UP_EVERY", -1)
        monkeypatch.setattr(ModelMaxHook, "aget_connection", staticmethod(broken))
        assert {type(each) for each in await all_ask(crowd)} == {api.BadRequestError}

    together(story)


def test_a_first_look_up_that_fails_is_told_to_everybody_and_made_again(connect, simulator, monkeypatch):
    connect(simulator.url)
    look_up = ModelMaxHook.aget_connection

    async def broken(conn_id: str) -> object:
        raise ConnectionError("no answer from the supervisor")

    async def story(crowd: list[ModelMaxHook]) -> None:
        monkeypatch.setattr(ModelMaxHook, "aget_connection", staticmethod(broken))
        assert {type(each) for each in await all_ask(crowd)} == {api.TransportError}
        monkeypatch.setattr(ModelMaxHook, "aget_connection", staticmethod(look_up))
        assert {type(each) for each in await all_ask(crowd)} == {api.BadRequestError}

    together(story)


def test_a_hook_that_finds_its_connections_elsewhere_shares_nothing_with_others(connect, simulator):
    connect(simulator.url, "sk-one")
    simulator.settings.key = "sk-another"

    class FromAnotherPlace(ModelMaxHook):
        @classmethod
        async def aget_connection(cls, conn_id: str) -> Connection:
            return Connection(conn_id=conn_id, conn_type="modelmax", host=simulator.url, password="sk-another")

    async def both() -> list[Any]:
        hooks = [ModelMaxHook(), FromAnotherPlace()]
        try:
            return await all_ask(hooks)
        finally:
            for each in hooks:
                await each.aclose()

    assert [type(each) for each in asyncio.run(both())] == [api.UnauthorizedError, api.BadRequestError]


def test_a_hook_that_is_used_in_a_second_loop_asks_there(connect, simulator):
    connect(simulator.url)
    hook = ModelMaxHook()

    async def ask() -> Any:
        (answer,) = await all_ask([hook])
        await hook._session._transport.close()  # but the hook is not
        return answer

    assert [type(asyncio.run(ask())) for _ in range(2)] == [api.BadRequestError] * 2
