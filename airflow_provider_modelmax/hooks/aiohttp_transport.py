"""Calls over ``aiohttp``, for the triggerer. Each is sent once."""

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
from airflow_provider_modelmax.hooks.concurrency_limit import ConcurrencyLimit
from airflow_provider_modelmax.hooks.connection import HEADERS, Endpoint, check_size

T = TypeVar("T")

MAX_HEADER_LINE = 64 * 1024
"""Bytes of a header line, as on the worker: some gateways send longer ones than aiohttp's default, 8 KiB."""

CACHED_URLS = 16_384
"""URLs that are cached, as each wait polls the same one: without, a poll costs a fifth more CPU (measured)."""


class AsyncTransport:
    """Sends calls to one endpoint. It is opened and closed in one event loop.

    :param endpoint: where calls are sent, and how
    :param ssl_context: for ``aiohttp.TCPConnector``
    :param proxy: URL of the proxy, None for none
    """

    def __init__(self, endpoint: Endpoint, ssl_context: ssl.SSLContext | bool, proxy: str | None) -> None:
        self.endpoint = endpoint
        self._proxy = proxy
        headers = CIMultiDict({"Authorization": f"Bearer {endpoint.key}", **HEADERS})
        # aiohttp would send the headers of a session, and so the key, to a proxy as well. They cost less CPU, though.
        self._headers = headers if proxy else None
        self._closing_headers = CIMultiDict({**(self._headers or {}), "Connection": "close"})
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=ssl_context, limit=0),  # ConcurrencyLimit does it
            cookie_jar=aiohttp.DummyCookieJar(),
            max_line_size=MAX_HEADER_LINE,
            max_field_size=MAX_HEADER_LINE,
            headers=None if proxy else headers,
            timeout=aiohttp.ClientTimeout(total=endpoint.timeout),
        )
        self._limit = ConcurrencyLimit()
        self._in_flight, self._retired = 0, False
        self._url = lru_cache(CACHED_URLS)(self._resolve)

    @classmethod
    async def open(cls, endpoint: Endpoint) -> AsyncTransport:
        """Open a session. The CA bundle is read in a thread, as that takes tens of milliseconds.

        :param endpoint: where calls are sent, and how
        :raises ConnectionSetupError: if the bundle cannot be read, or the environment's proxy is not supported
        """
        proxy = endpoint.proxy or _environment_proxy(endpoint.base_url)
        try:
            context = await asyncio.to_thread(_ssl_context, endpoint)
        except OSError as error:
            raise api.ConnectionSetupError(
                f"{_bundle(endpoint)}: {error}. Correct the extra 'verify' of the connection."
            ) from None
        return cls(endpoint, context, proxy)

    async def send(self, call: api.Call[T]) -> T:
        """Send ``call`` once and return what its answer means.

        :raises ModelMaxError: if the answer is not the promised one, or none came
        """
        self._in_flight += 1
        try:
            await self._limit.acquire()
            answered = False
            try:
                async with self._session.request(
                    call.method,
                    self._url(call.path),
                    json=call.json,
                    headers=self._closing_headers if self._limit.take_surplus() else self._headers,
                    allow_redirects=False,
                    proxy=self._proxy,
                ) as response:
                    answered = True
                    body = await self._read(call, response)
                    return api.read_response(call, response.status, response.headers, body)
            finally:
                self._limit.release(answered=answered)
        except aiohttp.ClientConnectorCertificateError as error:
            said = error.certificate_error
            raise api.ConnectionSetupError(
                f"{call}: the certificate was not accepted ({said}). {api.CA_ADVICE}"
            ) from None
        except (aiohttp.ClientError, asyncio.TimeoutError, OSError, ValueError) as error:
            if isinstance(error, api.ModelMaxError):
                raise
            raise _no_answer(call, error) from None
        finally:
            self._in_flight -= 1
            if self._retired:
                await self.retire()

    async def retire(self) -> None:
        """Close as soon as no call is in flight."""
        self._retired = True
        if not self._in_flight:
            await self.close()

    async def close(self) -> None:
        """Close the session and its connections."""
        await self._session.close()

    def _resolve(self, path: str) -> URL:
        return URL(api.resolve(self.endpoint.base_url, path), encoded=True)

    async def _read(self, call: api.Call[Any], response: aiohttp.ClientResponse) -> bytes:
        body = b""
        while chunk := await response.content.readany():
            body += chunk
            check_size(call, body)
        return self.endpoint.without_key(response.status, body)


_MESSAGES: dict[type[Exception], str] = {
    asyncio.TimeoutError: api.TIMED_OUT,
    aiohttp.ServerDisconnectedError: api.CLOSED,
    aiohttp.ClientPayloadError: api.CUT_OFF,
    aiohttp.ClientResponseError: api.NO_HTTP,
}


def _no_answer(call: api.Call[Any], error: Exception) -> api.TransportError:
    """Return the error of a call without a whole answer. A message of ``aiohttp`` may hold a proxy's password."""
    if isinstance(error, aiohttp.ClientConnectorError):
        return api.no_answer(call, _connect_message(error.os_error), reached=False)
    if isinstance(error, aiohttp.ClientOSError) and error.strerror:
        return api.no_answer(call, error.strerror)
    words = next((words for kind, words in _MESSAGES.items() if isinstance(error, kind)), type(error).__name__)
    return api.no_answer(call, words)


def _connect_message(error: OSError) -> str:
    """Return the system's message for a failed connection; that of ``asyncio`` is "Connect call failed"."""
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
    """Return the CA bundle that ``requests`` uses, so that worker and triggerer trust the same."""
    if isinstance(endpoint.verify, str):
        return Path(endpoint.verify)
    return Path(os.environ.get("REQUESTS_CA_BUNDLE") or os.environ.get("CURL_CA_BUNDLE") or DEFAULT_CA_BUNDLE_PATH)


def _environment_proxy(base_url: str) -> str | None:
    """Return the proxy that ``requests`` uses on the worker (NO_PROXY with networks and ports, ALL_PROXY)."""
    proxy = select_proxy(base_url, get_environ_proxies(base_url))
    scheme, separated, _ = (proxy or "").rpartition("://")
    if scheme.lower() not in {"", "http", "https"}:
        raise api.ConnectionSetupError(
            f"The environment names a proxy of the kind {scheme}://, which works on workers only. Put an http:// proxy "
            "into the extra 'proxy' of the connection, or wait on the worker with deferrable=False."
        )
    return f"http://{proxy}" if proxy and not separated else proxy
