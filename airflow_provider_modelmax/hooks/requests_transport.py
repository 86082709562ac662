"""Calls over ``requests``, for the worker: one pooled session, timeouts for all, no redirects."""

from __future__ import annotations

import http.client
import io
import json
import ssl
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, TypeVar

import requests
import urllib3
from requests.auth import AuthBase

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks.connection import HEADERS, Endpoint, check_size
from airflow_provider_modelmax.hooks.read_deadline import (
    MIN_BYTES_PER_TIMEOUT,
    LimitedAdapter,
    MinimumRate,
    Reads,
    SlowAnswerError,
)

T = TypeVar("T")

_JSON = {"Content-Type": "application/json"}

_FAILURES = (OSError, urllib3.exceptions.HTTPError)
"""What ``requests`` raises. Its errors hold the request, and so the key: :func:`_error_of` is raised, with no cause."""

MAX_CHUNK = 1024 * 1024
"""Bytes. 1 MiB costs the least CPU per byte; 8 MiB seven times as much (measured)."""


@dataclass(frozen=True)
class Content:
    """A video that is being downloaded. Iterating over it yields its bytes.

    :param size: bytes by ``Content-Length``, None without one
    :param chunks: the bytes; raises :class:`.TransportError` if they are cut off
    """

    size: int | None
    chunks: Iterator[bytes]

    def __iter__(self) -> Iterator[bytes]:
        return self.chunks


class _Bearer(AuthBase):
    """Adds the key. With it, ``requests`` does not send a ``~/.netrc`` entry instead."""

    def __init__(self, key: str) -> None:
        self._key = key

    def __call__(self, request: requests.PreparedRequest) -> requests.PreparedRequest:
        request.headers["Authorization"] = f"Bearer {self._key}"
        return request


class _Session(requests.Session):
    """Never follows redirects."""

    def get_redirect_target(self, resp: requests.Response) -> None:
        """Return no target: requests would read the body of a redirect to its end even with allow_redirects=False."""


