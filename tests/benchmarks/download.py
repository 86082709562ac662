"""A video to the local disk, checked and hashed: CPU compared with curl, which does neither."""

from __future__ import annotations

import hashlib
import resource
import shutil
import subprocess
import tempfile
import time
from pathlib import Path
from statistics import median

from tests.benchmarks.report import Figure, Report, Say
from tests.benchmarks.store import Cost, connection, fetch, interleaved
from tests.benchmarks.video_server import video_server, write_video
from tests.stack.tls import certificate


def run(quick: bool, say: Say) -> Report:
    """Measure over HTTP and over TLS."""
    size, rounds = (200, 3) if quick else (500, 7)
    report = Report("download", f"one video of {size} MB to the local disk, checked and hashed: CPU against curl's")
    if not shutil.which("curl"):
        say("  curl is not installed: not measured")
        return report
    folder = Path(tempfile.mkdtemp(prefix="modelmax-bench-"))
    try:
        video, small = write_video(folder / "big.mp4", size * 1_000_000), write_video(folder / "small.mp4", 100_000)
        for name, target, made in (("HTTP", "≤ 0.5", None), ("TLS", "≤ 1.0", certificate(folder))):
            with video_server(folder, video, made) as url, video_server(folder, small, made) as small_url:
                extra = {"verify": str(made.ca)} if made else {}
                connections = {
                    "modelmax_default": connection(url, **extra),
                    "modelmax_small": connection(small_url, **extra),
                }
                costs = interleaved(
                    rounds,
                    say,
                    curl=lambda url=url, made=made: _curl(url, _new(folder), made.ca if made else None),
                    ours=lambda each=connections: fetch(["ours", f"file://{_new(folder)}"], each),
                )
            report.figures += _figures(name, target, costs, _hashing(size))
    finally:
        shutil.rmtree(folder)
    return report


def _figures(name: str, target: str, costs: dict[str, list[Cost]], hashing: float) -> list[Figure]:
    pairs = [(theirs["cpu"], mine["cpu"]) for theirs, mine in zip(costs["curl"], costs["ours"], strict=True)]
    curl, ours = median(theirs for theirs, _ in pairs), median(mine for _, mine in pairs)
    whole = Figure.of(
        f"over {name}", [mine / theirs for theirs, mine in pairs], target, detail=f"{ours:.2f} s: {curl:.2f} s"
    )
    without = [(mine - hashing) / theirs for theirs, mine in pairs]
    return [whole, Figure.of(f"over {name}, without the SHA-256", without, detail=f"the SHA-256 takes {hashing:.2f} s")]


def _hashing(size: int) -> float:
    """Return the CPU seconds of the SHA-256 on this machine: no client that checks can be cheaper."""
    block, digest = bytes(1_000_000), hashlib.sha256()
    begun = time.process_time()
    for _ in range(size):
        digest.update(block)
    return time.process_time() - begun


def _new(folder: Path) -> Path:
    """Return an empty folder: curl would reuse the pages of an existing file, which we never overwrite."""
    landed = folder / "landed"
    shutil.rmtree(landed, ignore_errors=True)
    landed.mkdir()
    return landed


def _curl(url: str, folder: Path, ca: Path | None) -> Cost:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    trusted = ["--cacert", str(ca)] if ca else []
    subprocess.run(["curl", "-sS", "--fail", *trusted, "-o", str(folder / "by-curl.mp4"), f"{url}/video"], check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {"seconds": cpu, "cpu": cpu}
