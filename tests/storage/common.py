"""What is written, and what a store shows of it."""

from __future__ import annotations

import gc
from typing import TYPE_CHECKING

from tests.mp4s import encode
from tests.stack.s3 import BUCKET
from tests.stores import Store, on

if TYPE_CHECKING:
    from collections.abc import Iterator

MEBI = 1024 * 1024
OLD = b"what stood there before"
SMALL = encode("faststart")
SIZES = {"small": len(SMALL), "one part": 8 * MEBI, "several parts": 20 * MEBI + 12_345}

object_stores = on("s3", "gcs", "azure")


def pieces(video: bytes, size: int) -> Iterator[bytes]:
    return (video[at : at + size] for at in range(0, len(video), size))


def nothing_new(store: Store, old: bytes | None) -> bool:
    """Say whether the store shows what it showed before, and hides nothing."""
    gc.collect(1)  # a file that was only forgotten would be published by now
    if store.leftovers():
        return False
    return store.names() == [] if old is None else store.names() == ["x.mp4"] and store.read("x.mp4") == old


def bucket_of(store: Store) -> str:
    return store.uri("").split(f"@{BUCKET}")[0] + f"@{BUCKET}"


def missing_bucket(store: Store) -> str:
    return bucket_of(store).replace(f"@{BUCKET}", "@no-such-bucket")
