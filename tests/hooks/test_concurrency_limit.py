"""Calls of a crowd: a few at once, more where answers come from afar, and no burst when a service that hung is back."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks import concurrency_limit as room
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.hooks.conftest import NONE
from tests.stack.listener import answer


class SlowService:
    """Answers each call after some seconds, or once it is let go."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.goes_on = asyncio.Event()
        self.goes_on.set()
        self.is_full = asyncio.Event()
        self.at_once = self.most = self.connections = 0
        self.heard: list[float] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        closes = False
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while not closes:
                closes = b"connection: close" in (await reader.readuntil(b"\r\n\r\n")).lower()
                self.at_once += 1
                self.most = max(self.most, self.at_once)
                if self.at_once == room.FEW:
                    self.is_full.set()
                await asyncio.sleep(self.seconds)
                await self.goes_on.wait()
                self.heard.append(time.monotonic())
                self.at_once -= 1
                writer.write(answer(headers="Connection: close\r\n" if closes else ""))
                await writer.drain()
        self.connections -= 1
        writer.close()


@contextlib.asynccontextmanager
async def crowd_at(connect: Any, size: int) -> AsyncIterator[tuple[SlowService, Callable[..., Awaitable[Any]]]]:
    """Give a service and the calls of a crowd to it."""
    service = SlowService()
    server = await asyncio.start_server(service.serve, "127.0.0.1", 0)
    connect(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}")
    hooks = [ModelMaxHook() for _ in range(size)]

    async def all_ask(count: int = size) -> Any:
        return await asyncio.gather(*(each.aget_status(NONE) for each in hooks[:count]), return_exceptions=True)

    try:
        await hooks[0].aget_status(NONE)
        yield service, all_ask
    finally:
        for each in hooks:
            await each.aclose()
        server.close()


def kinds(answers: list[Any]) -> dict[str, int]:
    names = [type(each).__name__ for each in answers]
    return {name: names.count(name) for name in names}


def test_no_more_than_a_few_calls_are_under_way_where_answers_come_at_once(connect, monkeypatch):
    monkeypatch.setattr(room, "LONG_LINE", 10)  # a busy machine makes a line as well

    async def story() -> None:
        async with crowd_at(connect, 300) as (service, all_ask):
            assert kinds(await all_ask()) == {"JobStatus": 300}
            assert service.most <= room.FEW

    asyncio.run(story())


def test_where_answers_come_from_afar_there_are_more_and_never_more_than_most(connect, monkeypatch):
    monkeypatch.setattr(room, "MOST", 60)
    monkeypatch.setattr(room, "STEP", 0.01)

    async def story() -> None:
        async with crowd_at(connect, 400) as (service, all_ask):
            service.seconds = 0.2
            assert kinds(await all_ask()) == {"JobStatus": 400}
            assert service.most == 60

    asyncio.run(story())


def test_a_line_gets_a_lane_more_for_each_step_that_it_stands_beyond_the_first_half_second(connect):
    async def story() -> None:
        async with crowd_at(connect, 200) as (service, all_ask):
            service.seconds = 0.2
            began = time.monotonic()
            assert kinds(await all_ask()) == {"JobStatus": 200}
            assert room.FEW < service.most <= room.FEW + (time.monotonic() - began - room.LONG_LINE) / room.STEP

    asyncio.run(story())


def test_lanes_that_are_not_needed_any_more_close_with_their_connections(connect, monkeypatch):
    monkeypatch.setattr(room, "CALM", 0.02)

    async def story() -> None:
        async with crowd_at(connect, 400) as (service, all_ask):
            service.seconds = 0.2
            await all_ask()
            service.seconds = 0.0
            before = service.connections
            assert before > room.FEW
            for _ in range(60):  # without a line
                await asyncio.sleep(0.025)
                assert kinds(await all_ask(room.FEW)) == {"JobStatus": room.FEW}
            await asyncio.sleep(0.1)
            assert service.connections <= room.FEW < before

    asyncio.run(story())


def test_those_who_stood_in_line_while_the_service_hung_are_not_sent_when_it_answers_again(connect, monkeypatch):
    monkeypatch.setattr(room, "SILENCE", 0.3)

    async def story() -> None:
        async with crowd_at(connect, 300) as (service, all_ask):
            service.goes_on.clear()
            service.heard.clear()
            asking = asyncio.create_task(all_ask())
            await service.is_full.wait()  # by then the others stand in line
            await asyncio.sleep(2 * room.SILENCE)
            service.goes_on.set()
            answers = await asking
            assert kinds(answers) == {"JobStatus": room.FEW, "BusyError": 300 - room.FEW}
            assert len(service.heard) == room.FEW
            assert kinds(await all_ask()) == {"JobStatus": 300}

    asyncio.run(story())


def test_those_who_stand_in_line_at_a_slow_service_are_all_sent_in_the_end(connect, monkeypatch):
    monkeypatch.setattr(room, "SILENCE", 1.5)
    monkeypatch.setattr(room, "MOST", room.FEW)

    async def story() -> None:
        async with crowd_at(connect, 500) as (service, all_ask):
            service.seconds = 0.1
            assert kinds(await all_ask()) == {"JobStatus": 500}

    asyncio.run(story())


def test_those_who_stand_in_line_of_a_service_that_never_answers_are_told_when_the_first_give_up(connect, monkeypatch):
    monkeypatch.setattr(room, "SILENCE", 0.3)

    async def story() -> None:
        async with crowd_at(functools.partial(connect, timeout=1), 100) as (service, all_ask):
            service.goes_on.clear()
            answers = kinds(await all_ask())
            service.goes_on.set()
            assert answers == {"TransportError": room.FEW, "BusyError": 100 - room.FEW}

    asyncio.run(story())


def test_a_lane_given_to_a_task_that_is_cancelled_at_that_moment_goes_to_the_next():
    async def story() -> None:
        lanes = room.Lanes()
        while lanes.enter():
            pass
        first, second = asyncio.create_task(lanes.turn()), asyncio.create_task(lanes.turn())
        await asyncio.sleep(0)
        lanes.leave(answered=True)
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        for _ in range(room.FEW):
            lanes.leave(answered=True)
        assert [lanes.enter() for _ in range(room.FEW + 1)] == [True] * room.FEW + [False]

    asyncio.run(story())


def test_who_is_not_sent_reads_why():
    error = api.BusyError("Not sent: 20 calls or more were waiting for an answer, for 3 s or longer.")
    assert not error.reached
    assert isinstance(error, api.TransportError)
