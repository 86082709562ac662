"""How far a task got, in Airflow's task state store, which survives retries, kills and clears.

The store exists since Airflow 3.3. Before, or if it was emptied, the manifest beside the video holds the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api import ModelMaxError
from airflow_provider_modelmax.jobs.record import VERSION, Progress, is_newer, newer, with_unknown_fields

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.api import Job

KEY = "modelmax"

_VERSION = "state_version"


class TaskState:
    """The task state of one task instance; stores nothing if this Airflow has no store for it.

    :param context: the task's
    """

    def __init__(self, context: Context) -> None:
        self._store: Any = context.get("task_state_store")
        self.max_tries = int(context["ti"].max_tries)
        self.try_number = int(context["ti"].try_number)
        self._read: Progress | None = None

    @property
    def has_store(self) -> bool:
        """Whether this Airflow keeps a state of the task (3.3 and later)."""
        return self._store is not None

    def get(self) -> Progress | None:
        """Return what was stored.

        :raises ModelMaxError: if it cannot be read: a result in it may be paid for
        """
        stored = self._store.get(KEY) if self._store is not None else None
        if not stored:
            return None
        try:
            if is_newer(version := stored.get(_VERSION)):
                raise ModelMaxError(newer(f"The task state {KEY!r}", stored, version))
            self._read = Progress.from_dict({name: value for name, value in stored.items() if name != _VERSION})
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelMaxError(
                f"The task state {KEY!r} of this task cannot be read: it is damaged, or was edited "
                f"({type(error).__name__}: {error}). The video may be paid for, so nothing was submitted or fetched. "
                "Correct it, or delete it to have a new video made."
            ) from error
        return self._read

    def put(self, progress: Progress, *, reread: bool = True) -> Progress:
        """Store ``progress`` without an expiry, unless more is stored already. Return the record that is stored then.

        A record of another job that a later execution of this task has stored is left as it is.

        :param reread: whether to read the store first. A call takes 10 to 35 ms, so it is False if that was just done,
            or if no other process can have written: Airflow refuses an execution once the next one has begun
        """
        if self._store is None:
            return progress
        now = self.get() if reread else None
        if now and now.knows_more_than(progress):
            return now
        if not now or now.is_of(progress.job.request_id) or now.try_number <= self.try_number:
            self._write(progress)
        return progress

    def _write(self, progress: Progress) -> None:
        from airflow.sdk.execution_time.context import NEVER_EXPIRE  # noqa: PLC0415 - Airflow 3.3 and later

        document = {_VERSION: VERSION, **progress.as_dict()}
        if self._read and self._read.is_of(progress.job.request_id):
            document = with_unknown_fields(document, self._read.stored)
        self._store.set(KEY, document, retention=NEVER_EXPIRE)

    def begun(self, job: Job, order: str, *, submitted_at: float = 0.0) -> Progress:
        """Return the progress of a job that was just submitted or named.

        :param order: fingerprint of what was asked for
        :param submitted_at: seconds since the epoch; 0 when the job was submitted elsewhere
        """
        return self._stamped(Progress(job, order=order, submitted_at=round(submitted_at, 1)))

    def taken_up(self, kept: Progress) -> Progress:
        """Store that this execution continues with ``kept``, or with a newer record of the same job.

        Its retries do not count as clears then.
        """
        now = self.get()
        if now and now.is_of(kept.job.request_id) and not kept.knows_more_than(now):
            kept = now
        stamped = self._stamped(kept)
        return kept if stamped == kept else self.put(stamped)

    def was_cleared_since(self, progress: Progress) -> bool:
        """Return whether the task was cleared: only a clear changes ``max_tries`` (``clear_task_instances``).

        It adds the task's ``retries`` to the tries made, which can be less than before if ``retries`` was lowered. If
        it was lowered by as many as tries were made, a clear is not noticed.
        """
        return self.max_tries != progress.max_tries

    def is_of_a_later_clear(self, progress: Progress) -> bool:
        """Return whether this execution began after such a clear, and is not a cleared one that still runs."""
        return self.was_cleared_since(progress) and self.try_number > progress.try_number

    def _stamped(self, progress: Progress) -> Progress:
        return replace(progress, max_tries=self.max_tries, try_number=self.try_number)
