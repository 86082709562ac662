"""Concurrent calls: a few at once, more if answers are slow, and no burst after an outage."""

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
                if self.at_once == room.INITIAL_SLOTS:
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
    monkeypatch.setattr(room, "GROW_AFTER", 10)  # calls are queued on a busy machine as well

    async def story() -> None:
        async with crowd_at(connect, 300) as (service, all_ask):
            assert kinds(await all_ask()) == {"JobStatus": 300}
            assert service.most <= room.INITIAL_SLOTS

    asyncio.run(story())


def test_with_slow_answers_there_are_more_slots_and_never_more_than_the_maximum(connect, monkeypatch):
    monkeypatch.setattr(room, "MAX_SLOTS", 60)
    monkeypatch.setattr(room, "GROW_EVERY", 0.01)

    async def story() -> None:
        async with crowd_at(connect, 400) as (service, all_ask):
            service.seconds = 0.2
            assert kinds(await all_ask()) == {"JobStatus": 400}
            assert service.most == 60

    asyncio.run(story())


def test_a_slot_is_added_for_each_step_that_calls_are_queued_beyond_the_first_half_second(connect):
    async def story() -> None:
        async with crowd_at(connect, 200) as (service, all_ask):
            service.seconds = 0.2
            began = time.monotonic()
            assert kinds(await all_ask()) == {"JobStatus": 200}
            assert (
                room.INITIAL_SLOTS
                < service.most
                <= room.INITIAL_SLOTS + (time.monotonic() - began - room.GROW_AFTER) / room.GROW_EVERY
            )

    asyncio.run(story())


def test_slots_that_are_no_longer_needed_are_removed_with_their_connections(connect, monkeypatch):
    monkeypatch.setattr(room, "SHRINK_AFTER", 0.02)

    async def story() -> None:
        async with crowd_at(connect, 400) as (service, all_ask):
            service.seconds = 0.2
            await all_ask()
            service.seconds = 0.0
            before = service.connections
            assert before > room.INITIAL_SLOTS
            for _ in range(60):  # without a queue
                await asyncio.sleep(0.025)
                assert kinds(await all_ask(room.INITIAL_SLOTS)) == {"JobStatus": room.INITIAL_SLOTS}
            await asyncio.sleep(0.1)
            assert service.connections <= room.INITIAL_SLOTS < before

    asyncio.run(story())


def test_calls_queued_during_an_outage_are_not_sent_when_the_service_answers_again(connect, monkeypatch):
    monkeypatch.setattr(room, "MAX_QUEUE_TIME", 0.3)

    async def story() -> None:
        async with crowd_at(connect, 300) as (service, all_ask):
            service.goes_on.clear()
            service.heard.clear()
            asking = asyncio.create_task(all_ask())
            await service.is_full.wait()  # by then the others are queued
            await asyncio.sleep(2 * room.MAX_QUEUE_TIME)
            service.goes_on.set()
            answers = await asking
            assert kinds(answers) == {"JobStatus": room.INITIAL_SLOTS, "BusyError": 300 - room.INITIAL_SLOTS}
            assert len(service.heard) == room.INITIAL_SLOTS
            assert kinds(await all_ask()) == {"JobStatus": 300}

    asyncio.run(story())


def test_calls_queued_at_a_slow_service_are_all_sent_in_the_end(connect, monkeypatch):
    monkeypatch.setattr(room, "MAX_QUEUE_TIME", 1.5)
    monkeypatch.setattr(room, "MAX_SLOTS", room.INITIAL_SLOTS)

    async def story() -> None:
        async with crowd_at(connect, 500) as (service, all_ask):
            service.seconds = 0.1
            assert kinds(await all_ask()) == {"JobStatus": 500}

    asyncio.run(story())


def test_calls_queued_at_a_service_that_never_answers_are_shed_when_the_first_time_out(connect, monkeypatch):
    monkeypatch.setattr(room, "MAX_QUEUE_TIME", 0.3)

    async def story() -> None:
        async with crowd_at(functools.partial(connect, timeout=1), 100) as (service, all_ask):
            service.goes_on.clear()
            answers = kinds(await all_ask())
            service.goes_on.set()
            assert answers == {"TransportError": room.INITIAL_SLOTS, "BusyError": 100 - room.INITIAL_SLOTS}

    asyncio.run(story())


def test_a_slot_given_to_a_task_that_is_cancelled_at_that_moment_goes_to_the_next():
    async def story() -> None:
        limit = room.ConcurrencyLimit()
        for _ in range(room.INITIAL_SLOTS):
            await limit.acquire()
        first, second = asyncio.create_task(limit.acquire()), asyncio.create_task(limit.acquire())
        await asyncio.sleep(0)
        limit.release(answered=True)
        first.cancel()
        await second
        with pytest.raises(asyncio.CancelledError):
            await first
        for _ in range(room.INITIAL_SLOTS):
            limit.release(answered=True)
        for _ in range(room.INITIAL_SLOTS):
            await asyncio.wait_for(limit.acquire(), 1)
        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(limit.acquire(), 0.01)

    asyncio.run(story())


def test_a_shed_call_says_why():
    error = api.BusyError("Not sent: 20 calls or more were waiting for an answer, for 3 s or longer.")
    assert not error.reached
    assert isinstance(error, api.TransportError)
