"""A test of a DAG as its author may write it; the page "Testing DAGs" quotes it."""

import json
import os
import runpy
import tempfile
from pathlib import Path

import pytest

os.environ.setdefault("AIRFLOW_HOME", tempfile.mkdtemp())  # before anything of Airflow is imported

from airflow_provider_modelmax.simulator import Simulator

DAGS = Path(__file__).parents[2] / "example_dags"
BUNDLE = {
    "name": "tested",
    "classpath": "airflow.dag_processing.bundles.local.LocalDagBundle",
    "kwargs": {"path": str(DAGS)},
}


@pytest.fixture(scope="session")
def dag():
    """Return the DAG to test, and make a database for it: 10 s, once."""
    from airflow.utils.db import initdb

    initdb()
    return runpy.run_path(str(DAGS / "modelmax_process.py"))["dag"]


@pytest.fixture
def service(monkeypatch, tmp_path):
    """Run the service on a free port. Its jobs are over at the first look, so nothing is deferred."""
    with Simulator(queue_seconds=0, run_seconds=0) as simulator:
        monkeypatch.setenv("AIRFLOW_CONN_MODELMAX_DEFAULT", json.dumps(simulator.connection))
        monkeypatch.setenv("AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST", json.dumps([BUNDLE]))
        monkeypatch.setenv("AIRFLOW_VAR_VIDEOS", str(tmp_path))
        yield simulator


def test_two_videos_land_for_one_bill(dag, service, tmp_path):
    done = dag.test(run_conf={"prompt": "A lighthouse at dusk"})
    assert done.state == "success"
    assert len(list(tmp_path.rglob("*.mp4"))) == 2
    assert len(service.ledger.bills) == 1


def test_a_job_that_fails_is_not_billed(dag, service):
    done = dag.test(run_conf={"prompt": "A duel [fail]"})
    assert done.state == "failed"
    assert service.ledger.bills == []


def test_an_empty_balance_fails_before_a_job_is_made(dag, service):
    service.settings.balance = 0
    done = dag.test(run_conf={"prompt": "A lighthouse at dusk"})
    assert done.state == "failed"
    assert service.ledger.jobs == {}
