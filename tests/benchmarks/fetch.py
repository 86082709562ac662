"""A process that downloads videos like a task, and prints the cost as JSON: `python -m tests.benchmarks.fetch`."""

from __future__ import annotations

import argparse
import json
import resource
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from airflow.sdk import ObjectStoragePath

from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.storage.objects import save_video

URL = "/v1/queue/veo-3.1/requests/any/content/0"
BLOCK = 8 * 1024 * 1024


def ours(hook: ModelMaxHook, uri: str) -> None:
    """Download like the operators: checked, hashed, all or nothing."""
    with hook.stream_content(URL) as content:
        save_video(uri, content.chunks, size=content.size)


def one_after_the_other(hook: ModelMaxHook, uri: str) -> None:
    """Write to a file of the store's filesystem, like a simple operator."""
    path: Any = ObjectStoragePath(uri)
    with hook.stream_content(URL) as content, path.open("wb", block_size=BLOCK) as file:
        for chunk in content.chunks:
            file.write(chunk)


WAYS: dict[str, Callable[[ModelMaxHook, str], None]] = {"ours": ours, "one-after-the-other": one_after_the_other}


def main() -> None:
    """Download a small file first, so that everything is loaded, then measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("way", choices=WAYS)
    parser.add_argument("destination", help="a folder URI")
    parser.add_argument("--files", type=int, default=1, help="at once")
    chosen = parser.parse_args()
    way = WAYS[chosen.way]
    way(ModelMaxHook("modelmax_small"), f"{chosen.destination}/warm.mp4")
    uris = [f"{chosen.destination}/{number}.mp4" for number in range(chosen.files)]
    with ThreadPoolExecutor(chosen.files) as pool:
        list(pool.map(lambda _: time.sleep(0.05), uris))  # so that the threads exist
        before, begun, memory = _cpu(), time.monotonic(), _status("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")  # resets the peak
        list(pool.map(lambda uri: way(ModelMaxHook("modelmax_default"), uri), uris))
    cost = {
        "seconds": time.monotonic() - begun,
        "cpu": _cpu() - before,
        "memory": _status("VmHWM") - memory,
    }
    print(json.dumps(cost))


def _cpu() -> float:
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime


def _status(name: str) -> int:
    """Return bytes."""
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith(name))


if __name__ == "__main__":
    main()
