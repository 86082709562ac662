"""Paths of the service, and the check that a URL stays on the connection's origin. No I/O."""

from __future__ import annotations

from functools import lru_cache
from urllib.parse import quote, urljoin, urlsplit

from airflow_provider_modelmax.api.errors import ForeignUrlError, InvalidInputError
from airflow_provider_modelmax.api.text import excerpt

DEFAULT_BASE_URL = "https://api.modelmax.io"

_NOT_QUOTED = "".join(map(chr, range(0x21, 0x7F)))
"""Characters of a URL that are sent as the service gave them: all but spaces and those beyond ASCII."""


def queue_path(model: str, request_id: str | None = None) -> str:
    """Return the path to which a model's jobs are submitted, or of one job, below which its status and content are.

    :raises InvalidInputError: for the ids ``.`` and ``..``, which HTTP clients resolve
    """
    for name, value in (("model", model), ("request_id", request_id)):
        if value in {".", ".."}:
            raise InvalidInputError(f"{name} {value!r} is not an id: it would change the path of the call.")
    path = f"/v1/queue/{quote(model, safe='')}"
    return path if request_id is None else f"{path}/requests/{quote(request_id, safe='')}"


def resolve(base_url: str, url: str) -> str:
    """Return the absolute URL of a path, on the connection's own origin.

    :param base_url: the connection's, without a trailing slash; may have a path of its own
    :param url: a path, or a URL on the same origin, as the service gave it
    :raises ForeignUrlError: if it is on another scheme, host or port, invalid, or read by HTTP clients in different
        ways
    """
    # With a backslash, https://evil\\@api.modelmax.io is at api.modelmax.io for urlsplit, and at evil for urllib3.
    if not url.isprintable() or "\\" in url:
        raise ForeignUrlError(f"The service gave an invalid URL: {excerpt(url)}. Nothing was sent.")
    url = quote(url, safe=_NOT_QUOTED)
    prefix = urlsplit(base_url).path
    try:
        if not url.startswith("/") and not urlsplit(url).scheme:
            url = f"/{url}"  # otherwise urljoin would merge the two slashes of an id
        in_prefix = url.startswith("/") and not url.startswith("//") and not url.startswith(f"{prefix}/")
        absolute = urljoin(f"{base_url}/", f"{prefix}{url}" if in_prefix else url)
        same = _origin(absolute) == _origin(base_url) and "@" not in urlsplit(absolute).netloc
    except ValueError:  # an impossible port, half an IPv6 address
        raise ForeignUrlError(f"The service gave an invalid URL: {excerpt(url)}. Nothing was sent.") from None
    if not same:
        raise ForeignUrlError(
            f"The service gave a URL on another host ({_netloc(absolute)}); the connection's is "
            f"{_netloc(base_url)}. The key is not sent there and nothing was fetched."
        )
    return absolute


def redirect_target(location: str) -> str:
    """Return where a redirect leads, for a message: without path and query, which can hold a secret."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return f"to {host}" if host else "within the same host" if location.startswith("/") else "to no URL"


def _netloc(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


@lru_cache
def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)
