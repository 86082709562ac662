"""Which objects a task read and wrote: asset events and hook lineage."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_modelmax.airflow_compat import is_hook_lineage_read
from airflow_provider_modelmax.storage.location import plain

if TYPE_CHECKING:
    from airflow.sdk import Context


_MARKS = "!$&'()*+,;=:@/"
"""What RFC 3986 allows in a path beside letters, digits and ``-._~``."""

_LEGAL = re.compile(rf"([A-Za-z0-9._~{re.escape(_MARKS)}-]|%[0-9A-Fa-f]{{2}})*")


def add_asset_events(context: Context, extra: Mapping[str, Any]) -> None:
    """Put what was made into the asset events that Airflow emits for this task's outlets.

    What Airflow does not take as an asset, such as a URI of more than 1,500 characters, is left out with a warning:
    else the api-server refuses the task's success.

    :param extra: what was made; an ``AssetAlias`` gets an asset for each of its ``uris``
    """
    for outlet in context["task"].outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(extra)
        elif isinstance(outlet, AssetAlias):
            for uri in extra["uris"]:
                try:
                    asset = Asset(asset_uri(uri))
                except ValueError as error:
                    context["task"].log.warning("No asset event for a video: %s: %s", error, uri)
                else:
                    context["outlet_events"][outlet].add(asset, extra=dict(extra))


def asset_uri(uri: str) -> str:
    """Return the URI of an object's asset: without its connection, and percent-encoded unless it is a legal URI.

    Airflow's api-server takes ASCII only, and an asset loses what follows ``#`` and the order of what follows ``?``.
    """
    scheme, _, rest = plain(uri).partition("://")
    return f"{scheme}://{rest if _LEGAL.fullmatch(rest) else quote(rest, safe=_MARKS, errors='replace')}"


def add_hook_lineage(hook: Any, *, read: Sequence[str], written: Sequence[str]) -> None:
    """Add objects to Airflow's collector of hook lineage, which OpenLineage reads."""
    if not is_hook_lineage_read():
        return
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector  # noqa: PLC0415 - only where it is read

    collector = get_hook_lineage_collector()
    for uri in read:
        collector.add_input_asset(context=hook, uri=asset_uri(uri))
    for uri in written:
        collector.add_output_asset(context=hook, uri=asset_uri(uri))
