"""What is written, and what a store shows of it."""

from __future__ import annotations

import gc
import subprocess
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

from tests.mp4s import encode
from tests.stack.processes import PROJECT, child_environment
from tests.stack.s3 import BUCKET
from tests.stores import Store, on

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MEBI = 1024 * 1024
OLD = b"what stood there before"
SMALL = encode("faststart")
SIZES = {"small": len(SMALL), "one part": 8 * MEBI, "several parts": 20 * MEBI + 12_345}

object_stores = on("s3", "gcs", "azure")


def pieces(video: bytes, size: int) -> Iterator[bytes]:
    return (video[at : at + size] for at in range(0, len(video), size))


_WRITER = """
import sys
from airflow_provider_modelmax.storage.objects import save_video
from tests.mp4s import padded

def written(count):
    print("in the middle", flush=True)
    sys.stdin.read()

save_video(sys.argv[1], [padded(20 << 20)[: 17 << 20], b""], on_progress=written)
"""


@contextmanager
def writing(store: Store, home: Path) -> Iterator[subprocess.Popen[str]]:
    """Yield another process that has written 17 of 20 MiB of x.mp4 and waits.

    :param home: of Airflow
    """
    process = subprocess.Popen(
        [sys.executable, "-c", _WRITER, store.uri("x.mp4")],
        env=child_environment({**store.environment(), "AIRFLOW_HOME": str(home), "PYTHONPATH": str(PROJECT)}),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        assert process.stdout
        assert any("in the middle" in line for line in process.stdout)
        yield process


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
