"""Names and values of metrics, heard by a real statsd server."""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import timedelta

import pytest
from airflow.providers.common.compat.sdk import AirflowSensorTimeout

from airflow_provider_modelmax import api, metrics
from airflow_provider_modelmax.api import BrokenVideoError, DestinationError
from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from airflow_provider_modelmax.operators.download import ModelMaxDownloadVideoOperator
from airflow_provider_modelmax.sensors.job import ModelMaxVideoSensor
from tests.airflow_versions import AIRFLOW
from tests.operators.conftest import CONTEXT
from tests.stack.processes import wait_until
from tests.stack.statsd import Statsd


@pytest.mark.parametrize(
    ("error", "reason"),
    [
        (api.JobFailedError("id", "content policy violation"), "job_failed"),
        (api.InsufficientBalanceError("no", status=402), "insufficient_balance"),
        (api.TemporaryError("no", status=502), "temporary"),
        (BrokenVideoError("no"), "broken_video"),
        (DestinationError("no"), "destination"),
        (api.ModelMaxError("no"), "other"),
        (ZeroDivisionError(), "other"),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_a_failure_is_counted_by_its_class(error, reason):
    assert metrics.reason_of(error) == reason


def test_a_failure_in_airflows_words_is_counted_by_what_caused_it():
    error = AirflowSensorTimeout("late")
    error.__cause__ = api.JobNotOverError("id", "late", timed_out=True)
    assert metrics.reason_of(error) == "job_not_over"


@pytest.fixture
def statsd(monkeypatch: pytest.MonkeyPatch) -> Iterator[Statsd]:
    """Let Airflow's Stats of this process speak to a server of our own."""
    import statsd as client

    if AIRFLOW < (3, 3):
        pytest.skip("This Airflow makes its Stats otherwise; the system tests hear them from its processes.")
    from airflow.sdk._shared.observability.metrics import stats
    from airflow.sdk._shared.observability.metrics.statsd_logger import SafeStatsdLogger

    with Statsd() as server:
        logger = SafeStatsdLogger(client.StatsClient("127.0.0.1", server.port, "airflow"))
        monkeypatch.setattr(stats, "_backend", logger)
        yield server


@pytest.mark.parametrize(
    ("usage", "billed"),
    [({"video_seconds": 7.5}, [7.5]), ({}, []), ({"video_seconds": -1}, []), ({"video_seconds": "x"}, [])],
)
def test_what_was_billed_is_counted_in_the_services_own_figure(statsd, usage, billed):
    metrics.completed("veo-3.1", api.Result("id", "veo-3.1", ("/content",), usage), timedelta(seconds=80))
    wait_until(lambda: statsd.values("modelmax.wait"), 5, "the metrics arrive")
    assert statsd.values("modelmax.completed") == [1]
    assert statsd.values("modelmax.video_seconds_billed") == billed
    assert statsd.values("modelmax.wait") == [80_000]


def test_how_long_a_job_was_waited_for_is_told_in_milliseconds(statsd):
    metrics.waited("veo-3.1", queued=4.2, generating=61)
    wait_until(lambda: statsd.values("modelmax.generating"), 5, "the metrics arrive")
    assert (statsd.values("modelmax.queued"), statsd.values("modelmax.generating")) == ([4_200], [61_000])


def test_a_time_that_nobody_saw_is_not_sent(statsd):
    metrics.waited("veo-3.1", queued=None, generating=None)
    metrics.waited("veo-3.1", queued=None, generating=61)
    wait_until(lambda: statsd.values("modelmax.generating"), 5, "the metrics arrive")
    assert (statsd.values("modelmax.queued"), statsd.values("modelmax.generating")) == ([], [61_000])


def waits_on_the_worker(kind: str, job: api.Job, folder: object) -> None:
    if kind == "sensor":
        waiting = ModelMaxVideoSensor(task_id="wait", job=job.as_dict(), deferrable=False, poll_interval=0.05)
    else:
        waiting = ModelMaxDownloadVideoOperator(
            task_id="get", job=job.as_dict(), destination=f"{folder}/", deferrable=False, poll_interval=0.05
        )
    waiting.execute(CONTEXT)


@pytest.mark.parametrize("kind", ["sensor", "download"])
def test_a_job_that_is_waited_for_on_a_worker_is_timed_as_it_was_seen(statsd, modelmax_conn, simulator, tmp_path, kind):
    simulator.settings.queue_seconds = simulator.settings.run_seconds = 1
    begun = time.monotonic()
    waits_on_the_worker(kind, ModelMaxHook().submit_video("veo-3.1", "a boat"), tmp_path)
    elapsed = 1000 * (time.monotonic() - begun)
    wait_until(lambda: statsd.values("modelmax.generating"), 5, "the metrics arrive")
    (queued,), (generating,) = statsd.values("modelmax.queued"), statsd.values("modelmax.generating")
    assert queued > 0
    assert generating > 0
    assert queued + generating <= elapsed


@pytest.mark.parametrize("kind", ["sensor", "download"])
def test_a_job_that_was_over_when_it_was_first_looked_at_has_no_times(statsd, modelmax_conn, simulator, tmp_path, kind):
    simulator.settings.queue_seconds = simulator.settings.run_seconds = 0
    waits_on_the_worker(kind, ModelMaxHook().submit_video("veo-3.1", "a boat"), tmp_path)
    metrics.submitted("the last one")
    wait_until(lambda: statsd.values("modelmax.submitted"), 5, "the metrics arrive")
    assert statsd.names("modelmax.queued") == statsd.names("modelmax.generating") == set()


def test_a_job_whose_age_is_not_known_has_no_wait(statsd):
    metrics.completed("veo-3.1", api.Result("id", "veo-3.1", ("/content",), {}), None)
    metrics.landed(10, timedelta(seconds=1))
    wait_until(lambda: statsd.values("modelmax.download"), 5, "the metrics arrive")
    assert statsd.values("modelmax.wait") == []
    assert statsd.values("modelmax.landed_bytes") == [10]


def test_stats_that_go_nowhere_raise_nothing():
    metrics.submitted("veo-3.1")
    metrics.failed(ZeroDivisionError())