class SyncTransport:
    """Sends calls to one endpoint.

    :param endpoint: where calls are sent, and how
    """

    def __init__(self, endpoint: Endpoint) -> None:
        self.endpoint = endpoint
        self.session = _Session()
        self.session.auth = _Bearer(endpoint.key)
        for scheme in ("http://", "https://"):
            self.session.mount(scheme, LimitedAdapter())
        self.session.headers.update(HEADERS)
        self._timeout = (endpoint.connect_timeout, endpoint.timeout)
        self._proxies = {"http": endpoint.proxy, "https": endpoint.proxy} if endpoint.proxy else None

    def send(self, call: api.Call[T]) -> T:
        """Send ``call`` once and return what its answer means.

        :raises ModelMaxError: if the answer is not the promised one, or none came
        """
        try:
            with self._request(call) as response:
                body = self._read(call, response)
        except _FAILURES as error:
            raise _error_of(call, error) from None
        return api.read_response(call, response.status_code, response.headers, body)

    @contextmanager
    def stream(self, call: api.Call[None]) -> Iterator[Content]:
        """Open a download.

        :raises ModelMaxError: if the answer is not a video
        """
        try:
            response = self._request(call, {"Accept": "video/mp4", "Accept-Encoding": "identity"})
        except _FAILURES as error:
            raise _error_of(call, error) from None
        with response:
            kind = response.headers.get("Content-Type", "")
            if response.status_code != 200:
                try:
                    body = self._read(call, response)
                except _FAILURES as error:
                    raise _error_of(call, error) from None
                raise api.error_of(call, response.status_code, response.headers, body)
            if kind.startswith(("text/", "application/json")):
                raise api.AnswerError(f"{call} answered 200, but with {kind} instead of video/mp4.", garbled=True)
            length = response.headers.get("Content-Length", "")
            is_size = length.isascii() and length.isdigit() and "Content-Encoding" not in response.headers
            yield Content(int(length) if is_size else None, self._chunks(call, response))

    def _request(self, call: api.Call[Any], headers: Mapping[str, str] | None = None) -> requests.Response:
        """Send ``call``, and return the answer with its body unread."""
        body = None
        if call.json is not None:  # as a file: it is sent in blocks, each with a timeout of its own; images take time
            body = io.BytesIO(json.dumps(call.json, allow_nan=False).encode())
        return self.session.request(
            call.method,
            api.resolve(self.endpoint.base_url, call.path),
            data=body,
            headers={**(_JSON if body else {}), **(headers or {})},
            timeout=self._timeout,
            allow_redirects=False,
            stream=True,
            # Given here, as the environment's settings would replace those of the session.
            proxies=self._proxies,
            verify=self.endpoint.verify,
        )

    def _read(self, call: api.Call[Any], response: requests.Response) -> bytes:
        """Read a small body whole, within the deadline of its answer."""
        body = bytearray()
        connection: Any = response.raw.connection
        reads: Reads = connection.reads
        deadline = reads.limit = reads.deadline
        # read1 returns what has arrived; iter_content waits for all of it, each byte with a timeout of its own.
        while chunk := response.raw.read1(65536, decode_content=True):
            body += chunk
            check_size(call, body)
            if deadline and time.monotonic() > deadline.late_at and not response.raw.isclosed():
                raise deadline.error()
        return self.endpoint.without_key(response.status_code, bytes(body))

    def _chunks(self, call: api.Call[Any], response: requests.Response) -> Iterator[bytes]:
        """Read a big body in chunks that take about a second at most, so that the reader can report and stop."""
        connection: Any = response.raw.connection
        reads: Reads = connection.reads
        amount = MIN_BYTES_PER_TIMEOUT
        while True:
            begin = time.monotonic()
            reads.limit = MinimumRate(self.endpoint.timeout)  # for each chunk: the reader may take its time between
            try:
                chunk = response.raw.read(amount, decode_content=True)
            except _FAILURES as error:
                raise _error_of(call, error) from None
            if not chunk:
                return
            seconds = time.monotonic() - begin
            if seconds < 0.25:
                amount = min(amount * 4, MAX_CHUNK)
            elif seconds > 1:
                amount = max(amount // 4, MIN_BYTES_PER_TIMEOUT)
            yield chunk


def _error_of(call: api.Call[Any], error: Exception) -> api.ModelMaxError:
    known = (requests.RequestException, urllib3.exceptions.HTTPError, ConnectionError, TimeoutError)
    if not isinstance(error, known):  # a missing CA bundle
        return api.ConnectionSetupError(f"{call}: {error}. Correct the extra 'verify' of the connection.")
    cause = _innermost(error)
    slow = cause if isinstance(cause, SlowAnswerError) else cause.__cause__
    if isinstance(slow, SlowAnswerError):
        return api.TransportError(f"{call}: {slow}")
    said = _message(cause)
    if isinstance(cause, ssl.SSLError) and cause.library in {"X509", "PEM"}:
        return api.ConnectionSetupError(
            f"{call}: no certificates ({said}). Correct the extra 'verify' of the connection."
        )
    if isinstance(cause, ssl.SSLCertVerificationError):
        return api.ConnectionSetupError(f"{call}: the certificate was not accepted ({said}). {api.CA_ADVICE}")
    # InvalidURL, InvalidProxyURL, MissingSchema …; an InvalidHeader is of an answer
    if isinstance(error, ValueError) and not isinstance(error, requests.exceptions.InvalidHeader):
        return api.ConnectionSetupError(f"{call}: {said}. Correct host or proxy of the connection.")
    return api.no_answer(call, said, reached=not _is_before_sending(error, cause))


def _message(cause: BaseException) -> str:
    """Return what happened, for a message: the texts of ``urllib3`` begin with the repr of an object."""
    if isinstance(cause, urllib3.exceptions.NewConnectionError):
        return api.os_words(cause.__cause__ or cause)
    if isinstance(cause, urllib3.exceptions.TimeoutError | TimeoutError):
        return api.TIMED_OUT
    if isinstance(cause, http.client.RemoteDisconnected):
        return api.CLOSED
    if isinstance(cause, http.client.IncompleteRead | urllib3.exceptions.IncompleteRead):
        return api.CUT_OFF
    if isinstance(cause, http.client.BadStatusLine | http.client.UnknownProtocol):
        return api.NO_HTTP
    return api.os_words(cause)


def _innermost(error: BaseException) -> BaseException:
    """Unwrap requests' error -> urllib3's MaxRetryError -> its reason -> the cause of a ProxyError."""
    while True:
        candidates = (getattr(error, "reason", None), getattr(error, "original_error", None), *error.args)
        inner = next((each for each in candidates if isinstance(each, BaseException)), None)
        if inner is None:
            return error
        error = inner


def _is_before_sending(error: Exception, cause: BaseException) -> bool:
    """Return whether nothing of the call was sent. A proxy may have sent it, although urllib3 raises a ProxyError."""
    if isinstance(error, requests.exceptions.ProxyError) and type(cause) is OSError:  # it made no tunnel
        return True
    return isinstance(cause, urllib3.exceptions.ConnectTimeoutError | urllib3.exceptions.NewConnectionError)
