"""An Airflow connection: looked up, checked, and its secrets masked in logs."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook

from airflow_provider_modelmax import __version__
from airflow_provider_modelmax.airflow_compat import mask_secret
from airflow_provider_modelmax.api import (
    DEFAULT_BASE_URL,
    AnswerError,
    Call,
    ConnectionSetupError,
    ModelMaxError,
    TransportError,
)

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONN_TYPE = "modelmax"

DEFAULT_TIMEOUT = 60.0
"""Seconds that a call may wait for its answer, and a download for its next bytes."""

CONNECT_TIMEOUT = 10.0
"""Seconds to establish a connection, unless the timeout is shorter."""

MAX_ANSWER = 1024 * 1024
"""Bytes of a JSON answer, which has about a hundred. A longer one is not from the service."""

MAX_PAID_ANSWER = 16 * MAX_ANSWER
"""Bytes of an answer that may be paid for. The limit is higher, as asking again would cost again."""

HEADERS = {"User-Agent": f"airflow-provider-modelmax/{__version__}", "Accept": "application/json"}
"""Headers of every call, beside the key."""

SHORT_KEY = 8
"""Characters. A shorter key may be an ordinary word: it is not removed from good answers, such as a URL paid for."""


@dataclass(frozen=True)
class Endpoint:
    """Where calls are sent, and how. ``repr`` shows neither the key nor the proxy, which may hold a password.

    :param base_url: without a trailing slash
    :param key: the API key
    :param timeout: seconds
    :param verify: whether to verify certificates, or the path of a CA bundle
    :param proxy: URL of a proxy, None for that of the environment
    """

    base_url: str
    key: str = field(repr=False)
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)

    @property
    def connect_timeout(self) -> float:
        """Seconds to establish a connection, at most."""
        return min(CONNECT_TIMEOUT, self.timeout)

    @property
    def answer_seconds(self) -> float:
        """Seconds that one attempt of a call can take at most."""
        return self.connect_timeout + 2 * self.timeout

    def without_key(self, status: int, body: bytes) -> bytes:
        """Return the body of an answer with the key replaced: gateways echo request headers on their error pages."""
        if len(self.key) < SHORT_KEY and 200 <= status < 300:
            return body
        body = body.replace(self.key.encode(), b"***")
        return _escaped(self.key).sub(b"***", body) if b"\\" in body or b"%" in body else body


def check_size(call: Call[Any], body: bytes | bytearray) -> None:
    """Check the size of an answer.

    :raises AnswerError: if it is longer than any answer of the service
    """
    most = MAX_ANSWER if call.replayable else MAX_PAID_ANSWER
    if len(body) > most:
        raise AnswerError(f"{call} answered with more than {most:,} bytes.", garbled=True)


def look_up(hook: BaseHook, conn_id: str, *, conn_type: str = CONN_TYPE, name: str = "") -> Endpoint:
    """Look up a connection and return its endpoint.

    :param hook: looks it up; a subclass may do so in its own way
    :param conn_id: the connection
    :param conn_type: the connection type of the hook
    :param name: the connection's name in error messages; default ``connection`` and its id
    :raises ConnectionSetupError: if Airflow does not find it, or it cannot be used
    :raises TransportError: if the lookup failed
    """
    name = name or f"connection {conn_id!r}"
    with _translate_errors(conn_id, name):
        return _masked(hook.get_connection(conn_id), conn_type, name)


async def alook_up(hook: BaseHook, conn_id: str, *, conn_type: str = CONN_TYPE) -> Endpoint:
    """Look up a connection from an event loop; see :func:`look_up`."""
    from asgiref.sync import sync_to_async  # noqa: PLC0415 - loaded by Airflow before a trigger runs

    name = f"connection {conn_id!r}"
    with _translate_errors(conn_id, name):
        try:
            connection = await hook.aget_connection(conn_id)
        except AirflowNotFoundException:
            # Where dag.test() runs a trigger, connections of the database can only be looked up synchronously.
            connection = await sync_to_async(hook.get_connection)(conn_id)
        # Masking is a blocking request to Airflow's supervisor, which must not be made in the loop.
        return await sync_to_async(_masked)(connection, conn_type, name)


def _masked(connection: Connection, conn_type: str, name: str) -> Endpoint:
    endpoint = read_connection(connection, conn_type=conn_type, name=name)
    password = urlsplit(endpoint.proxy or "").password
    for secret in (endpoint.key, endpoint.proxy, password, unquote(password or "")):
        if secret:
            mask_secret(secret)
    return endpoint


@contextmanager
def _translate_errors(conn_id: str, name: str) -> Iterator[None]:
    try:
        yield
    except AirflowNotFoundException:
        # Airflow's SDK raises it whatever the cause of a failed lookup (seen on 3.3.2).
        raise ConnectionSetupError(
            f"Airflow did not find {name}: it does not exist, or Airflow's API server did not answer. If it is in an "
            "environment variable (AIRFLOW_CONN_…) or a secrets backend, check that its JSON or URI is valid. If it "
            f"does not exist, create it: airflow connections add {conn_id} --conn-type modelmax --conn-password sk-…"
        ) from None
    except ModelMaxError:
        raise
    except Exception as error:
        raise TransportError(
            f"Airflow could not look up {name}: {type(error).__name__}: {error}", reached=False
        ) from error


def read_connection(connection: Connection, *, conn_type: str = CONN_TYPE, name: str = "") -> Endpoint:
    """Return the endpoint that a connection of type ``modelmax`` describes.

    :param connection: what Airflow found
    :param conn_type: the connection type of the hook
    :param name: the connection's name in error messages; default ``connection`` and its id
    :raises ConnectionSetupError: if a field is missing or invalid; the message names the field, never the key
    """
    name = name or f"connection {connection.conn_id!r}"
    _check_type(connection, conn_type, name)
    key = _key(name, connection.password)  # first: without a password, the rest may hold the key
    extra = _extra(name, connection)
    return Endpoint(
        base_url=_base_url(name, connection),
        key=key,
        timeout=_timeout(name, extra),
        verify=_verify(name, extra),
        proxy=_proxy(name, extra),
    )


def _check_type(connection: Connection, conn_type: str, name: str) -> None:
    """Refuse a connection of another service, whose password would be sent to ModelMax as an API key.

    A connection from the environment may have no type.
    """
    found = (connection.conn_type or "").strip()
    if found.lower() in {"", "generic", CONN_TYPE, conn_type}:
        return
    raise ConnectionSetupError(
        f"The type of {name} is {found!r}, but must be {conn_type!r}. Its password was not sent. If it is the "
        f"connection to ModelMax, set its type to {conn_type!r} where it is stored: in the UI, in the environment "
        "variable (AIRFLOW_CONN_…), or in the secrets backend."
    )


@lru_cache
def _escaped(key: str) -> re.Pattern[bytes]:
    """Return a pattern for a key any of whose characters may be escaped, as in JSON or a URL."""
    spellings = [rf"(?:\\?{re.escape(char)}|(?i:\\u{ord(char):04x}|%{ord(char):02x}))" for char in key]
    return re.compile("".join(spellings).encode())


def _key(name: str, password: str | None) -> str:
    key = (password or "").strip()
    if not key:
        raise ConnectionSetupError(
            f"The password of {name} is empty. Put the ModelMax API key there (it looks like sk-…). In an environment "
            "variable AIRFLOW_CONN_…, write modelmax://:sk-…@"
        )
    if not key.isascii() or not key.isprintable() or " " in key:
        raise ConnectionSetupError(
            f"The password of {name} is no API key: it has spaces, line breaks or accents in it. Copy the key again."
        )
    return key


def _extra(name: str, connection: Connection) -> Mapping[str, Any]:
    try:
        json.loads(connection.extra or "{}")  # Airflow reads invalid JSON as {}, and logs an error
        extra = connection.extra_dejson
    except ValueError:
        extra = None
    if isinstance(extra, Mapping):
        return extra
    raise ConnectionSetupError(  # without its text, which may hold a proxy's password
        f'The extra of {name} must be a JSON object, for example {{"timeout": 30}}.'
    )


def _base_url(name: str, connection: Connection) -> str:
    if connection.schema and connection.schema not in {"http", "https"}:
        raise ConnectionSetupError(
            f"The schema of {name} is {connection.schema!r}, but must be http, https or empty. In a connection URI, "
            "write the whole base URL before the ?, and write its slashes as %2F and its colons as %3A."
        )
    host = (connection.host or "").strip().rstrip("/")
    if not host:
        return DEFAULT_BASE_URL
    if "://" not in host and connection.schema in {"http", "https"}:
        host = f"{connection.schema}://{host}"
    try:
        parts = urlsplit(host)
        port = parts.port or connection.port
    except ValueError:  # without its text, which may hold a password in place of the port
        raise ConnectionSetupError(
            f"The host of {name} is not a URL: write the base URL, for example {DEFAULT_BASE_URL} or http://127.0.0.1:8765."
        ) from None
    if complaint := _complaint(host, parts):
        raise ConnectionSetupError(f"The host of {name} {complaint}")
    hostname = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{hostname}{f':{port}' if port else ''}{parts.path}"


def _complaint(host: str, parts: SplitResult) -> str | None:
    """Return what is wrong with a base URL, None if nothing is."""
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"has no scheme: write the base URL, for example {DEFAULT_BASE_URL} or http://127.0.0.1:8765."
    if re.search(r"[\s\\]", host) or parts.username is not None or parts.query or parts.fragment:
        return "must be a base URL: no spaces, user, query or fragment. The API key goes into the password field."
    if "v1" in parts.path.split("/"):
        return "must end before /v1: every call begins with it."
    if parts.scheme == "http" and parts.hostname == urlsplit(DEFAULT_BASE_URL).hostname:
        return f"would send the key unencrypted: write {DEFAULT_BASE_URL}."
    return None


def _timeout(name: str, extra: Mapping[str, Any]) -> float:
    value = extra.get("timeout")
    if value in (None, ""):
        return DEFAULT_TIMEOUT
    try:
        seconds = 0.0 if isinstance(value, bool) else float(value)
    except (TypeError, ValueError):
        seconds = 0.0
    if not 0 < seconds <= 3600:
        raise ConnectionSetupError(
            f"The extra 'timeout' of {name} must be a number of seconds above 0 and up to 3,600."
        )
    return seconds


def _verify(name: str, extra: Mapping[str, Any]) -> bool | str:
    value = extra.get("verify")
    if value in (None, ""):
        return True
    if isinstance(value, str):
        return {"true": True, "false": False}.get(value.strip().lower(), value)
    if isinstance(value, bool):
        return value
    raise ConnectionSetupError(
        f"The extra 'verify' of {name} is {value!r}, but must be true, false or the path of a CA bundle."
    )


def _proxy(name: str, extra: Mapping[str, Any]) -> str | None:
    value = extra.get("proxy")
    if value in (None, ""):
        return None
    if not isinstance(value, str) or not _is_http_url(value):
        raise ConnectionSetupError(f"The extra 'proxy' of {name} must be a URL such as http://proxy.example.com:3128.")
    return value


def _is_http_url(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
    except ValueError:
        return False
