"""The command line, as a process."""

from __future__ import annotations

import json
import os
import shlex
import signal
import subprocess
import sys
from dataclasses import fields

import pytest
import requests

from airflow_provider_modelmax import simulator
from airflow_provider_modelmax.simulator import Settings, cli

COMMAND = [sys.executable, "-m", "airflow_provider_modelmax.simulator"]


def test_help_explains_calls_faults_and_conventions(capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(["--help"])
    assert end.value.code == 0
    text = capsys.readouterr().out
    for word in ("curl", "[fail]", "cut_body", "--balance", "/simulator/ledger", "MODELMAX_API_KEY", "times=1"):
        assert word in text


@pytest.mark.parametrize(
    ("flags", "words"),
    [
        (["--host", "0.0.0.0"], "loopback only, not on 0.0.0.0"),
        (["--port", "99999"], "port must be from 0 to 65535, not 99999"),
        (["--fault", "nonsense"], "argument --fault: not a fault: 'nonsense'"),
        (["--fault", "{"], "argument --fault: not a fault: '{'"),
        (["--fault", '{"kind": [1]}'], "argument --fault: no such fault: [1]"),
        (["--fault", '{"kind": "reset", "params": 3}'], "argument --fault: params must be an object"),
        (["--run-seconds", "x"], "run_seconds must be a span of seconds"),
        (["--balance", "nan"], "balance must be a finite number"),
        (["--balance", "x"], "argument --balance"),
        (["--filler-bytes", "3"], "filler_bytes must be 0 or at least 16"),
        (["--tls-cert", "x"], "--tls-cert and --tls-key go together"),
        (
            ["--port", "0", "--tls-cert", "no.pem", "--tls-key", "no.key"],
            "cannot use the certificate no.pem with the key no.key",
        ),
        (["--key", ""], "key must be text that is not empty"),
    ],
)
def test_bad_flags_are_explained(flags, words, capsys):
    with pytest.raises(SystemExit) as end:
        cli.main(flags)
    assert end.value.code == 2
    assert words in capsys.readouterr().err


def test_every_setting_is_a_flag_that_says_what_it_does():
    parser = cli.make_parser()
    told = " ".join(parser.format_help().split())
    for each in fields(Settings):
        assert each.metadata["about"] in told
    flags = ["--key", "k", "--balance", "5", "--queue-seconds", "1", "--run-seconds", "1-2", "--extra-model", "a"]
    flags += ["--extra-model", "b", "--filler-bytes", "16", "--plain-videos", "--no-ranges"]
    wanted = Settings("k", 5, "1", "1-2", ("a", "b"), 16, plain_videos=True, ranges=False)
    with cli.make_simulator(parser.parse_args([*flags, "--port", "0"])) as simulator:
        assert simulator.settings == wanted
    with cli.make_simulator(parser.parse_args(["--port", "0", "--key", "sk-simulator"])) as simulator:
        assert simulator.settings == Settings()


@pytest.mark.parametrize("key", ["sk-simulator", "sk-it's"])
def test_the_line_for_airflow_can_be_pasted(key):
    word, value = shlex.split(cli.greeting("https://[::1]:1", key).splitlines()[2])
    name, _, connection = value.partition("=")
    assert (word, name) == ("export", "AIRFLOW_CONN_MODELMAX_DEFAULT")
    password = key if key == "sk-simulator" else "<its key>"
    assert json.loads(connection) == {"conn_type": "modelmax", "host": "https://[::1]:1", "password": password}


def test_it_says_when_its_key_is_the_one_of_the_environment(monkeypatch):
    monkeypatch.setenv("MODELMAX_API_KEY", "sk-mine")
    assert "accepts the key of $MODELMAX_API_KEY" in cli.greeting("http://x", "sk-mine")
    assert "MODELMAX_API_KEY" not in cli.greeting("http://x", "sk-other")
    monkeypatch.delenv("MODELMAX_API_KEY")
    assert "MODELMAX_API_KEY" not in cli.greeting("http://x", "sk-simulator")


def test_the_calls_by_hand_take_the_key_that_it_takes():
    assert 'K="Authorization: Bearer ${MODELMAX_API_KEY:-sk-simulator}"' in cli.EPILOG


def test_it_ends_quietly_when_nobody_reads_what_it_prints():
    read, write = os.pipe()
    os.close(read)
    with os.fdopen(write) as nobody:
        ended = subprocess.run(
            [*COMMAND, "--port", "0"], check=False, stdout=nobody, stderr=subprocess.PIPE, text=True, timeout=60
        )
    assert (ended.returncode, ended.stderr) == (1, "nobody reads where it is: Broken pipe\n")


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
