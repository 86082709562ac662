"""Which objects a task read and wrote, for those who follow data: asset events and hook lineage."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from airflow.providers.common.compat.sdk import Asset, AssetAlias

from airflow_provider_modelmax.stores import plain

if TYPE_CHECKING:
    from airflow.sdk import Context


def tell_outlets(context: Context, extra: Mapping[str, Any]) -> None:
    """Put what was made into the asset events that Airflow emits for this task's outlets.

    :param extra: what was made; an ``AssetAlias`` gets an asset for each of its ``uris``
    """
    for outlet in context["task"].outlets:
        if isinstance(outlet, Asset):
            context["outlet_events"][outlet].extra = dict(extra)
        elif isinstance(outlet, AssetAlias):
            for uri in extra["uris"]:
                context["outlet_events"][outlet].add(Asset(plain(uri)), extra=dict(extra))


def tell_collector(hook: Any, *, read: Sequence[str], written: Sequence[str]) -> None:
    """Tell Airflow's collector of hook lineage, for whoever reads it (OpenLineage does)."""
    if not _is_read():
        return
    from airflow.providers.common.compat.sdk import get_hook_lineage_collector  # noqa: PLC0415 - only where it is read

    collector = get_hook_lineage_collector()
    for uri in read:
        collector.add_input_asset(context=hook, uri=plain(uri))
    for uri in written:
        collector.add_output_asset(context=hook, uri=plain(uri))


def _is_read() -> bool:
    """Say whether a plugin reads hook lineage. Even the collector for nobody loads the hooks of providers (100 ms)."""
    try:
        from airflow.sdk.plugins_manager import get_hook_lineage_readers_plugins  # noqa: PLC0415 - not on 3.1
    except ImportError:
        return True
    return bool(get_hook_lineage_readers_plugins())
