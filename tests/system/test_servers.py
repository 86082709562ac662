"""The S3 server and the processes of the harness."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from typing import TYPE_CHECKING

import botocore.exceptions
import psutil
import pytest

from tests.stack.processes import PROJECT, Service, child_environment, stop, wait_until
from tests.stack.s3 import READER

if TYPE_CHECKING:
    from pathlib import Path

    from tests.stack.s3 import SeaweedFS
    from tests.stack.simulator import SimulatorProcess

pytestmark = pytest.mark.system

# A session of its own, as the bash command of a task has: nothing of it is in the group of the service.
STRAY = "setsid sleep 300 & echo $! > stray; wait"


def test_a_stopped_service_leaves_no_stray_child(tmp_path: Path) -> None:
    service = Service("stray", ["bash", "-c", STRAY], child_environment({}), tmp_path / "log").start()
    stray = _stray(tmp_path)
    stop([service])
    assert not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE


def test_a_killed_session_leaves_no_service(tmp_path: Path) -> None:
    script = (
        "import pathlib, time; from tests.stack.processes import Service, child_environment\n"
        f"log = pathlib.Path({str(tmp_path / 'log')!r})\n"
        f"Service('stray', ['bash', '-c', {STRAY!r}], child_environment({{}}), log).start()\n"
        "time.sleep(300)"
    )
    session = subprocess.Popen([sys.executable, "-c", script], cwd=PROJECT)
    stray = _stray(tmp_path)
    os.kill(session.pid, signal.SIGKILL)
    session.wait()
    wait_until(lambda: not stray.is_running() or stray.status() == psutil.STATUS_ZOMBIE, 60, "the stray is gone")


def test_the_reader_reads_and_cannot_write(seaweedfs: SeaweedFS) -> None:
    seaweedfs.client().put_object(Bucket=seaweedfs.bucket, Key="reader/object", Body=b"bytes")
    reader = seaweedfs.client(READER)
    assert reader.get_object(Bucket=seaweedfs.bucket, Key="reader/object")["Body"].read() == b"bytes"
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        reader.put_object(Bucket=seaweedfs.bucket, Key="reader/other", Body=b"")
    with pytest.raises(botocore.exceptions.ClientError, match="AccessDenied"):
        reader.create_multipart_upload(Bucket=seaweedfs.bucket, Key="reader/other")
    assert seaweedfs.list_objects("reader/") == {"reader/object": 5}


def test_objects_and_unfinished_uploads_survive_a_kill_of_the_server(seaweedfs: SeaweedFS) -> None:
    seaweedfs.client().put_object(Bucket=seaweedfs.bucket, Key="kill/object", Body=b"bytes")
    seaweedfs.client().create_multipart_upload(Bucket=seaweedfs.bucket, Key="kill/unfinished")
    seaweedfs.kill()
    seaweedfs.start()
    assert seaweedfs.read("kill/object") == b"bytes"
    assert seaweedfs.list_multipart_uploads("kill/") == ["kill/unfinished"]


def test_the_simulator_is_steered_from_outside(simulator: SimulatorProcess) -> None:
    fault = simulator.fault("status", "error", status=503, times=1)
    assert [each["id"] for each in simulator.ledger()["faults"]] == [fault["id"]]
    simulator.lift_faults()
    assert simulator.ledger()["faults"] == []


def _stray(folder: Path) -> psutil.Process:
    def pid() -> int:
        path = folder / "stray"
        return int(path.read_text() or 0) if path.exists() else 0

    return psutil.Process(wait_until(pid, 10, "the stray has started"))
