"""Use each video of an asset alias: its URI is known only once the video is stored."""

from typing import Any

from airflow.sdk import DAG, AssetAlias, task


@task
def catalogue(triggering_asset_events: Any = None) -> list[str]:
    """Describe each video of the alias. The asset's URI is that of the object, without the connection id."""
    events = [event for of_asset in triggering_asset_events.values() for event in of_asset]
    return [f"{event.asset.uri} is a video of job {event.extra['request_id']}" for event in events]


with DAG("modelmax_catalogue", schedule=[AssetAlias("modelmax_videos")], tags=["modelmax"]):
    catalogue()
