"""Time limits for reading an answer: the read timeout of ``requests`` restarts with each byte."""

from __future__ import annotations

import http.client
import io
import math
import re
import socket
import time
from functools import cache, partial
from typing import Any, Protocol

import urllib3
from requests.adapters import HTTPAdapter

MIN_BYTES_PER_TIMEOUT = 16 * 1024
"""Bytes of a download that must arrive in every ``timeout`` seconds."""


_INTERIM = re.compile(rb"HTTP/1\.\d 1(?!01)")
"""The status line of an interim answer (1xx). 101 is a final answer."""


class SlowAnswerError(TimeoutError):
    """An answer arrives too slowly. ``urllib3`` turns it into its ``ReadTimeoutError``."""


class Limit(Protocol):
    """Limits how slowly an answer may arrive."""

    def check(self, count: int) -> None:
        """Check the limit after ``count`` bytes have arrived; 0 is the end of the answer.

        :raises SlowAnswerError: if the answer is too slow
        """


class Deadline:
    """The time after which an answer should be complete.

    A late answer is still used, because it may have been paid for: reading stops only after twice the time.

    :param timeout: seconds; no limit if it is not a number
    :ivar late_at: that time, by the monotonic clock
    """

    def __init__(self, timeout: object) -> None:
        self.seconds = timeout if isinstance(timeout, int | float) else math.inf
        self.late_at = time.monotonic() + self.seconds

    def error(self) -> SlowAnswerError:
        """Return the error for a late answer."""
        return SlowAnswerError(f"the answer took longer than {self.seconds:g} s.")

    def check(self, count: int) -> None:
        """Stop reading after twice the time."""
        if time.monotonic() > self.late_at + self.seconds:
            raise self.error()


class MinimumRate:
    """A download may take as long as it needs, but MIN_BYTES_PER_TIMEOUT bytes must arrive in every ``seconds``."""

    def __init__(self, seconds: float) -> None:
        self.seconds, self._count, self._since = seconds, 0, time.monotonic()

    def check(self, count: int) -> None:
        """Stop reading if too few bytes have arrived."""
        now = time.monotonic()
        self._count += count
        if self._count >= MIN_BYTES_PER_TIMEOUT:
            self._count, self._since = 0, now
        elif count and now - self._since > self.seconds:
            raise SlowAnswerError(f"fewer than {MIN_BYTES_PER_TIMEOUT:,} bytes came within {self.seconds:g} s.")


class Reads:
    """The limits on what a connection reads.

    :ivar limit: the current limit, or None
    :ivar deadline: the deadline of the latest answer
    """

    limit: Limit | None = None
    deadline: Deadline | None = None


class LimitedConnection(urllib3.connection.HTTPConnection):
    """A connection that limits how long the headers of an answer may take. Its users can limit the body.

    Everything that is read is limited, including a proxy's answer to ``CONNECT``.
    """

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        self.reads = Reads()
        self.response_class = partial(_Response, reads=self.reads)  # type: ignore[assignment]  # it is only called
        super().__init__(*args, **kwargs)

    def connect(self) -> None:
        """Connect, also through a proxy."""
        self.reads.limit = Deadline(self.timeout)
        try:
            super().connect()
        finally:
            self.reads.limit = None

    def getresponse(self) -> urllib3.HTTPResponse:  # type: ignore[override]  # as in urllib3
        """Return the answer once its headers have been read."""
        self.reads.limit = self.reads.deadline = Deadline(self.timeout)
        try:
            return super().getresponse()
        finally:
            self.reads.limit = None


class _Response(http.client.HTTPResponse):
    """An answer that is read within limits."""

    def __init__(self, sock: socket.socket, *args: Any, reads: Reads, **kwargs: Any) -> None:
        super().__init__(sock, *args, **kwargs)
        self.fp.close()
        self.fp = _AnswerFile(_LimitedReader(sock.makefile("rb", buffering=0), reads))


class _LimitedReader(io.RawIOBase):
    """Checks the limit after each read from the socket.

    Otherwise a read of 1 MiB that trickles in would be checked only once it was complete. ``read1`` returns earlier,
    but makes a download use 1.3 times the CPU, and 4 times over TLS (measured with 500 MB).
    """

    def __init__(self, raw: io.RawIOBase, reads: Reads) -> None:
        self._raw, self._reads = raw, reads

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int | None:
        count = self._raw.readinto(buffer)
        if limit := self._reads.limit:
            limit.check(count or 0)
        return count

    def close(self) -> None:
        self._raw.close()
        super().close()


class _AnswerFile(io.BufferedReader):
    """Skips interim answers (RFC 9110, 15.2): ``http.client`` skips only 100, and mistakes 103 for the final answer."""

    def readline(self, size: int | None = -1) -> bytes:
        """Return the first line of the answer. All other lines are read without this method."""
        line = super().readline(size)
        while _INTERIM.match(line):
            while super().readline(size).strip():
                pass
            line = super().readline(size)
        self.readline = super().readline  # type: ignore[assignment, method-assign]
        return line


class LimitedAdapter(HTTPAdapter):
    """Uses limited connections, also through proxies."""

    def get_connection_with_tls_context(self, *args: Any, **kwargs: Any) -> Any:
        """Return the connection pool for a request."""
        pool: Any = super().get_connection_with_tls_context(*args, **kwargs)
        pool.ConnectionCls = _limited(pool.ConnectionCls)
        return pool


@cache
def _limited(connection: type[Any]) -> type[Any]:
    """Return a limited subclass of a connection class; a SOCKS proxy, for example, has its own."""
    if issubclass(connection, LimitedConnection):
        return connection
    return type(f"Limited{connection.__name__}", (LimitedConnection, connection), {})
