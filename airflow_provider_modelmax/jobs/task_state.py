"""The record of a job in Airflow's task state store, which survives retries, kills and clears (Airflow 3.3 and later).

Without a store, or if it was emptied, the manifest beside the videos holds the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_modelmax.airflow_compat import never_expire
from airflow_provider_modelmax.api import ModelMaxError
from airflow_provider_modelmax.jobs.record import VERSION, JobRecord, check_version, with_unknown_fields

KEY = "modelmax"

_VERSION = "state_version"


class TaskState:
    """The record in the state of one task instance; stores nothing if this Airflow has no store for it.

    :param store: Airflow's ``task_state_store``, None before Airflow 3.3
    :param max_tries: Airflow's, of this execution
    :param try_number: Airflow's, of this execution
    :param key: of the state
    :ivar has_store: whether this Airflow keeps a state of the task
    """

    def __init__(self, store: Any, *, max_tries: int, try_number: int, key: str = KEY) -> None:
        self._store, self._key = store, key
        self.has_store = store is not None
        self.max_tries, self.try_number = max_tries, try_number
        self._stored: Mapping[str, Any] = {}

    def get(self) -> JobRecord | None:
        """Return the record.

        :raises ModelMaxError: if it cannot be read: a result in it may be paid for
        """
        stored = self._store.get(self._key) if self.has_store else None
        if not stored:
            return None
        try:
            check_version(f"The task state {self._key!r}", stored, stored.get(_VERSION), ModelMaxError)
            record = JobRecord.from_dict(stored)
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise ModelMaxError(
                f"The task state {self._key!r} of this task cannot be read: it is damaged, or was edited "
                f"({type(error).__name__}: {error}). The video may be paid for, so nothing was submitted or fetched. "
                "Correct it, or delete it to have a new video made."
            ) from error
        self._stored = stored
        return record

    def put(self, record: JobRecord, *, reread: bool = True) -> JobRecord:
        """Store a record without an expiry, unless more is stored already. Return the record that is stored then.

        A record of another job that a later execution of this task has stored is left as it is.

        :param reread: whether to read the store first. A call takes 10 to 35 ms, so it is False if that was just done,
            or if no other process can have written: Airflow refuses an execution once the next one has begun
        """
        if not self.has_store:
            return record
        now = self.get() if reread else None
        if now and now.knows_more_than(record):
            return now
        if not now or now.job.request_id == record.job.request_id or now.try_number <= self.try_number:
            document = with_unknown_fields({_VERSION: VERSION, **record.as_dict()}, self._stored)
            self._store.set(self._key, document, retention=never_expire())
        return record

    def adopt(self, record: JobRecord) -> JobRecord:
        """Store that this execution continues with ``record``, or with a newer one of the same job.

        Its retries do not count as clears then.
        """
        now, newest = self.get(), record
        if now and now.job.request_id == record.job.request_id and not record.knows_more_than(now):
            newest = replace(
                now, task=record.task, request=record.request, samples=record.samples, destination=record.destination
            )
        stamped = self.stamped(newest)
        if now == stamped and now.destination == stamped.destination:
            return stamped
        return self.put(stamped, reread=False)

    def stamped(self, record: JobRecord) -> JobRecord:
        """Return the record as one of this execution."""
        return replace(record, max_tries=self.max_tries, try_number=self.try_number)

    def was_cleared_since(self, record: JobRecord) -> bool:
        """Return whether the task was cleared: only a clear changes ``max_tries`` (``clear_task_instances``).

        It adds the task's ``retries`` to the tries made, which can be less than before if ``retries`` was lowered. If
        it was lowered by as many as tries were made, a clear is not noticed.
        """
        return self.max_tries != record.max_tries

    def is_of_a_later_clear(self, record: JobRecord) -> bool:
        """Return whether this execution began after such a clear, and is not a cleared one that still runs."""
        return self.was_cleared_since(record) and self.try_number > record.try_number
