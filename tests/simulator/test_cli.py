"""The command line, as a process."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest
import requests

from airflow_provider_modelmax import simulator
from airflow_provider_modelmax.simulator import cli

COMMAND = [sys.executable, "-m", "airflow_provider_modelmax.simulator"]


def test_help_explains_calls_faults_and_conventions(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for word in ("curl", "[fail]", "cut_body", "--balance", "/simulator/ledger", "MODELMAX_API_KEY", "times=1"):
        assert word in text


@pytest.mark.parametrize(
    "flags",
    [["--host", "0.0.0.0"], ["--fault", "nonsense"], ["--run-seconds", "x"], ["--tls-cert", "x"], ["--key", ""]],
)
def test_bad_flags_are_explained(flags, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(flags)
    assert end.value.code == 2
    assert "error:" in capsys.readouterr().err


def test_a_taken_port_is_explained(sim, capsys):
    with pytest.raises(SystemExit):
        cli.main(["--port", str(sim.port)])
    assert "--port 0" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_it_prints_where_it_is_and_ends_quickly_when_told_to(ending):
    flags = ["--port", "0", "--run-seconds", "0", "--fault", "status:error:status=502", "--key", "sk-secret"]
    with subprocess.Popen([*COMMAND, *flags], stdout=subprocess.PIPE, text=True) as process:
        lines = [process.stdout.readline() for _ in range(4)]
        url = lines[0].split()[-1]
        headers = {"Authorization": "Bearer sk-secret"}
        assert requests.get(f"{url}/v1/queue/veo-3/requests/x/status", headers=headers, timeout=5).status_code == 502
        process.send_signal(ending)
        assert process.wait(timeout=5) == 0
    assert "AIRFLOW_CONN_MODELMAX_DEFAULT" in lines[2]
    assert "sk-secret" not in "".join(lines)


def test_the_default_key_comes_from_the_environment(monkeypatch):
    monkeypatch.setenv("MODELMAX_API_KEY", "sk-mine")
    assert cli.make_parser().parse_args([]).key == "sk-mine"
    monkeypatch.delenv("MODELMAX_API_KEY")
    assert cli.make_parser().parse_args([]).key == "sk-simulator"


def test_without_the_extra_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(simulator, "EXTRA", ("no_such_package",))
    with pytest.raises(ModuleNotFoundError, match=r"airflow-provider-modelmax\[simulator\]"):
        _ = simulator.Simulator


def test_the_command_without_the_extra_ends_in_one_line():
    code = (
        "import runpy, sys; sys.modules['uvicorn'] = None;"
        "runpy.run_module('airflow_provider_modelmax.simulator', run_name='__main__', alter_sys=True)"
    )
    ended = subprocess.run([sys.executable, "-c", code], check=False, capture_output=True, text=True)
    assert ended.returncode == 1
    assert ended.stderr.count("\n") == 1
    assert "pip install 'airflow-provider-modelmax[simulator]'" in ended.stderr


def test_the_package_itself_imports_nothing_of_the_extra():
    code = (
        "import sys, airflow_provider_modelmax.simulator;"
        "sys.exit(any(name in sys.modules for name in ('av', 'PIL', 'uvicorn')))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False, env=os.environ).returncode == 0


def test_an_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError):
        _ = simulator.Nonsense
