"""Do something with each video that an alias stands for: where they are is known only when they have landed."""

from typing import Any

from airflow.sdk import DAG, AssetAlias, task


@task
def catalogue(triggering_asset_events: Any = None) -> list[str]:
    """Tell of each video that an alias stands for; its asset is the object, without the connection that opens it."""
    events = [event for of_one in triggering_asset_events.values() for event in of_one]
    return [f"{event.asset.uri} is a video of job {event.extra['request_id']}" for event in events]


with DAG("modelmax_catalogue", schedule=[AssetAlias("modelmax_videos")], tags=["modelmax"]):
    catalogue()
