"""An Airflow connection, read and checked: where the service is and with which key. No I/O."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING, Any
from urllib.parse import SplitResult, unquote, urlsplit

from airflow_provider_modelmax import __version__
from airflow_provider_modelmax.api import DEFAULT_BASE_URL, AnswerError, Call, ConnectionSetupError

if TYPE_CHECKING:
    from airflow.sdk import Connection

CONN_TYPE = "modelmax"

DEFAULT_TIMEOUT = 60.0
"""Seconds that one call may wait for an answer, and a download for its next bytes."""

CONNECT_TIMEOUT = 10.0
"""Seconds, at most; the connection's own timeout where that is shorter."""

MAX_ANSWER = 1024 * 1024
"""Bytes. A JSON answer has about a hundred; more than this is not from the service."""

MAX_PAID_ANSWER = 16 * MAX_ANSWER
"""Bytes of an answer that may be paid for: to ask for it again would cost again."""

HEADERS = {"User-Agent": f"airflow-provider-modelmax/{__version__}", "Accept": "application/json"}
"""What the service sees of us in every call, beside the key."""

SHORT_KEY = 8
"""Characters. A key shorter than this may be an ordinary word, and be part of a URL that is paid for."""


@dataclass(frozen=True)
class Endpoint:
    """Where to send calls, and how. The key and the proxy (it may hold a password) stay out of ``repr``."""

    base_url: str
    key: str = field(repr=False)
    timeout: float = DEFAULT_TIMEOUT
    verify: bool | str = True
    proxy: str | None = field(default=None, repr=False)

    @property
    def secrets(self) -> list[str]:
        """What no log may show: the key, the proxy's URL, and its password as a URL and as a header spell it."""
        password = urlsplit(self.proxy or "").password
        return [each for each in (self.key, self.proxy, password, unquote(password or "")) if each]

    @property
    def connect_timeout(self) -> float:
        """Seconds that a connection may take to come about."""
        return min(CONNECT_TIMEOUT, self.timeout)

    @property
    def answer_seconds(self) -> float:
        """Seconds that one attempt of a call can take: to connect, to be answered, and for the last bytes to come."""
        return self.connect_timeout + 2 * self.timeout

    def without_key(self, status: int, body: bytes) -> bytes:
        """Take the key out of an answer: gateways echo request headers on their error pages."""
        if len(self.key) < SHORT_KEY and 200 <= status < 300:
            return body
        body = body.replace(self.key.encode(), b"***")
        return _escaped(self.key).sub(b"***", body) if b"\\" in body or b"%" in body else body


def check_size(call: Call[Any], body: bytes | bytearray) -> None:
    """Read no answer without end.

    :raises AnswerError: when it is longer than any of the service
    """
    most = MAX_ANSWER if call.replayable else MAX_PAID_ANSWER
    if len(body) > most:
        raise AnswerError(f"{call} answered with more than {most:,} bytes.", garbled=True)


def read_connection(connection: Connection, *, conn_type: str = CONN_TYPE, name: str = "") -> Endpoint:
    """Read a connection of type ``modelmax``.

    :param connection: what Airflow found
    :param conn_type: the type of connections that the hook takes
    :param name: what error messages call the connection; default ``connection`` and its id
    :raises ConnectionSetupError: when something is missing or unusable; the message names the field, never the key
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
    """Refuse a connection of another service: its password would be sent to ModelMax as an API key.

    A connection from the environment need not have a type.
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
    """Return what finds a key as JSON or a URL may spell it: any of its characters escaped."""
    spellings = (rf"(?:\\?{re.escape(char)}|(?i:\\u{ord(char):04x}|%{ord(char):02x}))" for char in key)
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
        json.loads(connection.extra or "{}")  # Airflow reads {} from what is no JSON, and logs an error
        extra = connection.extra_dejson
    except ValueError:
        extra = None
    if isinstance(extra, Mapping):
        return extra
    raise ConnectionSetupError(  # without what it holds: that may be a proxy's password
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
            f"The host of {name} is no URL: write the base URL, for example {DEFAULT_BASE_URL} or http://127.0.0.1:8765."
        ) from None
    if complaint := _complaint(host, parts):
        raise ConnectionSetupError(f"The host of {name} {complaint}")
    hostname = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else parts.hostname
    return f"{parts.scheme}://{hostname}{f':{port}' if port else ''}{parts.path}"


def _complaint(host: str, parts: SplitResult) -> str | None:
    """Return what is wrong with a base URL."""
    if parts.scheme not in {"http", "https"} or not parts.hostname:
        return f"has no scheme: write the base URL, for example {DEFAULT_BASE_URL} or http://127.0.0.1:8765."
    odd = any(char.isspace() or char == "\\" for char in host)
    if odd or parts.username is not None or parts.query or parts.fragment:
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
