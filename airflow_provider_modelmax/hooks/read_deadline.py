"""Times an answer while it comes: the timeouts of ``requests`` are for the next byte only, and start anew with each."""

from __future__ import annotations

import http.client
import io
import time
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

import urllib3
from requests.adapters import HTTPAdapter

from airflow_provider_modelmax import api

MIN_BYTES_PER_TIMEOUT = 16 * 1024
"""Bytes that must come within each ``timeout`` seconds of waiting for a video; one that trickles is given up."""


@dataclass
class Watch:
    """Looks at each piece of an answer as it leaves the socket, from the first line of its head on.

    A read of 1 MiB that trickles in would not return to tell. ``read1`` returns, but costs 1.3 times the CPU of a
    download, 4 times over TLS (measured, 500 MB).

    :param call: what is answered
    :param timeout: seconds of patience: with the next byte, with an answer after its ``end``, with a piece of a video
    :param end: when the answer should be there, by the monotonic clock; late but whole it is taken: it may be paid for
    :param paces: whether a video has begun, which may take its time as long as it comes
    :param came: bytes since ``since``
    :param since: when the last MIN_BYTES_PER_TIMEOUT were complete
    """

    call: api.Call[Any]
    timeout: float
    end: float
    paces: bool = False
    came: int = 0
    since: float = 0.0

    @contextmanager
    def over_its_answer(self) -> Iterator[None]:
        """Watch the answer that begins within this block."""
        token = _watch_of_this_call.set(self)
        try:
            yield
        finally:
            _watch_of_this_call.reset(token)

    def begin_answer(self) -> None:
        """Begin to wait for the answer: the body of the call is sent, which may have taken its time."""
        if self.call.json is not None:
            self.end = time.monotonic() + self.timeout

    def is_late(self) -> bool:
        """Say whether the answer should be there."""
        return time.monotonic() > self.end

    def too_late(self) -> api.TransportError:
        """Return the error for an answer that is not."""
        return api.TransportError(f"{self.call}: the answer took longer than {self.timeout:g} s.")

    def begin_pace(self) -> None:
        """Give the body that follows all the time it needs, as long as it comes."""
        self.paces, self.came, self.since = True, 0, time.monotonic()

    def note(self, count: int) -> None:
        """Take note of so many bytes; 0 is the end."""
        now = time.monotonic()
        if not self.paces:
            if now > self.end + self.timeout:
                raise self.too_late()
            return
        self.came += count
        if self.came >= MIN_BYTES_PER_TIMEOUT:
            self.came, self.since = 0, now
        elif count and now - self.since > self.timeout:
            raise api.TransportError(
                f"{self.call}: fewer than {MIN_BYTES_PER_TIMEOUT:,} bytes came within {self.timeout:g} s."
            )


_watch_of_this_call: ContextVar[Watch | None] = ContextVar("modelmax_watch", default=None)


class _Answer(http.client.HTTPResponse):
    """An answer whose pieces are told to the watch of its call."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        raw, watch = getattr(self.fp, "raw", None), _watch_of_this_call.get()
        if watch is None:
            return
        watch.begin_answer()
        if not isinstance(raw, io.RawIOBase):  # TLS within TLS has no such file
            return
        read, note = raw.readinto, watch.note

        def readinto(buffer: Any) -> int | None:
            count = read(buffer)
            note(count or 0)
            return count

        raw.readinto = readinto  # type: ignore[method-assign]

    def begin(self) -> None:
        """Read the head of the answer: the library takes 102 or 103 for it, which only announce it (RFC 9110, 15.2)."""
        super().begin()
        while 101 < self.status < 200:
            self.headers = None  # type: ignore[assignment]  # or nothing more is read
            super().begin()


class _Connection(urllib3.connection.HTTPConnection):
    response_class = _Answer


class _TlsConnection(urllib3.connection.HTTPSConnection):
    response_class = _Answer


class _Pool(urllib3.HTTPConnectionPool):
    ConnectionCls = _Connection


class _TlsPool(urllib3.HTTPSConnectionPool):
    ConnectionCls = _TlsConnection


class WatchedAdapter(HTTPAdapter):
    """Connections whose answers can be watched; with a proxy as well."""

    def init_poolmanager(self, *args: Any, **kwargs: Any) -> None:
        """Have the pools make such connections."""
        super().init_poolmanager(*args, **kwargs)
        self.poolmanager.pool_classes_by_scheme = _POOLS

    def proxy_manager_for(self, proxy: str, **kwargs: Any) -> urllib3.ProxyManager:
        """Have the pools of a proxy make such connections; those of a SOCKS proxy can make their own only."""
        manager: urllib3.ProxyManager = super().proxy_manager_for(proxy, **kwargs)
        if not proxy.lower().startswith("socks"):
            manager.pool_classes_by_scheme = _POOLS
        return manager


_POOLS = {"http": _Pool, "https": _TlsPool}
