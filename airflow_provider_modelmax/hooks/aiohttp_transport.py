"""Calls over ``aiohttp``, for the triggerer: the same calls and answers, one attempt each."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import aiohttp
from multidict import CIMultiDict
from requests.utils import DEFAULT_CA_BUNDLE_PATH, get_environ_proxies, select_proxy
from yarl import URL

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks.concurrency_limit import Lanes
from airflow_provider_modelmax.hooks.connection import HEADERS, Endpoint, check_size

T = TypeVar("T")

HEADER_LINE = 64 * 1024
"""Bytes of a line in the head of an answer, as on the worker; some gateways write longer ones than aiohttp's 8 KiB."""

KNOWN_URLS = 16_384
"""Paths whose URLs are kept: those who wait ask for the same ones again and again."""


class AsyncTransport:
    """Sends calls to one endpoint; to be made and closed inside one event loop."""

    def __init__(self, endpoint: Endpoint, ssl_context: ssl.SSLContext | bool, proxy: str | None) -> None:
        self.endpoint = endpoint
        self._proxy = proxy
        headers = CIMultiDict({"Authorization": f"Bearer {endpoint.key}", **HEADERS})
        # To a proxy aiohttp sends the headers of a session as well, and with them the key; without, they are cheaper.
        self._headers = headers if self._proxy else None
        self._closing_headers = CIMultiDict({**(self._headers or {}), "Connection": "close"})
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl_context, limit=0),  # the lanes limit it
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=HEADER_LINE,
            max_field_size=HEADER_LINE,
            headers=None if self._proxy else headers,
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout),
        )
        self._lanes = Lanes()
        self._under_way, self._retired = 0, False
        # To resolve a URL costs a tenth of a poll.
        self._url = lru_cache(KNOWN_URLS)(self._resolved)

    @classmethod
    async def open(cls, endpoint: Endpoint) -> AsyncTransport:
        """Open a session. The CA bundle is read off the loop: that takes tens of milliseconds.

        :raises ConnectionSetupError: when it cannot be read, or the environment's proxy is of a kind that does not work
        """
        proxy = endpoint.proxy or _proxy_of_the_environment(endpoint.base_url)
        try:
            context = await asyncio.to_thread(_ssl_context, endpoint)
        except OSError as error:
            raise api.ConnectionSetupError(
                f"{_bundle(endpoint)}: {error}. Correct the extra 'verify' of the connection."
            ) from None
        return cls(endpoint, context, proxy)

    async def send(self, call: api.Call[T]) -> T:
        """Send ``call`` once and return what its answer means.

        :raises ModelMaxError: for everything that is not the promised answer
        """
        self._under_way += 1
        try:
            if not self._lanes.enter():
                await self._lanes.turn()
            answered = False
            try:
                async with self._session.request(
                    call.method,
                    self._url(call.path),
                    json=call.json,
                    headers=self._closing_headers if self._lanes.closes() else self._headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as response:
                    answered = True
                    body = await self._read(call, response)
                    return api.read_response(call, response.status, response.headers, body)
            finally:
                self._lanes.leave(answered=answered)
        except aiohttp.ClientConnectorCertificateError as error:
            said = error.certificate_error
            raise api.ConnectionSetupError(
                f"{call}: the certificate was not accepted ({said}). {api.CA_ADVICE}"
            ) from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            if isinstance(error, api.ModelMaxError):
                raise
            raise _lost(call, error) from None
        finally:
            self._under_way -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        """Close as soon as no call is under way: others may still wait for their answers."""
        self._retired = True
        if not self._under_way:
            await self.close()

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def _resolved(self, path: str) -> URL:
        return URL(api.resolve(self.endpoint.base_url, path), encoded=True)

    async def _read(self, call: api.Call[Any], response: aiohttp.ClientResponse) -> bytes:
        body = b""
        while chunk := await response.content.readany():
            body += chunk
            check_size(call, body)
        return self.endpoint.without_key(response.status, body)


_WORDS: dict[type[Exception], str] = {
    asyncio.TimeoutError: api.TIMED_OUT,
    aiohttp.ServerDisconnectedError: api.CLOSED,
    aiohttp.ClientPayloadError: api.CUT_OFF,
    aiohttp.ClientResponseError: api.NO_HTTP,
}


def _lost(call: api.Call[Any], error: Exception) -> api.TransportError:
    """Say why no whole answer came. The texts of ``aiohttp`` may hold URLs, and with them a proxy's password."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return api.no_answer(call, _connect_words(error.os_error), reached=False)
    if isinstance(error, aiohttp.ClientOSError) and error.strerror:
        return api.no_answer(call, error.strerror)
    words = next((words for kind, words in _WORDS.items() if isinstance(error, kind)), type(error).__name__)
    return api.no_answer(call, words)


def _connect_words(error: OSError) -> str:
    """Return the system's text for a failed connection; that of ``asyncio`` is "Connect call failed"."""
    is_asyncios = error.errno and error.errno > 0 and not isinstance(error, socket.gaierror)
    return os.strerror(error.errno) if is_asyncios and error.errno else api.os_words(error)


def _ssl_context(endpoint: Endpoint) -> ssl.SSLContext | bool:
    if not endpoint.base_url.startswith("https:"):
        return True
    if endpoint.verify is False:
        return False
    path = _bundle(endpoint)
    if path.is_dir():
        return ssl.create_default_context(capath=path)
    return ssl.create_default_context(cafile=path)


def _bundle(endpoint: Endpoint) -> Path:
    """Choose as ``requests`` does: what the worker trusts, the triggerer trusts."""
    if isinstance(endpoint.verify, str):
        return Path(endpoint.verify)
    return Path(os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)


def _proxy_of_the_environment(base_url: str) -> str | None:
    """Read it as ``requests`` does (NO_PROXY with networks and ports, ALL_PROXY): both colours go the same way."""
    proxy = select_proxy(base_url, get_environ_proxies(base_url))
    scheme, separated, _ = (proxy or "").rpartition("://")
    if scheme.lower() not in {"", "http", "https"}:
        raise api.ConnectionSetupError(
            f"The environment names a proxy of the kind {scheme}://, which works on workers only. Put an http:// proxy "
            "into the extra 'proxy' of the connection, or wait on the worker with deferrable=False."
        )
    return f"http://{proxy}" if proxy and not separated else proxy
