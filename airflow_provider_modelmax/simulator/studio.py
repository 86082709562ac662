"""Keeps encoded videos: one encoding at a time, each scene once, off the event loop, bounded on disk."""

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

from .film import Film, digest
from .render import Scene, StoppedError, render

if TYPE_CHECKING:
    from .orders import Order

KEEP_BYTES = 512 * 1024 * 1024
MOST_AHEAD = 8  # so many scenes wait for the encoder before somebody asks for them


@dataclass(frozen=True)
class Reel:
    """A film, and the SHA-256 of the whole of it."""

    film: Film
    sha256: str


class Studio:
    """Renders scenes in one thread of low priority."""

    def __init__(self, keep_bytes: int = KEEP_BYTES) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="modelmax-simulator-"))
        self._keep = keep_bytes
        self._reels: OrderedDict[tuple[Scene, int], Future[Reel]] = OrderedDict()
        self._lock = threading.RLock()
        self._stopped = threading.Event()
        self._names = count(1)
        self._thread = ThreadPoolExecutor(1, "modelmax-studio", initializer=_be_nice)

    def reel(self, scene: Scene, filler: int = 0) -> Future[Reel]:
        """Find a video, or have it made."""
        key = (scene, filler)
        with self._lock:
            if key not in self._reels or _failed(self._reels[key]):
                self._reels[key] = self._thread.submit(self._make, scene, filler)
            self._reels.move_to_end(key)
            return self._reels[key]

    def ahead(self, scene: Scene, filler: int = 0) -> None:
        """Have a video made before somebody asks for it, unless many are waiting already."""
        with self._lock:
            waiting = sum(not reel.done() for reel in self._reels.values())
        if waiting < MOST_AHEAD:
            self.reel(scene, filler)

    def drop_waiting(self) -> None:
        """Forget what was ordered and not begun."""
        with self._lock:
            for key, reel in list(self._reels.items()):
                if reel.cancel():
                    del self._reels[key]

    def close(self) -> None:
        """Give up what is being made, and clear the folder."""
        self._stopped.set()
        self._thread.shutdown(wait=True, cancel_futures=True)
        shutil.rmtree(self.folder, ignore_errors=True)

    def _make(self, scene: Scene, filler: int) -> Reel:
        path = self.folder / f"{next(self._names)}.mp4"
        with suppress(StoppedError):
            render(scene, path, self._stopped.is_set)
        film = Film(path, path.stat().st_size, filler)
        reel = Reel(film, digest(film))
        self._trim(path.stat().st_size)
        return reel

    def _trim(self, coming: int) -> None:
        """Drop the videos that were asked for longest ago."""
        with self._lock:
            done = [(key, reel.result()) for key, reel in self._reels.items() if reel.done() and not _failed(reel)]
            total = coming + sum(reel.film.file_size for _, reel in done)
            for key, reel in done:
                if total <= self._keep:
                    return
                total -= reel.film.file_size
                del self._reels[key]
                reel.film.path.unlink(missing_ok=True)


def _failed(reel: Future[Reel]) -> bool:
    return reel.cancelled() or (reel.done() and reel.exception() is not None)


def _be_nice() -> None:
    # On Linux a thread has a niceness of its own; elsewhere it would slow the whole process.
    if sys.platform == "linux":
        with suppress(OSError):
            os.nice(5)


def scenes(order: Order, *, plain: bool = False) -> list[Scene]:
    """Lay out one scene per sample."""
    width, height = order.size
    return [
        Scene(
            prompt="ModelMax simulator" if plain else order.prompt,
            negative_prompt="" if plain else order.negative_prompt,
            size=order.size,
            seconds=order.duration_seconds,
            audio=order.generate_audio,
            sample=sample,
            label=f"{order.model}  ·  {width}x{height}  ·  {order.duration_seconds} s",
            image=order.image,
        )
        for sample in range(order.sample_count)
    ]
