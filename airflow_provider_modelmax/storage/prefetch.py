"""Reads on while the reader is busy: a store is written to in one thread, and what comes next is fetched in another."""

from __future__ import annotations

import queue
import threading
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any

AHEAD = 8
"""Chunks of a video that are read while a part of it is uploaded where one part goes after the other."""

_END = object()


@contextmanager
def read_ahead(chunks: Iterable[bytes], most: int) -> Iterator[Iterator[bytes]]:
    """Yield an iterator over ``chunks`` of which up to ``most`` are read before they are asked for.

    What reading raises is raised where the chunk would have come. After the block no read begins; one that is under
    way goes on until it has its bytes or its own timeout ends it, and whoever closes its connection waits for that.
    """
    ahead: queue.Queue[Any] = queue.Queue(most)
    stopped = threading.Event()
    threading.Thread(target=_read, args=(chunks, ahead, stopped), name="modelmax-read-ahead", daemon=True).start()
    try:
        yield _taken(ahead)
    finally:
        stopped.set()


def _read(chunks: Iterable[bytes], ahead: queue.Queue[Any], stopped: threading.Event) -> None:
    try:
        for chunk in chunks:
            _put(ahead, chunk, stopped)
            if stopped.is_set():
                return
        _put(ahead, _END, stopped)
    except BaseException as error:
        _put(ahead, error, stopped)


def _put(ahead: queue.Queue[Any], what: object, stopped: threading.Event) -> None:
    while not stopped.is_set():
        with suppress(queue.Full):
            ahead.put(what, timeout=0.2)
            return


def _taken(ahead: queue.Queue[Any]) -> Iterator[bytes]:
    while (what := ahead.get()) is not _END:
        if isinstance(what, BaseException):
            raise what
        yield what
