"""One session and one connection lookup, shared by all hooks of an event loop.

Otherwise a thousand triggers would look up the connection a thousand times, each through Airflow's supervisor (20 ms of
CPU), and open a thousand sockets.
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

LOOK_UP_EVERY = 300.0
"""Seconds after which a connection is looked up again, in case it has changed."""

REFUSED_KEY_INTERVAL = 5.0
"""Minimum seconds between two lookups after a refused key: a thousand triggers may notice a revoked key at once."""


class SharedSession:
    """The session of one Airflow connection. It belongs to the event loop that it was created in.

    :param look_up: returns the endpoint that the connection describes now
    :param open_transport: opens a transport to an endpoint
    """

    def __init__(
        self,
        look_up: Callable[[], Awaitable[Endpoint]],
        open_transport: Callable[[Endpoint], Awaitable[AsyncTransport]],
    ) -> None:
        self.users = 0
        self.loop = asyncio.get_running_loop()
        self._look_up = look_up
        self._open_transport = open_transport
        self._transport: AsyncTransport | None = None
        self._looked_up = self._refused = float("-inf")
        self._lock = asyncio.Lock()

    async def send(self, call: api.Call[T]) -> T:
        """Send ``call``. If the key is refused and the connection has a new one, send it once more."""
        transport = self._transport
        if transport is None or time.monotonic() - self._looked_up > LOOK_UP_EVERY:
            transport = await self._open()
        try:
            return await transport.send(call)
        except api.UnauthorizedError:
            current = await self._with_new_key(transport)
            if current is None:
                raise
            return await current.send(call)

    async def close(self) -> None:
        """Close the session."""
        transport, self._transport = self._transport, None
        if transport:
            await transport.close()

    async def _open(self) -> AsyncTransport:
        async with self._lock:
            if self._transport and time.monotonic() - self._looked_up <= LOOK_UP_EVERY:
                return self._transport
            try:
                return await self._look_up_again()
            except api.ModelMaxError:
                if self._transport is None:
                    raise
                self._looked_up = time.monotonic()  # the known endpoint may still work
                return self._transport

    async def _with_new_key(self, refused: AsyncTransport) -> AsyncTransport | None:
        async with self._lock:
            if self._transport is not refused:
                return self._transport
            if time.monotonic() - self._refused <= REFUSED_KEY_INTERVAL:
                return None
            found = await self._look_up_again()
            if found is not refused:
                return found
            self._refused = time.monotonic()
            return None

    async def _look_up_again(self) -> AsyncTransport:
        endpoint, known = await self._look_up(), self._transport
        self._looked_up = time.monotonic()
        if known and known.endpoint == endpoint:
            return known
        self._transport = await self._open_transport(endpoint)
        if known:
            await known.retire()
        return self._transport


_sessions: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[Hashable, SharedSession]] = WeakKeyDictionary()


def acquire(key: Hashable, create: Callable[[], SharedSession]) -> SharedSession:
    """Return the running loop's session for ``key``, which is created for its first user.

    :param key: identifies the session
    :param create: creates the session
    """
    sessions = _sessions.setdefault(asyncio.get_running_loop(), {})
    if key not in sessions:
        sessions[key] = create()
    sessions[key].users += 1
    return sessions[key]


async def release(key: Hashable, session: SharedSession) -> None:
    """Give a session back. Its last user closes it."""
    session.users -= 1
    if not session.users:
        _sessions.get(asyncio.get_running_loop(), {}).pop(key, None)
        await session.close()
