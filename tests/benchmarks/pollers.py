"""Polls in one event loop, in one way, and returns the cost. A separate process, started by `polling`.

Airflow is imported only in that process, by the chosen way.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import resource
import ssl
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import psutil

from tests.benchmarks.status_server import HTTP, OURS, counted

if TYPE_CHECKING:
    from airflow.triggers.base import BaseTrigger

CONNECTION = "bench"
"""Id of the Airflow connection; its type in each process is the one that the way needs."""

MODEL, ACCOUNT, KEY = "veo-3.1", 1, "sk-a-key-of-the-usual-length-0123456789"

PROBE = 0.02
"""Seconds between two measurements of the event loop's lag."""

Wait = Callable[[int], Awaitable[None]]
"""Polls the job of this number forever."""


@dataclass(frozen=True)
class Order:
    """What to measure.

    :param ways: of `WAYS`; several take turns
    :param url: of the server; https or http
    :param counter: URL of the server's counters
    :param ca: path of the CA bundle
    :param waits: how many poll at the same time
    :param pause: seconds between two polls of each
    :param warm_up: seconds before the measurement
    :param seconds: how long it lasts
    :param core: the CPU core to run on, None for any
    """

    ways: Sequence[str]
    url: str
    counter: str
    ca: str
    waits: int
    pause: float
    warm_up: float
    seconds: float
    core: int | None


@dataclass(frozen=True)
class Cost:
    """What a measurement found.

    :param polls: polls that the server answered
    :param connections: connections that the server accepted
    :param sockets: the most sockets that were open at a time
    :param cpu: CPU seconds of the process
    :param wall: seconds
    :param lag: 99th percentile of the event loop's lag, in seconds
    :param memory: bytes of unshared memory at the end
    """

    polls: int
    connections: int
    sockets: int
    cpu: float
    wall: float
    lag: float
    memory: int


async def poll(order: Order, tell: Callable[[Cost], None]) -> None:
    """Measure once for each line of input, which names a way; nothing polls in between."""
    async with AsyncExitStack() as stack:
        waits = {way: await stack.enter_async_context(WAYS[way](order)) for way in order.ways}
        while way := sys.stdin.readline().strip():
            waiting = [asyncio.create_task(waits[way](number)) for number in range(order.waits)]
            await asyncio.sleep(order.warm_up)
            tell(await _measured(order))
            if over := [each for each in waiting if each.done()]:
                raise RuntimeError(f"{len(over)} of {order.waits} waits ended: {over[0]}")
            for each in waiting:
                each.cancel()
            await asyncio.gather(*waiting, return_exceptions=True)


async def _measured(order: Order) -> Cost:
    before, cpu, wall = counted(order.counter), _cpu(), time.monotonic()
    lag = await _lag(order.seconds)
    cpu, wall, after = _cpu() - cpu, time.monotonic() - wall, counted(order.counter)
    memory = psutil.Process().memory_full_info().uss
    new = {name: after[name] - before[name] for name in ("polls", "connections")}
    return Cost(**new, sockets=after["most_open"], cpu=cpu, wall=wall, lag=lag, memory=memory)


async def _lag(seconds: float) -> float:
    late, end = [0.0], time.monotonic() + seconds
    while (due := time.monotonic() + PROBE) < end:
        await asyncio.sleep(PROBE)
        late.append(time.monotonic() - due)
    await asyncio.sleep(end - time.monotonic())
    return sorted(late)[int(len(late) * 0.99)]


def _cpu() -> float:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime


@asynccontextmanager
async def bare(order: Order) -> AsyncIterator[Wait]:
    """Poll over one bare aiohttp session: the limit."""
    import aiohttp
    from yarl import URL

    import airflow_provider_modelmax.triggers.job  # noqa: F401 - the same surroundings as the others

    context = ssl.create_default_context(cafile=order.ca) if order.url.startswith("https") else True
    headers = {"Authorization": f"Bearer {KEY}", "User-Agent": "airflow-provider/1.0.0", "Accept": "application/json"}
    async with aiohttp.ClientSession(headers=headers, timeout=aiohttp.ClientTimeout(total=60)) as session:

        async def wait(number: int) -> None:
            url = URL(order.url + _path(number))
            while True:
                async with session.get(url, ssl=context) as response:
                    json.loads(await response.read())

        yield wait


@asynccontextmanager
async def aget_status(_: Order) -> AsyncIterator[Wait]:
    """Poll with one of our hooks for each job."""
    from airflow_provider_modelmax import api
    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook

    async def wait(number: int) -> None:
        hook, job = ModelMaxHook(CONNECTION), api.Job.of({"model": MODEL, "request_id": _job(number)})
        while True:
            await hook.aget_status(job)

    yield wait


def ours(order: Order, number: int) -> BaseTrigger:
    """Return our trigger."""
    from airflow_provider_modelmax.triggers.job import ModelMaxJobTrigger

    deadline = datetime.now(timezone.utc) + timedelta(days=1)
    return ModelMaxJobTrigger(CONNECTION, MODEL, _job(number), _path(number), deadline, order.pause)


def dbt(order: Order, number: int) -> BaseTrigger:
    """Return dbt Cloud's trigger."""
    from airflow.providers.dbt.cloud.triggers.dbt import DbtCloudRunJobTrigger

    return DbtCloudRunJobTrigger(CONNECTION, number, time.time() + 86_400, order.pause, ACCOUNT)


def http(order: Order, number: int) -> BaseTrigger:
    """Return the trigger of the HTTP provider's sensor."""
    from airflow.providers.http.triggers.http import HttpSensorTrigger

    return HttpSensorTrigger(endpoint=f"{HTTP}/{number}", http_conn_id=CONNECTION, poke_interval=order.pause)


def idle(_: Order, __: int) -> BaseTrigger:
    """Return a trigger that sleeps, in a process with the same imports as ours."""
    from airflow_provider_modelmax.hooks import aiohttp_transport as async_transport  # noqa: F401
    from airflow_provider_modelmax.hooks import modelmax  # noqa: F401
    from airflow_provider_modelmax.triggers import job  # noqa: F401
    from tests.benchmarks.after_seconds import AfterSeconds

    return AfterSeconds()


def _triggers(make: Callable[[Order, int], BaseTrigger]) -> Callable[[Order], Any]:
    @asynccontextmanager
    async def way(order: Order) -> AsyncIterator[Wait]:
        async def wait(number: int) -> None:
            if make in (dbt, http):  # they do not spread their start, and would all poll at the same moment
                await asyncio.sleep(random.uniform(0, order.pause))
            async for event in make(order, number).run():
                raise RuntimeError(f"the trigger fired: {event!r}")

        yield wait

    return way


WAYS: dict[str, Callable[[Order], Any]] = {
    "bare": bare,
    "aget_status": aget_status,
    **{make.__name__: _triggers(make) for make in (ours, dbt, http, idle)},
}


def _job(number: int) -> str:
    return f"0198a7c4-5d1e-7b3a-9f00-{number:012d}"


def _path(number: int) -> str:
    return f"{OURS}{MODEL}/requests/{_job(number)}/status"


def _main() -> None:
    order = Order(**json.loads(sys.argv[1]))
    if order.core is not None:
        os.sched_setaffinity(0, {order.core})
    with os.fdopen(os.dup(1), "w") as costs:
        os.dup2(2, 1)  # all other output goes to the log
        asyncio.run(poll(order, lambda cost: print(json.dumps(asdict(cost)), file=costs, flush=True)))


if __name__ == "__main__":
    _main()
