"""Use stored videos: scheduled on their asset, with URIs and bill in the asset event."""

import logging
from typing import Any

from airflow.sdk import DAG, Asset, task

LANDED = Asset("modelmax_landed")

log = logging.getLogger(__name__)


@task
def publish(triggering_asset_events: Any = None) -> list[str]:
    """Log the stored videos; put your own step here."""
    events = triggering_asset_events[LANDED]
    for event in events:
        log.info("Job %s: %s, billed %s", event.extra["request_id"], event.extra["uris"], event.extra["usage"])
    return [uri for event in events for uri in event.extra["uris"]]


with DAG("modelmax_publish", schedule=[LANDED], tags=["modelmax"]):
    publish()
