"""A video to a real S3 server, compared with `curl | aws s3 cp -` and with uploading one part after the other."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from statistics import median
from typing import Any

from tests.benchmarks.far_away import far_away
from tests.benchmarks.report import Figure, Report, Say
from tests.benchmarks.video_server import video_server, write_video
from tests.stack.processes import PROJECT, child_environment
from tests.stack.s3 import OWNER, SeaweedFS

MEBI = 1024 * 1024
AWS = Path(sys.executable).parent.parent / "aws" / "bin" / "aws"
ROUND_TRIP = 0.05

Cost = dict[str, float]


def run(quick: bool, say: Say) -> Report:
    """Measure wall time and memory."""
    size, rounds = (200, 3) if quick else (500, 5)
    report = Report("store", f"one video of {size} MB to S3 (SeaweedFS), from HTTP on the same machine")
    folder = Path(tempfile.mkdtemp(prefix="modelmax-bench-"))
    try:
        video, small = write_video(folder / "big.mp4", size * 1_000_000), write_video(folder / "small.mp4", 100_000)
        with video_server(folder, video) as url, video_server(folder, small) as small_url, SeaweedFS() as s3:
            bench = _Bench(url, small_url, s3)
            report.figures += _near(bench, rounds, say)
            report.figures += _far(bench, folder, rounds, say)
            report.figures += _memory(bench, report, folder, small_url, quick, say)
    finally:
        shutil.rmtree(folder)
    return report


class _Bench:
    def __init__(self, url: str, small_url: str, s3: SeaweedFS) -> None:
        self.url, self.s3 = url, s3
        self.connections = {"modelmax_default": connection(url), "modelmax_small": connection(small_url)}

    def fetch(self, way: str, *, port: int | None = None, files: int = 1) -> Cost:
        """Run one process that downloads."""
        store = self.s3.connection
        store["extra"]["endpoint_url"] = f"http://127.0.0.1:{port or self.s3.port}"
        connections = {**self.connections, "store": store}
        arguments = [way, f"s3://store@{self.s3.bucket}/{way}", "--files", str(files)]
        return fetch(arguments, connections)

    def curl_to_aws(self) -> Cost:
        """Run the shell command."""
        secrets = {"AWS_ACCESS_KEY_ID": OWNER.login, "AWS_SECRET_ACCESS_KEY": OWNER.password}
        target = f"--endpoint-url {self.s3.url} --region us-east-1 s3://{self.s3.bucket}/by-aws.mp4"
        command = f"curl -sS --fail {self.url}/video | {shlex.quote(str(AWS))} s3 cp - {target}"
        environment = {**child_environment({}), **secrets, "AWS_CONFIG_FILE": os.devnull}
        begun = time.monotonic()
        subprocess.run(["bash", "-o", "pipefail", "-c", command], env=environment, check=True, capture_output=True)
        return {"seconds": time.monotonic() - begun}

    def aws_alone(self) -> float:
        """Return how long the AWS CLI takes to start: our process is also measured without its imports."""
        begun = time.monotonic()
        subprocess.run([str(AWS), "--version"], check=True, capture_output=True)
        return time.monotonic() - begun


def _near(bench: _Bench, rounds: int, say: Say) -> list[Figure]:
    if not AWS.exists() or not shutil.which("curl"):
        say("  curl or the AWS CLI is not installed: not measured against them")
        return []
    costs = interleaved(rounds, say, curl=bench.curl_to_aws, ours=lambda: bench.fetch("ours"))
    start = bench.aws_alone()
    pairs = [(c["seconds"] - start, o["seconds"]) for c, o in zip(costs["curl"], costs["ours"], strict=True)]
    detail = (
        f"{median(o for _, o in pairs):.2f} s against {median(c for c, _ in pairs):.2f} s, which excludes its startup"
    )
    what = "speed against `curl | aws s3 cp -`"
    return [Figure.of(what, [theirs / mine for theirs, mine in pairs], "≥ 1.0", detail=detail)]


def _far(bench: _Bench, folder: Path, rounds: int, say: Say) -> list[Figure]:
    with far_away(folder, bench.s3.port, ROUND_TRIP) as port:
        costs = interleaved(
            rounds,
            say,
            sequential=lambda: bench.fetch("one-after-the-other", port=port),
            ours=lambda: bench.fetch("ours", port=port),
        )
    pairs = [(s["seconds"], o["seconds"]) for s, o in zip(costs["sequential"], costs["ours"], strict=True)]
    detail = f"{median(o for _, o in pairs):.2f} s against {median(s for s, _ in pairs):.2f} s"
    what = "the store 50 ms away: speed against uploading one part after the other"
    return [Figure.of(what, [theirs / mine for theirs, mine in pairs], "≥ 1.5", detail=detail)]


def _memory(bench: _Bench, report: Report, folder: Path, small_url: str, quick: bool, say: Say) -> list[Figure]:
    rounds = 2 if quick else 3
    four = [bench.fetch("ours", files=4)["memory"] / MEBI for _ in range(rounds)]
    say(f"  four at once: {four[-1]:.0f} MiB")
    by_size: dict[int, float] = {}
    for size in (20, 100, 250) if quick else (20, 100, 250, 500, 1000):
        video = write_video(folder / "sized.mp4", size * 1_000_000)
        with video_server(folder, video) as url:
            sized = _Bench(url, small_url, bench.s3)
            by_size[size] = median(sized.fetch("ours")["memory"] / MEBI for _ in range(rounds))
        say(f"  {size} MB alone: {by_size[size]:.0f} MiB")
    report.series["memory by size"] = by_size
    sizes = sorted(by_size)
    growth = by_size[sizes[-1]] / by_size[sizes[1]]
    return [
        Figure.of("memory beyond the idle process, four at once", four, "≤ 64", unit="MiB"),
        Figure("memory beyond the idle process, one alone", by_size[sizes[-1]], unit="MiB"),
        Figure(f"memory with {sizes[-1]} MB against {sizes[1]} MB", growth, "≤ 1.2"),
    ]


def interleaved(rounds: int, say: Say, **ways: Callable[[], Cost]) -> dict[str, list[Cost]]:
    """Measure all ways in turn, so that a busy moment of the machine affects them equally."""
    costs: dict[str, list[Cost]] = {name: [] for name in ways}
    for _ in range(rounds):
        for name, way in ways.items():
            costs[name].append(way())
        say("  " + ", ".join(f"{name} {each[-1]['seconds']:.2f} s" for name, each in costs.items()))
    return costs


def fetch(arguments: list[str], connections: Mapping[str, Any]) -> Cost:
    """Run `tests.benchmarks.fetch` and return its cost."""
    environment = {f"AIRFLOW_CONN_{name.upper()}": json.dumps(each) for name, each in connections.items()}
    environment |= {"PYTHONPATH": str(PROJECT), "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING"}
    command = [sys.executable, "-m", "tests.benchmarks.fetch", *arguments]
    done = subprocess.run(command, check=False, env=child_environment(environment), capture_output=True, text=True)
    if done.returncode:
        raise RuntimeError(done.stdout + done.stderr)
    return dict(json.loads(done.stdout.splitlines()[-1]))


def connection(url: str, **extra: str) -> dict[str, Any]:
    """Return the Airflow connection to a video server."""
    return {"conn_type": "modelmax", "host": url, "password": "sk-a-key-for-benchmarks", "extra": extra}
