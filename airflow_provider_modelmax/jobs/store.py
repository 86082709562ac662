"""What is stored of a job, in task state and manifest: how it is found again, and how it is replaced.

A record never replaces one that knows more: it is read again before it is written, and only the holder of the lease
replaces the manifest.
"""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api import Job
from airflow_provider_modelmax.api.errors import DestinationError, KeptNowhereError
from airflow_provider_modelmax.api.parameters import MAX_SAMPLES
from airflow_provider_modelmax.jobs.lease import LOOK_AGAIN, Lease, Pause, new_owner
from airflow_provider_modelmax.jobs.manifest import Manifest
from airflow_provider_modelmax.jobs.record import FAILED, FETCHED, LANDED, SUBMITTED, JobRecord
from airflow_provider_modelmax.storage.objects import Saved, check_writable, sha256_of, size_of

if TYPE_CHECKING:
    from airflow.sdk.types import Logger

    from airflow_provider_modelmax.jobs.destination import Destination
    from airflow_provider_modelmax.jobs.task_state import TaskState

KEEP_ATTEMPTS = 4
"""How often the manifest with a paid result is written, if the store fails."""


@dataclass
class JobStore:
    """The records of the job of one task instance.

    :param state: the task state
    :param destination: where the videos go, and beside them the manifest
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of this task
    :param overwrite: whether another job's video may be replaced
    :param regenerates: whether a clear makes a new video, even if one is paid for already
    :param log: the task's log
    """

    state: TaskState
    destination: Destination
    task: Mapping[str, Any]
    overwrite: bool
    regenerates: bool
    log: Logger
    last: JobRecord | None = field(default=None, init=False)
    """What this process has stored last, None if nothing."""

    def __post_init__(self) -> None:
        self.manifest = Manifest(self.destination.manifest)
        self.lease = Lease(self.manifest, self.task)

    # Before the result is requested

    def recall(self, kept: JobRecord | None, *, job: Job | None = None, order: str = "") -> JobRecord | None:
        """Return what was stored: in the task state, otherwise in the manifest.

        :param kept: the record in the task state
        :param job: the job, if the caller names one; a record of another job is ignored then
        :param order: hash of what the task asks for now, if it names no job, see :class:`.JobRecord`
        """
        if kept and job and kept.job.request_id != job.request_id:
            kept = None
        if kept and kept.result:
            return kept
        there = self.manifest.get()
        if not there or not self._is_ours(there, job or (kept.job if kept else None), order):
            return kept
        found = there.as_requested_by(kept) if kept else there
        if kept and kept.is_failed and not found.result:  # that is kept in the task state only
            return kept
        self.log.info("Found the job (%s) in its manifest: %s", found.phase, self.manifest.uri)
        return self.state.put(found, reread=False) if found.result else found

    def check(self, request_id: str | None, samples: int | None) -> None:
        """Check that the videos can be stored, before anything is spent.

        :param request_id: the job, if it is known already
        :param samples: how many videos there will be, None if that is not known
        :raises DestinationError: if the destination is taken, or cannot be written
        """
        if self.destination.exact:
            self._refuse_if_occupied(request_id, samples)
        written = [*self.destination.videos(1), *self.destination.videos(MAX_SAMPLES), self.manifest.uri]
        longest = f"{self.manifest.uri}.claim-99"  # the last claim beside it
        check_writable(self.destination.folder, longest, written)

    def reserve(self, record: JobRecord, until: datetime) -> None:
        """Reserve an exact destination while the job is waited for, so that other tasks are refused before they wait.

        :param until: when the reservation ends
        :raises DestinationError: if another task has it
        """
        if not self.destination.exact or self.overwrite:
            return
        reserved = replace(record, reserved_until=until.timestamp())
        if self.manifest.create(reserved):
            return
        there = self.manifest.get()
        self._refuse_if_taken(there, record.job.request_id)
        if not there or there.phase not in {SUBMITTED, FAILED}:
            return
        if there.job.request_id == record.job.request_id and not record.order and there.order:  # the submitting task's
            reserved = replace(there, reserved_until=max(until.timestamp(), there.reserved_until))
        with new_owner() as owner:
            if generation := self.lease.take_over(owner):
                self.manifest.put(replace(reserved, generation=generation))
                self.lease.remove(generation)

    def failed(self, record: JobRecord) -> None:
        """Store that the job FAILED, so that the next try does not wait for it and its reservation ends."""
        self.state.put(record)
        there = self.manifest.get() if self.destination.exact else None
        if there and there.job.request_id == record.job.request_id and there.phase == SUBMITTED:
            self.manifest.put(there.failed(record.reason))

    # The lease for the billing call

    def acquire(self, record: JobRecord, requesting: JobRecord) -> JobRecord | None:
        """Try to get the lease for the billing call. The store decides which process gets it.

        :param record: what this task knows
        :param requesting: the same, with this process as the owner of the lease
        :returns: ``requesting`` if this process has the lease; what another process has stored since; or None if
            another process is about to store something
        :raises DestinationError: if the destination belongs to another job now, or something else is there
        """
        exact = self.destination.exact
        there = self._refuse_if_occupied(record.job.request_id, record.samples) if exact else None
        self.lease.owner, self.lease.generation = requesting.owner, requesting.generation
        if there is None:
            if self.manifest.create(requesting):
                return self._begin(requesting, record)
            there = self.manifest.get()
        if there is None:  # deleted since `create` found it
            return None
        if there.job.request_id == record.job.request_id:
            found = there.as_requested_by(record)
            if found not in (record, requesting):
                return found
        else:
            if self._is_paid_for(there, record):  # the process that fetches it stores it in the task state as well
                return self.state.adopt(there) if there.result else there
            self._refuse_if_taken(there, record.job.request_id)
        generation = self.lease.take_over(requesting.owner)
        if not generation:
            return None
        requesting = replace(requesting, generation=generation)
        self.manifest.put(requesting)
        return self._begin(requesting, record)

    def renew(self, requesting: JobRecord, pause: Pause) -> JobRecord | None:
        """Take the next generation of the lease for the next attempt. Return None if another process has the lease.

        :param requesting: the record with that attempt begun
        :param pause: waits for that many seconds
        """
        while True:
            there = self.manifest.get()
            if not there or not self.lease.is_mine(there, requesting):
                return None
            if generation := self.lease.take_over(requesting.owner):
                break
            pause(LOOK_AGAIN)
        requesting = replace(requesting, generation=generation)
        self.manifest.put(requesting)
        self.last = requesting
        return None if self.state.put(requesting).result else requesting

    def latest(self, record: JobRecord) -> JobRecord:
        """Return what is stored of the same job now: its result, otherwise a billing call that is under way."""
        kept, there = self.state.get(), self.manifest.get()
        news = [there and there.as_requested_by(record), kept]
        known = [each for each in news if each and each.job.request_id == record.job.request_id]
        paid = next((each for each in known if each.result), None)
        return paid or next(filter(self.lease.is_held, known), None) or next(iter(known), record)

    def release(self, over: JobRecord) -> None:
        """Store that a billing call is over without an answer, and release the lease."""
        self.note(over)
        self.lease.remove(over.generation)

    def note(self, over: JobRecord) -> None:
        """Store that an attempt is over without an answer, as far as the stores take it."""
        try:
            self.put(over)
        except Exception:
            self.log.exception(
                "Could not store that the billing call of job %s ended without a result.", over.job.request_id
            )

    # The result

    def keep(self, fetched: JobRecord, *, killed: bool = False) -> JobRecord:
        """Store a paid result in task state and manifest, and return its record.

        :param killed: whether the task is killed: Airflow ends its process within seconds, and may refuse its task
            state, so the manifest comes first
        :raises KeptNowhereError: if neither can be written; the result is in the log then
        """
        self.last = fetched
        if killed:
            self._log_paid(fetched)
        manifest_first = killed and self._has_manifest_of(fetched)
        kept = not manifest_first and self._put_state(fetched)
        if not kept and not killed:  # a store can take minutes to fail, and the process may be killed
            self._log_paid(fetched)
        for attempt in range(1, KEEP_ATTEMPTS + 1):
            try:
                known = self._put_manifest(fetched, leave_others=kept)
            except Exception as error:
                if manifest_first:
                    kept, manifest_first = self._put_state(fetched), False
                if attempt < KEEP_ATTEMPTS:
                    self.log.warning("The manifest could not be written: %s Writing it again.", error)
                    time.sleep(attempt)
                elif kept:
                    raise
                else:
                    raise self._kept_nowhere(fetched) from error
            else:
                if manifest_first:
                    self._put_state(known)
                return known
        raise AssertionError("the loop ends by return or raise")

    def put(self, record: JobRecord) -> JobRecord:
        """Store a record in manifest and task state, unless more is stored already. Return it."""
        self._put_manifest(record)
        self.last = record
        return self.state.put(record)

    # The videos

    def own(self, fetched: JobRecord, owner: str, pause: Pause) -> bool:
        """Write this job's manifest to the destination before its videos are published.

        :param fetched: the record with the result
        :param owner: the process
        :param pause: waits for that many seconds
        :returns: whether the manifest was this job's already, so that its videos may be there
        :raises DestinationError: if another job's video, or something else, is there and may not be replaced
        """
        request_id = fetched.job.request_id
        just_kept = self.last is fetched and fetched.phase == FETCHED and not self.overwrite
        there = (self.manifest.last if just_kept else None) or self.manifest.get()
        if there and there.job.request_id == request_id:
            if fetched.phase == LANDED:
                self.lease.remove(there.generation)
            return True
        names = self.destination.videos(len(fetched.result.urls)) if fetched.result and self.destination.exact else []
        taken = _existing({*names} - {each.uri for each in fetched.videos})
        self._refuse_if_taken(there, request_id, taken)
        if self.manifest.create(replace(fetched, generation=0)):
            return False
        with self.lease.replacing(owner, pause) as (there, generation):
            self._refuse_if_taken(there, request_id)
            self.manifest.put(replace(fetched, generation=generation))
        return False

    def publish(self, landed: JobRecord, owner: str, pause: Pause) -> list[Saved]:
        """Store that all videos are there, so that manifest and videos are of one job.

        With ``overwrite`` the destination may be another job's now. If its videos are there, so is its manifest.

        :param landed: the record with the videos that were published
        :returns: the videos to publish again: the manifest is this job's, or some of its videos are still there;
            nothing was stored then
        """
        if not self.overwrite:
            self._put_manifest(landed)
        there = self.manifest.last
        if self.overwrite or (there and there.job.request_id != landed.job.request_id):  # that job's task may overwrite
            with self.lease.replacing(owner, pause) as (there, generation):
                missing = self._overwritten(landed, there)
                is_ours = not there or there.job.request_id == landed.job.request_id
                if missing and (is_ours or len(missing) < len(landed.videos)):
                    return missing
                if missing:
                    self.log.warning("Another job has overwritten %s.", missing[0].uri)
                newest = there if missing and there else landed
                if not self.lease.is_held(newest):  # otherwise that process would lose its lease
                    self.manifest.put(replace(newest, generation=generation))
                    self.lease.remove(generation)
        else:  # only videos of this job can be there
            self.lease.remove(landed.generation)
        self.last = landed
        self._put_state(landed)
        return []

    def _overwritten(self, landed: JobRecord, there: JobRecord | None) -> list[Saved]:
        """Return the videos of this job that another job has overwritten.

        A job writes its manifest before it publishes, so the contents are compared only if it is another job's.
        """
        if not there or there.job.request_id == landed.job.request_id:
            return [each for each in landed.videos if self.overwrite and size_of(each.uri) != each.size]
        return [each for each in landed.videos if not is_there(each)]

    # One step each

    def _put_state(self, record: JobRecord) -> bool:
        try:
            self.state.put(record, reread=False)
        except Exception:
            self.log.exception("The task state could not be written. The manifest has the result.")
            return False
        return self.state.has_store

    def _put_manifest(self, record: JobRecord, *, leave_others: bool = True) -> JobRecord:
        """Write the manifest, unless more is stored there already. Return what is known of the job then.

        :param leave_others: whether to leave the manifest of another job as it is
        """
        there = self.manifest.get()
        if there and there.job.request_id != record.job.request_id:
            if leave_others:
                return record
        elif there and there.knows_more_than(record):
            return there.as_requested_by(record)
        elif there and not record.result and not self.lease.is_mine(there, record):
            return record
        generation = max(record.generation, there.generation if there else 0)
        self.manifest.put(replace(record, generation=generation))
        return record

    def _begin(self, requesting: JobRecord, before: JobRecord) -> JobRecord:
        """Store that this process makes the billing call, unless the task state knows more than the manifest.

        It may have the result, or another process's billing call.
        """
        try:
            other = self.state.get()
            if (
                not other
                or other.job.request_id != requesting.job.request_id
                or not (other.result or (other.owner != requesting.owner and self.lease.is_held(other)))
            ):
                self.last = requesting
                return self.state.put(requesting, reread=False)
        except BaseException:  # no call was made, and it must not count as one whose answer is lost
            self.release(replace(before, generation=requesting.generation))
            raise
        self.manifest.put(replace(other, generation=requesting.generation))
        return other

    def _is_ours(self, there: JobRecord, job: Job | None, order: str) -> bool:
        if job:
            return there.job.request_id == job.request_id
        if not there.is_of_task(self.task):
            return False
        # In a retry the order differs only if a template renders differently in each try. A manifest that a first try
        # finds is from a deleted run of the same id.
        is_retry = self.state.try_number > 1 and not self.state.was_cleared_since(there)
        return is_retry or there.order == order

    def _is_paid_for(self, there: JobRecord, record: JobRecord) -> bool:
        """Return whether another execution of this task has paid for the same request, or is about to."""
        if self.regenerates and self.state.is_of_a_later_clear(there):
            return False
        same = there.is_of_task(self.task) and bool(record.order) and there.order == record.order
        return same and (there.result is not None or self.lease.is_held(there))

    def _refuse_if_occupied(self, request_id: str | None, samples: int | None) -> JobRecord | None:
        """Refuse an exact destination that is taken. Return the record in the manifest beside it."""
        taken = _existing({*self.destination.videos(1), *self.destination.videos(samples or MAX_SAMPLES)})
        there = self.manifest.get()  # after the videos: it is there before they are
        self._refuse_if_taken(there, request_id, taken)
        return there

    def _refuse_if_taken(self, there: JobRecord | None, request_id: str | None, taken: Sequence[str] = ()) -> None:
        if self.overwrite or not (there or taken):
            return
        if there and (there.job.request_id == request_id or there.is_of_task(self.task)):
            return
        if there and there.has_lapsed(time.time()):
            there = None
            if not taken:
                return
        raise _taken(next(iter(taken), self.manifest.uri), there)

    def _has_manifest_of(self, record: JobRecord) -> bool:
        """Whether the manifest is missing or of this job, as far as it can be read."""
        try:
            there = self.manifest.get()
        except Exception:
            return True
        return not there or there.job.request_id == record.job.request_id

    def _log_paid(self, fetched: JobRecord) -> None:
        self.log.info(
            "Paid for. Until %s is written, the result is only here: %s",
            self.manifest.uri,
            self.manifest.text(fetched),
        )

    def _kept_nowhere(self, fetched: JobRecord) -> KeptNowhereError:
        uri = self.manifest.uri
        self.log.error(
            "This result is paid for. Write it to %s, then clear the task: %s", uri, self.manifest.text(fetched)
        )
        return KeptNowhereError(
            f"The result of job {fetched.job.request_id} is paid for and is only in the log above. Write the "
            f"JSON of that line to {uri}, then clear the task: it downloads the videos and pays nothing more."
        )


