"""Watches the bucket: any video that is visible, even for a moment, must be complete."""

from __future__ import annotations

import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING

import botocore.exceptions
from typing_extensions import Self

if TYPE_CHECKING:
    from types import TracebackType

    from tests.stack.s3 import SeaweedFS


class Watcher:
    """Lists the bucket in a thread and reads each video that is new or has changed."""

    def __init__(self, s3: SeaweedFS, pause: float = 0.5) -> None:
        """Take the store; entering the context starts watching."""
        self.s3 = s3
        self.pause = pause
        self.looks = 0
        self.seen: dict[tuple[str, str], tuple[int, str]] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watcher", daemon=True)

    def __enter__(self) -> Self:
        """Start."""
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Look once more, then stop."""
        self._stop.set()
        self._thread.join(timeout=60)

    @property
    def videos(self) -> dict[str, tuple[int, str]]:
        """The latest size and checksum of each video, by key."""
        return {key: found for (key, _), found in self.seen.items()}

    def broken(self, served: set[tuple[int, str]]) -> list[str]:
        """Return the keys that, at any time, had something that the service did not serve."""
        return sorted({key for (key, _), found in self.seen.items() if found not in served})

    def _watch(self) -> None:
        while not self._stop.wait(self.pause):
            self.look()
        self.look()

    def look(self) -> None:
        """Look once."""
        # While the store is down there is nothing to see.
        with contextlib.suppress(botocore.exceptions.BotoCoreError, botocore.exceptions.ClientError):
            client = self.s3.client()
            for page in client.get_paginator("list_objects_v2").paginate(Bucket=self.s3.bucket):
                for item in page.get("Contents", []):
                    key, version = item["Key"], item["ETag"]
                    if key.endswith(".mp4") and (key, version) not in self.seen:
                        data = self.s3.read(key)
                        self.seen[key, version] = (len(data), hashlib.sha256(data).hexdigest())
            self.looks += 1
