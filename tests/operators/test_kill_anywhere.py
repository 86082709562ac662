"""A kill may come at any instruction, also while the main thread holds a lock of Python's or of the log."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROCESS = """
import signal, sys, time, types
import structlog
from airflow_provider_modelmax import airflow_errors
from airflow_provider_modelmax.operators.generate import ModelMaxGenerateVideoOperator

airflow_errors.MAX_KILL_LOG_SECONDS = 0.05  # it cannot be written as long as this thread has the lock of the log
task = ModelMaxGenerateVideoOperator(task_id="t", model="veo-3", prompt="x", destination="/tmp/videos")
stop = task._cancel_token()
log = task.log

def pauses():
    stop.pause(0.02)

def logs():
    log.info("at work")

work = {"pauses": pauses, "logs": logs}[sys.argv[1]]
files = ("threading.py", "cancellation.py", "_output.py")

def kills_at(number):
    # Send the signal at one instruction, as `kill` does, and return whether there was such an instruction.
    left = number
    def trace(frame, event, _):
        nonlocal left
        if not frame.f_code.co_filename.endswith(files):
            return trace
        frame.f_trace_opcodes = True
        if event == "opcode":
            left -= 1
            if left == 0:
                sys.settrace(None)
                signal.raise_signal(signal.SIGTERM)
                return None
        return trace
    sys.settrace(trace)
    try:
        work()
    except Exception as error:
        assert type(error).__name__ == "Cancelled", error
    finally:
        sys.settrace(None)
    return left <= 0

signal.signal(signal.SIGTERM, lambda *_: task.on_kill())
work()
number, step = 1, 1
while kills_at(number):
    print(number, flush=True)
    stop.__init__()
    number += step
"""


@pytest.mark.parametrize("work", ["pauses", "logs"])
def test_a_kill_at_any_instruction_is_heeded(work):
    done = subprocess.run(
        [sys.executable, "-c", PROCESS, work], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.count("Killed before a job was known.") >= 10
