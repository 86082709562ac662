"""What a task already has, kept where retries, kills and clears do not reach: in Airflow's task state store.

The store exists since Airflow 3.3. Before, and when it was discarded, the manifest beside the video carries the same.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api import ModelMaxError
from airflow_provider_modelmax.progress import VERSION, Progress, is_newer, newer, with_unknown_fields

if TYPE_CHECKING:
    from airflow.sdk import Context

    from airflow_provider_modelmax.api import Job

KEY = "modelmax"

_VERSION = "state_version"


class TaskState:
    """The task state of one task instance; forgets everything where Airflow has no store for it.

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

        :raises ModelMaxError: if it cannot be read: it may be paid for then
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
        """Store ``progress`` for ever, unless more is stored by now, and return what is known then.

        A record of another job that a later execution of this task has stored is left as it is.

        :param reread: whether to look at what is stored by now. A call takes 10 to 35 ms, so it is False if that was
            just done, or if nobody can know more: Airflow refuses the store to an execution once the next one has begun
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
        """Return the progress with a job of which nothing is known yet.

        :param order: fingerprint of what was asked for
        :param submitted_at: seconds since the epoch; 0 when the job was submitted elsewhere
        """
        return self._stamped(Progress(job, order=order, submitted_at=round(submitted_at, 1)))

    def taken_up(self, kept: Progress) -> Progress:
        """Store that this execution goes on with ``kept``, or with what was stored of its job meanwhile.

        Its retries are no clears then.
        """
        now = self.get()
        if now and now.is_of(kept.job.request_id) and not kept.knows_more_than(now):
            kept = now
        stamped = self._stamped(kept)
        return kept if stamped == kept else self.put(stamped)

    def was_cleared_since(self, progress: Progress) -> bool:
        """Tell a clear from an automatic retry: only a clear changes ``max_tries`` (``clear_task_instances``).

        It adds the task's ``retries`` to the tries made. Where ``retries`` was lowered that can be less than before;
        where it was lowered by just as many as were made, a clear goes unnoticed.
        """
        return self.max_tries != progress.max_tries

    def is_of_a_later_clear(self, progress: Progress) -> bool:
        """Say whether this execution comes after such a clear: one that was cleared and lives on must not think so."""
        return self.was_cleared_since(progress) and self.try_number > progress.try_number

    def _stamped(self, progress: Progress) -> Progress:
        return replace(progress, max_tries=self.max_tries, try_number=self.try_number)
