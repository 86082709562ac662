"""The example on the reference page of the hook, as it is printed there."""

import json
from datetime import timedelta
from pathlib import Path

from airflow_provider_modelmax.api import Result
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook


def make_video(prompt: str, folder: Path) -> list[str]:
    """Make a video in a folder, and return its URI in a list."""
    hook = ModelMaxHook("modelmax_default")
    paid = folder / "result.json"
    if paid.exists():  # an earlier try has paid for it
        result = Result.from_dict(json.loads(paid.read_text()))
    else:
        job = hook.submit_video("veo-3.1-fast", prompt, {"duration_seconds": 4})
        hook.wait(job, deadline=timedelta(minutes=30))
        result = hook.get_result(job)  # bills
        paid.write_text(json.dumps(result.as_dict()))
    return hook.download_videos(result, f"{folder}/")


def copy_video(result: Result, path: Path) -> None:
    """Write a video as it comes, without checks."""
    hook = ModelMaxHook("modelmax_default")
    with path.open("wb") as file:
        for chunk in hook.stream_content(result.urls[0]):
            file.write(chunk)
