"""Encodes videos in a background thread, each scene once, and keeps them on disk up to a limit."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
import threading
from collections import OrderedDict
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import TYPE_CHECKING

from .render import StoppedError, render
from .video_file import VideoFile, sha256_of

if TYPE_CHECKING:
    from .scene import Scene

MAX_BYTES = 512 * 1024 * 1024
MAX_PREFETCHED = 8


@dataclass(frozen=True)
class EncodedVideo:
    """An encoded video and the SHA-256 of the whole file."""

    file: VideoFile
    sha256: str


class EncoderCache:
    """Renders scenes in one low-priority thread.

    :param max_bytes: Encoded videos beyond this are removed, least recently used first.
    """

    def __init__(self, max_bytes: int = MAX_BYTES) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelmax-simulator-"))
        self._max_bytes = max_bytes
        self._videos: OrderedDict[tuple[Scene, int], Future[EncodedVideo]] = OrderedDict()
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._names = count(1)
        self._executor = ThreadPoolExecutor(1, "modelmax-encoder", initializer=_lower_priority)

    def get(self, scene: Scene, filler: int = 0) -> Future[EncodedVideo]:
        """Return a video, encoding it if it is not cached.

        :param filler: Size in bytes of the `free` box that is added to the file.
        """
        key = (scene, filler)
        with self._lock:
            if key not in self._videos or _failed(self._videos[key]):
                self._videos[key] = self._executor.submit(self._encode, scene, filler)
            self._videos.move_to_end(key)
            return self._videos[key]

    def prefetch(self, scene: Scene, filler: int = 0) -> None:
        """Start encoding a video before it is requested, unless `MAX_PREFETCHED` others are waiting."""
        with self._lock:
            waiting = sum(not video.done() for video in self._videos.values())
        if waiting < MAX_PREFETCHED:
            self.get(scene, filler)

    def cancel_waiting(self) -> None:
        """Cancel the encodings that have not started."""
        with self._lock:
            for key, video in list(self._videos.items()):
                if video.cancel():
                    del self._videos[key]

    def close(self) -> None:
        """Stop the encoding that is under way, and remove the folder."""
        self._stopped.set()
        self._executor.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _encode(self, scene: Scene, filler: int) -> EncodedVideo:
        path = self.folder / f"{next(self._names)}.mp4"
        with suppress(StoppedError):
            render(scene, path, self._stopped.is_set)
        file = VideoFile(path, path.stat().st_size, filler)
        video = EncodedVideo(file, sha256_of(file))
        self._evict(path.stat().st_size)
        return video

    def _evict(self, new_bytes: int) -> None:
        """Remove the least recently used videos until the new one fits."""
        with self._lock:
            done = [(key, video.result()) for key, video in self._videos.items() if video.done() and not _failed(video)]
            total = new_bytes + sum(video.file.file_size for _, video in done)
            for key, video in done:
                if total <= self._max_bytes:
                    return
                total -= video.file.file_size
                del self._videos[key]
                video.file.path.unlink(missing_ok=True)


def _failed(video: Future[EncodedVideo]) -> bool:
    return video.cancelled() or (video.done() and video.exception() is not None)


def _lower_priority() -> None:
    # On Linux a thread has its own niceness; on other systems this would slow down the whole process.
    if sys.platform == "linux":
        with suppress(OSError):
            os.nice(5)
