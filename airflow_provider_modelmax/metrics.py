"""Counters and timers through Airflow's Stats, all under ``modelmax.``; ``[metrics]`` configures where they go.

Names are listed for users in docs/observability.md. Models are tags: backends without tags leave them out.
"""

from __future__ import annotations

import re
from datetime import timedelta

from airflow.providers.common.compat.sdk import Stats

from airflow_provider_modelmax.api import Result

_OURS = __name__.partition(".")[0]


def submitted(model: str) -> None:
    """Count a job that was submitted."""
    Stats.incr("modelmax.submitted", tags={"model": model})


def waited(model: str, *, queued: float | None, generating: float | None) -> None:
    """Send the times of a job that was waited for until it was COMPLETED, as far as they were observed.

    :param queued: seconds that it was seen in the queue, None if that was not observed
    :param generating: seconds that it was seen generating, None if that was not observed
    """
    for name, seconds in (("queued", queued), ("generating", generating)):
        if seconds is not None:
            Stats.timing(f"modelmax.{name}", timedelta(seconds=seconds), tags={"model": model})


def completed(model: str, result: Result, waited: timedelta | None) -> None:
    """Count a job whose result was fetched, and what that billed.

    :param waited: since the job was submitted, None where that is not known
    """
    tags = {"model": model}
    Stats.incr("modelmax.completed", tags=tags)
    seconds = result.usage.get("video_seconds")
    if isinstance(seconds, int | float) and seconds > 0:  # Airflow's OpenTelemetry logger raises for less than 0
        # The service may bill parts of a second; statsd and OpenTelemetry count them.
        Stats.incr("modelmax.video_seconds_billed", seconds, tags=tags)  # type: ignore[arg-type]
    if waited is not None:
        Stats.timing("modelmax.wait", waited, tags=tags)


def landed(size: int, took: timedelta) -> None:
    """Count a video that was written.

    :param size: bytes
    :param took: to download, check and write it
    """
    Stats.incr("modelmax.landed")
    Stats.incr("modelmax.landed_bytes", size)
    Stats.timing("modelmax.download", took)


def is_ours(error: BaseException) -> bool:
    """Return whether an error is one of this package, or of a subclass of one."""
    return any(cls.__module__.partition(".")[0] == _OURS for cls in type(error).__mro__)


def failed(error: Exception) -> None:
    """Count a try that failed, by reason."""
    Stats.incr(f"modelmax.failed.{reason_of(error)}")


def reason_of(error: BaseException) -> str:
    """Return the error's class in words: ``job_failed``, ``insufficient_balance``; ``other`` for foreign errors."""
    for each in (error, error.__cause__):
        cls = type(each)
        if cls.__module__.partition(".")[0] == _OURS and cls.__name__ != "ModelMaxError":
            return re.sub(r"(?<!^)(?=[A-Z])", "_", cls.__name__.removesuffix("Error")).lower()
    return "other"
