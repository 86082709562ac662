"""The submit of a job, at most once for a request: a retry or clear continues with the job of an earlier try."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from airflow_provider_modelmax import api, metrics, polling
from airflow_provider_modelmax.api.text import log_lines
from airflow_provider_modelmax.jobs.cancellation import CancelToken
from airflow_provider_modelmax.jobs.record import JobRecord

if TYPE_CHECKING:
    from collections.abc import Mapping
    from typing import Any

    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
    from airflow_provider_modelmax.jobs.request import VideoRequest
    from airflow_provider_modelmax.jobs.task_state import TaskState


@dataclass
class Submission:
    """Submits a job at most once: a retry or clear continues with the job of an earlier try.

    :param request: what to make
    :param hook: the service
    :param state: the task state
    :param log: the task's log
    :param regenerate_on_clear: whether a clear makes a new video
    :param waits: whether the caller waits for the job, so that an unreachable service does not fail it at once
    :param keeps_forgotten: whether to keep a job that the service no longer knows after a clear: another task may have
        downloaded its videos
    :param cancel: set when the task is killed
    """

    request: VideoRequest
    hook: ModelMaxHook
    state: TaskState
    log: Logger
    regenerate_on_clear: bool = False
    waits: bool = False
    keeps_forgotten: bool = False
    cancel: CancelToken = field(default_factory=CancelToken)

    def submit(self, task: Mapping[str, Any], destination: str = "") -> JobRecord:
        """Submit, store the job and return its record. Free of charge.

        :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of the task
        :param destination: where its videos go, if the task downloads them
        """
        self.cancel.check()  # nothing is submitted after a kill
        body = self.request.body
        if self.request.warning:
            self.log.warning("%s", self.request.warning)
        job = self.hook.call(api.submit(self.request.model, self.request.prompt, body), pause=self.cancel.pause)
        self.log.info("Submitted job %s (%s).", job.request_id, job.model)
        submitted = self.state.stamped(
            JobRecord(
                job,
                task=task,
                destination=destination,
                request=self.request.description,
                fingerprint=self.request.fingerprint,
                order=self.request.order,
                samples=self.request.samples,
                submitted_at=round(time.time(), 1),
            )
        )
        try:
            stored = self.state.put(submitted, reread=False)
        except Exception:
            self._log_copy_of(job)
            raise
        if not self.state.has_store:
            self._log_copy_of(job)
        metrics.submitted(job.model)
        return stored

    def continues_with(self, kept: JobRecord) -> bool:
        """Return whether to continue with the job of an earlier try; log why not."""
        cleared = self.state.was_cleared_since(kept)
        reason = self._reason_after_clear(kept) if cleared else ""
        if not reason and kept.result is None:
            reason = self._reason_of_service(kept, cleared=cleared)
        if reason:
            self.log.info(
                "Job of an earlier try: %s. Submitting a new job. It was job %s.", reason, kept.job.request_id
            )
        else:
            self.log.info("Continuing with job %s instead of submitting a new one.", kept.job.request_id)
        return not reason

    def _reason_after_clear(self, kept: JobRecord) -> str:
        if self.regenerate_on_clear:
            return "cleared, with regenerate_on_clear"
        return "" if self.request.is_that_of(kept) else "model, prompt or parameters have changed since"

    def _reason_of_service(self, kept: JobRecord, *, cleared: bool) -> str:
        if kept.is_failed:
            return f"FAILED: {kept.reason}"
        try:
            answer = self.hook.get_status(kept.job, pause=self.cancel.pause)
        except (api.BadRequestError, api.NotFoundError) as error:
            if cleared and self.keeps_forgotten:
                log_lines(
                    self.log.warning,
                    f"{error} The task returns this job all the same: its videos may be stored. For a new job, whose "
                    "result is billed again, clear with regenerate_on_clear=True.",
                )
                return ""
            if kept.attempts:  # its result may be paid for
                raise
            return f"ModelMax no longer knows it ({error})"
        except (api.TransportError, api.TemporaryError, api.AnswerError) as error:
            if not self.waits or not polling.is_retryable(error):
                raise
            log_lines(self.log.info, f"{error} Waiting for the job anyway. Job {kept.job.request_id}.")
            return ""
        return f"FAILED: {answer.error}" if answer.status == api.FAILED else ""

    def _log_copy_of(self, job: api.Job) -> None:
        """Log how to continue with the job: its id may be stored nowhere else."""
        self.log.info("If this task is lost, copy the next line into a ModelMaxDownloadVideoOperator:")
        self.log.info("%s", job.as_argument())
