"""Land the videos of a job in object storage, waiting for the job first where it is not over."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, ClassVar

from airflow.providers.common.compat.sdk import BaseOperatorLink

from airflow_provider_modelmax import airflow_errors as edge
from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.api.parameters import check_deadline_argument, check_flag, check_poll_interval
from airflow_provider_modelmax.api.text import stem_of
from airflow_provider_modelmax.links import ManifestLink, ModelMaxDashboardLink, console_page
from airflow_provider_modelmax.literals import check_destination, check_job
from airflow_provider_modelmax.operators.base import ModelMaxBaseOperator

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.jobs.download import Landing
    from airflow_provider_modelmax.jobs.record import Progress
    from airflow_provider_modelmax.jobs.store import Record

DEFAULT_DEADLINE = polling.DEFAULT_DEADLINE


class LandsVideo(ModelMaxBaseOperator):
    """The part of an operator that waits for a job, fetches its result once and lands its videos.

    :param destination: folder URI, or the object's when it ends in ``.mp4`` (templated)
    :param overwrite: whether another job's video at that object may be replaced
    :param deadline: how long to wait for the job in each try, or until when (aware datetime)
    :param poll_interval: seconds between two status calls
    :param deferrable: whether to wait without a worker slot
    """

    operator_extra_links: Collection[BaseOperatorLink] = (ModelMaxDashboardLink(), ManifestLink())
    regenerate_on_clear = False

    def __init__(
        self,
        *,
        destination: str,
        overwrite: bool = False,
        deadline: timedelta | datetime = DEFAULT_DEADLINE,
        poll_interval: float | timedelta = polling.DEFAULT_POLL_INTERVAL,
        deferrable: bool | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.destination = destination
        self.overwrite = check_flag("overwrite", overwrite)
        self.deadline = check_deadline_argument(deadline)
        self.poll_interval = check_poll_interval(poll_interval)
        self.deferrable = edge.default_deferrable() if deferrable is None else check_flag("deferrable", deferrable)
        self._landing: Landing | None = None
        check_destination(self, destination)

    @edge.reporting_errors
    def execute(self, context: Context) -> list[str]:
        """Do what is not done yet; defer while the job runs."""
        self._store_links()  # of an earlier run of the same object, as in `dag.test()`, none is stored yet
        with edge.told_to_airflow(self):
            return self._go_on(context, self._begin(context))

    @edge.reporting_errors
    def execute_complete(self, context: Context, event: dict[str, Any] | None = None) -> list[str]:
        """Continue when the trigger has fired."""
        from airflow_provider_modelmax.triggers.event import JobEvent  # noqa: PLC0415 - not at DAG parse

        with edge.told_to_airflow(self):
            job_event, landing = JobEvent.from_dict(event), self._begin(context)
            pageless = () if console_page(landing.record.destination.manifest) else (ManifestLink,)
            self._store_links(known=(ModelMaxDashboardLink, *pageless))
            self._progress = progress = self._resume(context, landing.record, job_event.request_id)
            if job_event.is_of_another(progress.job.request_id):
                self.log.info("%s The task has another job now: %s.", job_event, progress.job.request_id)
                return self._go_on(context, landing)
            with _remembered(landing.record, progress):
                job_event.raise_for_outcome()
            self.log.info("%s", job_event)
            metrics.waited(progress.job.model, queued=job_event.queued_seconds, generating=job_event.generating_seconds)
            return self._finish(context, landing, progress)

    def _message_on_kill(self, known: Progress | None) -> str:
        """Return the message for this moment, which may be within the billing call."""
        return super()._message_on_kill((self._landing and self._landing.record.last) or known)

    @property
    def manifest_uri(self) -> str:
        """The URI of the manifest; empty until it is there."""
        if self._landing and self._progress and self._progress.result:
            return self._landing.record.destination.manifest
        return ""

    def _store_links(self, *, known: tuple[type[BaseOperatorLink], ...] = ()) -> None:
        """Leave it to Airflow to store all links but those ``known``: each costs it a call of its API a segment."""
        of_this_segment = vars(self)  # not an attribute: subclasses may have a property of that name
        of_this_segment.pop("operator_extra_links", None)
        links = tuple(each for each in self.operator_extra_links if not isinstance(each, known))
        of_this_segment["operator_extra_links"] = links

    def _take_up(self, context: Context, record: Record) -> Progress:
        """Return the job, known or submitted now, with what is kept of it, after checking the destination."""
        raise NotImplementedError

    def _fingerprint(self) -> str:
        """Return the fingerprint of the order; empty if the job was submitted elsewhere."""
        return ""

    def _samples(self) -> int | None:
        """Return how many videos are asked for; None where the job was submitted elsewhere."""
        return None

    def _stem(self, context: Context) -> str:
        """Return the file name to use in a folder."""
        raise NotImplementedError

    def _begin(self, context: Context) -> Landing:
        from airflow_provider_modelmax.jobs.download import Landing  # noqa: PLC0415 - not at DAG parse
        from airflow_provider_modelmax.jobs.store import Record  # noqa: PLC0415 - not at DAG parse

        record = Record.of(
            context,
            destination=self.destination,
            stem=self._stem(context),
            order=self._fingerprint(),
            request=self._request(),
            samples=self._samples(),
            overwrite=self.overwrite,
            regenerates=self.regenerate_on_clear,
            log=self.log,
        )
        self._landing = Landing(self.hook, record, self.log, self._begin_to_work())
        return self._landing

    def _go_on(self, context: Context, landing: Landing) -> list[str]:
        self._progress = progress = self._take_up(context, landing.record)
        if not progress.result:
            landing.record.reserve(progress, edge.absolute(self.deadline, self.execution_timeout))
            self._wait(landing, progress)
        return self._finish(context, landing, progress)

    def _wait(self, landing: Landing, progress: Progress) -> None:
        """Return when the job is COMPLETED: look once, then defer, or wait in line where that is not wanted."""
        deadline, now = edge.absolute(self.deadline, self.execution_timeout), edge.utcnow()
        job, interval = progress.job, self.poll_interval
        with _remembered(landing.record, progress):
            if not self.deferrable or deadline - now < edge.MIN_DEFERRAL:
                seen = self.hook.wait(job, deadline=deadline, poll_interval=interval, pause=landing.stop.pause)
                metrics.waited(job.model, queued=seen.seconds_in_queue, generating=seen.seconds_running)
                return
            wait = polling.Wait.begin(job.request_id, deadline=deadline, poll_interval=interval, now=now)
            seen = self.hook.look(wait, job)
            step = seen.next_step(edge.utcnow())
            if isinstance(step, polling.AskAgain):
                self._defer_until(progress, deadline, step.at, seen)
            elif step.error:
                raise step.error

    def _defer_until(self, progress: Progress, deadline: datetime, ask_from: datetime, seen: polling.Wait) -> None:
        from airflow_provider_modelmax.triggers.job import ModelMaxJobTrigger  # noqa: PLC0415 - not at DAG parse

        self.log.info("Waiting without a worker slot, until %s at most.", polling.shown(deadline))
        self._store_links(known=(ManifestLink,))
        self.defer(
            trigger=ModelMaxJobTrigger.waiting_for(
                progress.job,
                conn_id=self.modelmax_conn_id,
                deadline=deadline,
                poll_interval=self.poll_interval,
                submitted=progress.submitted,
                ask_from=ask_from,
                seen=seen,
            ),
            method_name="execute_complete",
            timeout=edge.backstop(deadline),
        )

    def _resume(self, context: Context, record: Record, request_id: str) -> Progress:
        """Return what is kept of the job that was waited for."""
        raise NotImplementedError

    def _finish(self, context: Context, landing: Landing, progress: Progress) -> list[str]:
        with _remembered(landing.record, progress):
            try:
                self._progress = fetched = landing.fetch(progress)
            except api.UnusableResultError as error:
                self._push(context, {"usage": dict(error.usage), "manifest": landing.record.destination.manifest})
                raise
            bill = {
                "usage": dict(fetched.result.usage) if fetched.result else {},
                "manifest": landing.record.destination.manifest,
            }
            if not fetched.is_of(progress.job.request_id):  # another execution of this task has paid for its own job
                self._push(context, {"request_id": fetched.job.request_id})
            self._push(context, bill)  # before the videos land: a task that fails at that has paid all the same
            self._progress = landed = landing.land(fetched)
        return self._hand_over(context, landed, bill)

    def _push(self, context: Context, xcoms: Mapping[str, Any]) -> None:
        for key, value in xcoms.items():
            with self._warned(f"XCom {key}"):
                context["ti"].xcom_push(key=key, value=value)

    @contextmanager
    def _warned(self, what: str) -> Iterator[None]:
        """Log an exception instead of failing the task: its video is paid for, and has landed or will."""
        try:
            yield
        except Exception as error:
            self.log.warning("%s could not be pushed: %s", what, error)

    def _hand_over(self, context: Context, landed: Progress, bill: dict[str, Any]) -> list[str]:
        from airflow_provider_modelmax.lineage.assets import tell_collector, tell_outlets  # noqa: PLC0415 - not at DAG parse

        uris, image = [video.uri for video in landed.videos], self._image_uri()
        job = {"request_id": landed.job.request_id, "model": landed.job.model}
        with self._warned("The asset events"):
            tell_outlets(context, {**job, **bill, "uris": uris})
        with self._warned("The lineage"):
            tell_collector(self.hook, read=[image] if image else [], written=uris)
        return uris


class ModelMaxDownloadVideoOperator(LandsVideo):
    """Fetch the result of a job, which BILLS, and land its videos in object storage.

    Waits for the job first where it is not over. Returns the list of URIs; pushes XCom ``request_id``, and as soon as
    the result is there ``usage`` (what was billed) and ``manifest`` (URI of the JSON beside the videos). At each URI
    is a whole, checked MP4, or what was there before. The result is fetched once per job: a retry, a clear, or
    another download to the same destination finds it in the task state (Airflow 3.3 and later) or in the manifest.

    :param job: ``submit.output``, or ``{"model": …, "request_id": …}`` of any job of this account (templated)
    :param destination: folder URI such as ``s3://conn_id@bucket/videos/``, or the exact object when it ends in ``.mp4``
        (with several samples, ``-0``, ``-1`` … go before the suffix) (templated)
    :param overwrite: whether another job's video at that object may be replaced; default False
    :param deadline: how long to wait for the job in each try (default one hour), or until when (aware datetime);
        ``execution_timeout`` bounds it, also while deferred
    :param poll_interval: seconds between two status calls; default 5; while deferred up to four times that, where other
        jobs of this model were never over
    :param deferrable: whether to wait without a worker slot; default ``[operators] default_deferrable`` where the
        environment sets it, else True
    :param modelmax_conn_id: the connection (templated)
    """

    template_fields: Sequence[str] = ("job", "destination", "modelmax_conn_id")
    template_fields_renderers: ClassVar[dict[str, str]] = {"job": "json"}

    def __init__(
        self,
        *,
        job: Mapping[str, str],
        destination: str,
        overwrite: bool = False,
        deadline: timedelta | datetime = DEFAULT_DEADLINE,
        poll_interval: float | timedelta = polling.DEFAULT_POLL_INTERVAL,
        deferrable: bool | None = None,
        modelmax_conn_id: str = edge.DEFAULT_CONN_ID,
        **kwargs: Any,
    ) -> None:
        super().__init__(
            destination=destination,
            overwrite=overwrite,
            deadline=deadline,
            poll_interval=poll_interval,
            deferrable=deferrable,
            modelmax_conn_id=modelmax_conn_id,
            **kwargs,
        )
        self.job = job
        check_job(self, job)

    def _stem(self, context: Context) -> str:
        return stem_of(api.Job.of(self.job).request_id)

    def _take_up(self, context: Context, record: Record) -> Progress:
        self._progress = begun = record.begun(api.Job.of(self.job))
        context["ti"].xcom_push(key="request_id", value=begun.job.request_id)
        kept = record.recall(begun.job)
        if kept and kept.result:
            return kept
        record.check(begun.job.request_id)
        return kept or record.state.put(begun)

    def _resume(self, context: Context, record: Record, request_id: str) -> Progress:
        self._progress = begun = record.begun(api.Job.of(self.job))
        return record.recall(begun.job) or begun


@contextmanager
def _remembered(record: Record, progress: Progress) -> Iterator[None]:
    """Store that a job FAILED, so that the next try does not wait for it again."""
    try:
        yield
    except api.JobFailedError as error:
        try:
            record.failed(progress.failed(error.reason))
        except Exception:
            record.log.exception("Could not store that job %s FAILED.", progress.job.request_id)
        raise
