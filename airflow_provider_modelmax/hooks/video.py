"""Downloads a video to its URI, and again if it arrives cut off or damaged."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax import api, metrics
from airflow_provider_modelmax.api.errors import BrokenVideoError
from airflow_provider_modelmax.api.text import log_lines
from airflow_provider_modelmax.storage.objects import Saved, save_video

if TYPE_CHECKING:
    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook, Pause

DOWNLOAD_ATTEMPTS = 4
"""Attempts for each video, at most."""

LOG_EVERY = 10.0
"""Seconds between two progress lines of a download."""


def download(
    hook: ModelMaxHook,
    url: str,
    uri: str,
    *,
    log: Any,
    pause: Pause,
    through: Callable[[Iterator[bytes]], Iterator[bytes]] = iter,
) -> Saved:
    """Download the video at ``url`` and store it at ``uri``, all or nothing.

    :param hook: calls the service
    :param url: one of ``Result.urls``
    :param uri: of the object
    :param log: a logger for failed attempts, progress and the end
    :param pause: waits for that many seconds between two attempts; may raise to end them
    :param through: wraps the iterator over the bytes; may raise to end the download
    :raises ModelMaxError: if the service did not give the video
    :raises BrokenVideoError: if the bytes of all attempts were not a complete MP4
    :raises StorageError: if the store failed
    """
    attempt = 0
    while True:
        attempt += 1
        try:
            return _download(hook, url, uri, log, through)
        except api.ModelMaxError as error:
            delay = api.backoff(attempt, getattr(error, "retry_after", None))
            if attempt >= DOWNLOAD_ATTEMPTS or delay is None or not _may_succeed_later(url, error):
                raise
            log_lines(log.warning, f"Attempt {attempt} of {DOWNLOAD_ATTEMPTS} failed: {str(error).rstrip('.')}.")
            log.warning("Nothing was stored. The next attempt is in %.1f s: %s", delay, uri)
            pause(delay)


def _download(
    hook: ModelMaxHook, url: str, uri: str, log: Any, through: Callable[[Iterator[bytes]], Iterator[bytes]]
) -> Saved:
    started = time.monotonic()
    with hook.stream_content(url) as content:
        progress = _reporter(log, uri, content.size)
        saved = save_video(uri, through(content.chunks), size=content.size, on_progress=progress)
    seconds = max(time.monotonic() - started, 0.001)
    metrics.landed(saved.size, timedelta(seconds=seconds))
    rate = saved.size / seconds / 1e6
    log.info("Landed %s bytes in %.1f s (%.1f MB/s): %s", f"{saved.size:,}", seconds, rate, uri)
    return saved


def _may_succeed_later(url: str, error: api.ModelMaxError) -> bool:
    """Return whether another attempt may succeed: a video can be there a little later than its result."""
    if isinstance(error, api.NotFoundError | BrokenVideoError):
        return True
    return api.can_pass(api.content(url), error)


def _reporter(log: Any, uri: str, size: int | None) -> Callable[[int], None]:
    """Return a function that logs how many bytes are written, every LOG_EVERY seconds."""
    due = time.monotonic() + LOG_EVERY

    def report(written: int) -> None:
        nonlocal due
        if time.monotonic() >= due:
            due += LOG_EVERY
            of = f" of {size / 1e6:.0f}" if size else ""
            log.info("Downloaded %.0f%s MB so far: %s", written / 1e6, of, uri)

    return report