def _taken(uri: str, there: JobRecord | None) -> DestinationError:
    whose = f"job {there.job.request_id} of {_name(there.task)}" if there else "something else"
    until = there.reserved_until if there and there.phase == SUBMITTED else 0
    is_taken = (
        f"reserved until {datetime.fromtimestamp(until, timezone.utc):%Y-%m-%d %H:%M:%S} UTC" if until else "taken"
    )
    return DestinationError(
        f"{uri} is {is_taken} by {whose}, and was left as it is. Put {{{{ dag_run.run_id }}}} into the destination, "
        "name a folder instead of an .mp4, or set overwrite=True."
    )


def _name(task: Mapping[str, Any]) -> str:
    """Return the name of a task instance for a message."""
    index = task.get("map_index", -1)
    mapped = "" if index == -1 else f" [{index}]"
    return f"task {task.get('task_id')}{mapped} of DAG {task.get('dag_id')}, run {task.get('run_id')}"


def is_there(video: Saved) -> bool:
    """Return whether the object at the URI of a video has its bytes. Reads all of it."""
    return size_of(video.uri) == video.size and sha256_of(video.uri) == video.sha256


def _existing(uris: set[str]) -> list[str]:
    """Return the URIs at which something exists."""
    return [uri for uri in sorted(uris) if size_of(uri) is not None]
