"""One session and one look-up of a connection for all who ask over it in one event loop.

A thousand triggers would look it up a thousand times, each through Airflow's supervisor (20 CPU-ms there), and open a
thousand sockets.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Hashable
from typing import TYPE_CHECKING, TypeVar
from weakref import WeakKeyDictionary

from airflow_provider_modelmax import api

if TYPE_CHECKING:
    from airflow_provider_modelmax.hooks.aiohttp_transport import AsyncTransport
    from airflow_provider_modelmax.hooks.connection import Endpoint

T = TypeVar("T")

STALE_AFTER = 300.0
"""Seconds after which a connection is looked up again: it may have changed."""

NO_OTHER_KEY_FOR = 5.0
"""Seconds. A revoked key is refused to a thousand at once; one of them looks whether the connection holds another."""


class SharedTransport:
    """The way to the service over one connection; closed when the last of its users has left.

    To be made in the event loop that it belongs to.

    :param look_up: returns the endpoint that the connection holds now
    :param open_to: opens a transport to an endpoint
    """

    def __init__(
        self, look_up: Callable[[], Awaitable[Endpoint]], open_to: Callable[[Endpoint], Awaitable[AsyncTransport]]
    ) -> None:
        self.users = 0
        self.loop = asyncio.get_running_loop()
        self._look_up = look_up
        self._open_to = open_to
        self._transport: AsyncTransport | None = None
        self._looked_up = self._refused = float("-inf")
        self._one_at_a_time = asyncio.Lock()

    async def send(self, call: api.Call[T]) -> T:
        """Send ``call`` once; if the key is refused and the connection has another one now, once more."""
        transport = self._transport
        if transport is None or time.monotonic() - self._looked_up > STALE_AFTER:
            transport = await self._current()
        try:
            return await transport.send(call)
        except api.UnauthorizedError:
            other = await self._with_another_key(transport)
            if other is None:
                raise
            return await other.send(call)

    async def close(self) -> None:
        """Close the session."""
        transport, self._transport = self._transport, None
        if transport:
            await transport.close()

    async def _current(self) -> AsyncTransport:
        async with self._one_at_a_time:
            if self._transport and time.monotonic() - self._looked_up <= STALE_AFTER:
                return self._transport
            try:
                return await self._looked_up_anew()
            except api.ModelMaxError:
                if self._transport is None:
                    raise
                self._looked_up = time.monotonic()  # the way that is known may still lead there
                return self._transport

    async def _with_another_key(self, refused: AsyncTransport) -> AsyncTransport | None:
        async with self._one_at_a_time:
            if self._transport is not refused:
                return self._transport
            if time.monotonic() - self._refused <= NO_OTHER_KEY_FOR:
                return None
            found = await self._looked_up_anew()
            if found is not refused:
                return found
            self._refused = time.monotonic()
            return None

    async def _looked_up_anew(self) -> AsyncTransport:
        endpoint, known = await self._look_up(), self._transport
        self._looked_up = time.monotonic()
        if known and known.endpoint == endpoint:
            return known
        self._transport = await self._open_to(endpoint)
        if known:
            await known.retire()
        return self._transport


_shared: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, SharedTransport]] = WeakKeyDictionary()


def join(way: Hashable, make: Callable[[], SharedTransport]) -> SharedTransport:
    """Return what the running loop shares for a connection and who looks it up, with one user more.

    :param way: tells them from others
    """
    of_this_loop = _shared.setdefault(asyncio.get_running_loop(), {})
    if way not in of_this_loop:
        of_this_loop[way] = make()
    of_this_loop[way].users += 1
    return of_this_loop[way]


async def leave(way: Hashable, transport: SharedTransport) -> None:
    """Count one user less, and close it after the last."""
    transport.users -= 1
    if not transport.users:
        _shared.get(asyncio.get_running_loop(), {}).pop(way, None)
        await transport.close()
