"""The stored record of a task's job, in task state and manifest, and the lease that lets one process fetch its result.

A record never replaces one that knows more: it is read again before it is written, and only the holder of the lease
replaces the manifest.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax import api
from airflow_provider_modelmax.api.errors import DestinationError, KeptNowhereError
from airflow_provider_modelmax.api.parameters import MOST_SAMPLES
from airflow_provider_modelmax.jobs.lease import Claim, asker, is_asking
from airflow_provider_modelmax.jobs.manifest import Destination, Manifest
from airflow_provider_modelmax.jobs.record import FAILED, LANDED, SUBMITTED, Progress
from airflow_provider_modelmax.jobs.task_state import TaskState
from airflow_provider_modelmax.storage.objects import Saved, check_writable, sha256_of, size_of

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

PUBLISHING_SECONDS = 60.0
"""For how long at most a process holds the lease to compare the manifest with the videos and replace it."""

LOOK_AGAIN = 0.2
"""Seconds between two attempts to get that lease."""

KEEP_ATTEMPTS = 4

KILLED_TRIES = 4
"""How many generations of the lease are looked for that earlier tries of this task may have left."""

Pause = Callable[[float], object]
"""Waits for that many seconds; raises if the task is killed."""


@dataclass
class Record:
    """What is stored about the job of one task instance.

    :param state: the task state
    :param destination: where the videos go, and beside them the manifest
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of the task
    :param order: fingerprint of what the task asks for; empty if the job was submitted elsewhere
    :param request: what the task asks for, in readable form, for the manifest
    :param samples: how many videos the task asks for, None if the job was submitted elsewhere
    :param overwrite: whether another job's video may be replaced
    :param regenerates: whether a clear makes a new video, even if one is paid for already
    :param log: the task's log
    """

    state: TaskState
    destination: Destination
    task: Mapping[str, Any]
    order: str
    request: Mapping[str, Any] | None
    samples: int | None
    overwrite: bool
    regenerates: bool
    log: Logger
    last: Progress | None = field(default=None, init=False)
    """What this process has stored last, None if nothing."""
    _orderers: Manifest | None = field(default=None, init=False)
    """The manifest of the task that submitted the job, if this task only lands it."""

    _owner: str = field(default="", init=False)
    """The owner's name in the lease that this process holds, or has held."""
    _claims: dict[int, Claim] = field(default_factory=dict, init=False)
    """Objects of the lease by generation, deleted once the manifest has that generation."""
    _seen: Manifest | None = field(default=None, init=False)
    """The manifest as it was read last."""

    @classmethod
    def of(cls, context: Context, *, destination: object, stem: str, **more: Any) -> Record:
        """Return the record of the task that runs in ``context``.

        :raises InvalidInputError: if ``destination`` is not a usable text
        """
        ti = context["ti"]
        task = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        return cls(TaskState(context), Destination.parse(destination, stem), task, **more)

    def begun(self, job: api.Job, submitted_at: float = 0.0) -> Progress:
        """Return the progress of a job that was just submitted or named.

        :param submitted_at: seconds since the epoch; 0 when the job was submitted elsewhere
        """
        return self.state.begun(job, self.order, submitted_at=submitted_at)

    def recall(self, job: api.Job | None = None) -> Progress | None:
        """Return what was stored: in the task state, otherwise in the manifest.

        :param job: the job, if the caller names one; a record of another job is ignored then
        """
        kept = self.state.get()
        if kept and job and not kept.is_of(job.request_id):
            kept = None
        if kept and kept.result:
            return kept
        manifest = self._stored_manifest()
        if not manifest or not self._is_ours(manifest, job or (kept.job if kept else None)):
            return kept
        self._note_orderer(manifest)
        found = self._as_ours(manifest, kept)
        if kept and kept.is_failed and not found.result:  # that is kept in the task state only
            return kept
        self.log.info("Found the job (%s) in its manifest: %s", found.phase, self.destination.manifest)
        return self.state.put(found, reread=False) if found.result else found

    def check(self, request_id: str | None) -> None:
        """Check that the videos can land, before anything is spent.

        :param request_id: the job, if it is known already
        :raises DestinationError: if the destination is taken, or cannot be written
        """
        self._check_free(request_id)
        written = [*self.destination.videos(1), *self.destination.videos(MOST_SAMPLES), self.destination.manifest]
        check_writable(self.destination.folder, self.destination.longest, written)

    def reserve(self, progress: Progress, until: datetime) -> None:
        """Reserve an exact destination while the job is waited for, so that other tasks are refused before they wait.

        :param until: when the reservation ends
        :raises DestinationError: if another task has it
        """
        if not self.destination.exact or self.overwrite:
            return
        reserved = replace(progress, reserved_until=until.timestamp())
        if self._manifest(reserved).create(self.destination.manifest):
            return
        there = self._stored_manifest()
        self._refuse_if_taken(there, progress.job.request_id)
        if not there or there.progress.phase not in {SUBMITTED, FAILED}:
            return
        if there.progress.is_of(progress.job.request_id):
            self._note_orderer(there)
            if self._orderers:
                reserved = replace(there.progress, reserved_until=max(until.timestamp(), there.progress.reserved_until))
        with asker() as owner:
            if generation := self._next_generation(there, owner, time.time() + PUBLISHING_SECONDS):
                self._manifest(replace(reserved, generation=generation)).write(self.destination.manifest)
                self._remove_claims(generation)

    def failed(self, progress: Progress) -> None:
        """Store that the job FAILED, so that the next try does not wait for it and its reservation ends."""
        self.state.put(progress)
        there = self._stored_manifest() if self.destination.exact else None
        if there and there.progress.is_of(progress.job.request_id) and there.progress.phase == SUBMITTED:
            failed = there.progress.failed(progress.reason)
            replace(there, progress=failed).write(self.destination.manifest)

    def put(self, progress: Progress) -> Progress:
        """Store how far the task got in manifest and task state, unless more is stored already. Return it."""
        self._put_manifest(progress)
        self.last = progress
        return self.state.put(progress)

    def claim(self, progress: Progress, asking: Progress) -> Progress | None:
        """Try to get the lease for the billing call. The store decides which process gets it.

        :param progress: how far this task got
        :param asking: the same, with this process as the owner of the lease
        :returns: ``asking`` if this process has the lease; what another process has stored since; or None if another
            process is about to store something
        :raises DestinationError: if the destination belongs to another job now, or something else is there
        """
        there = self._check_free(progress.job.request_id)
        self._owner = asking.asker
        if there is None:
            if self._manifest(asking).create(self.destination.manifest):
                return self._begun_asking(asking, progress)
            there = self._stored_manifest()
        if there is None:  # deleted since `create` found it
            return None
        if there.progress.is_of(progress.job.request_id):
            self._note_orderer(there)
            found = self._as_ours(there, progress)
            if found not in (progress, asking):
                return found
        else:
            if self._is_paid_for(there):  # the process that fetches it stores it in the task state as well
                return self.state.taken_up(there.progress) if there.progress.result else there.progress
            self._refuse_if_taken(there, progress.job.request_id)
        generation = self._next_generation(there, asking.asker, asking.busy_until)
        if not generation:
            return None
        asking = replace(asking, generation=generation)
        self._manifest(asking).write(self.destination.manifest)
        return self._begun_asking(asking, progress)

    def renew(self, asking: Progress, pause: Pause) -> Progress | None:
        """Extend the lease for the next attempt of the billing call. Return None if another process has it.

        :param asking: the attempt, and when it is over at the latest
        :param pause: waits for so many seconds
        """
        while True:
            there = self._stored_manifest()
            if not there or not self._holds_lease(there.progress, asking):
                return None
            if generation := self._next_generation(there, asking.asker, asking.busy_until):
                break
            pause(LOOK_AGAIN)
        asking = replace(asking, generation=generation)
        self._manifest(asking).write(self.destination.manifest)
        self.last = asking
        return None if self.state.put(asking).result else asking

    def latest(self, progress: Progress) -> Progress:
        """Return what is stored of the same job now: its result, otherwise a billing call that is under way."""
        kept, manifest = self.state.get(), self._stored_manifest()
        news = [manifest and self._as_ours(manifest, progress), kept]
        known = [each for each in news if each and each.is_of(progress.job.request_id)]
        paid = next((each for each in known if each.result), None)
        return paid or next(filter(is_asking, known), None) or next(iter(known), progress)

    def release(self, over: Progress) -> None:
        """Store that a billing call is over without an answer."""
        try:
            self.put(over)
            self._remove_claims(over.generation)
        except Exception:
            self.log.exception(
                "Could not store that the billing call of job %s ended without a result.", over.job.request_id
            )

    def keep(self, fetched: Progress, *, killed: bool = False) -> Progress:
        """Store a paid result in task state and manifest, and return it.

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
                    raise self._kept_nowhere(self._manifest(fetched)) from error
            else:
                if manifest_first:
                    self._put_state(known)
                return known
        raise AssertionError("the loop ends by return or raise")

    def own(self, fetched: Progress, owner: str, pause: Pause) -> bool:
        """Write this job's manifest to the destination before its videos are published.

        :param fetched: how far the job got: its result is there
        :param owner: the process
        :param pause: waits for that many seconds
        :returns: whether the manifest was this job's already, so that its videos may be there
        :raises DestinationError: if another job's video, or something else, is there and may not be replaced
        """
        job, manifest = fetched.job, self._stored_manifest()
        if manifest and manifest.progress.is_of(job.request_id):
            self._note_orderer(manifest)
            if fetched.phase == LANDED:
                self._remove_claims(manifest.progress.generation)
            return True
        names = self.destination.videos(len(fetched.result.urls)) if fetched.result and self.destination.exact else []
        taken = _standing({*names} - {each.uri for each in fetched.videos})
        self._refuse_if_taken(manifest, job.request_id, taken)
        if self._manifest(replace(fetched, generation=0)).create(self.destination.manifest):
            return False
        with self._publishing(owner, pause) as (there, generation):
            self._refuse_if_taken(there, job.request_id)
            self._manifest(replace(fetched, generation=generation)).write(self.destination.manifest)
        return False

    def publish(self, landed: Progress, owner: str, pause: Pause) -> list[Saved]:
        """Store that all videos are there, so that manifest and videos are of one job.

        With ``overwrite`` the destination may be another job's now. If its videos are there, so is its manifest.

        :param landed: how far this job got: its videos were published
        :returns: the videos to publish again: the manifest is this job's, or some of its videos are still there;
            nothing was stored then
        """
        if not self.overwrite:
            self._put_manifest(landed)
        if self.overwrite or self._is_anothers(landed):
            with self._publishing(owner, pause) as (there, generation):
                missing = self._overwritten(landed, there)
                is_ours = not there or there.progress.is_of(landed.job.request_id)
                if missing and (is_ours or len(missing) < len(landed.videos)):
                    return missing
                if missing:
                    self.log.warning("Another job has overwritten %s.", missing[0].uri)
                newest = self._manifest(landed) if not missing or not there else there
                if not is_asking(newest.progress):  # otherwise that process would lose its lease
                    newest = replace(newest, progress=replace(newest.progress, generation=generation))
                    newest.write(self.destination.manifest)
                    self._remove_claims(generation)
        else:  # only videos of this job can be there
            self._remove_claims(landed.generation)
        self.last = landed
        self._put_state(landed)
        return []

    def _is_anothers(self, landed: Progress) -> bool:
        """Whether the manifest was another job's when it was read last: that job's task may overwrite."""
        return self._seen is not None and not self._seen.progress.is_of(landed.job.request_id)

    def _overwritten(self, landed: Progress, there: Manifest | None) -> list[Saved]:
        """Return the videos of this job that another job has overwritten.

        A job writes its manifest before it publishes, so the contents are compared only if it is another job's.
        """
        if not there or there.progress.is_of(landed.job.request_id):
            return [each for each in landed.videos if self.overwrite and size_of(each.uri) != each.size]
        return [each for each in landed.videos if not is_there(each)]

    def _check_free(self, request_id: str | None) -> Manifest | None:
        """Refuse an exact destination that is taken. Return the manifest beside it."""
        if not self.destination.exact:
            return None
        most = self.samples or MOST_SAMPLES
        taken = _standing({*self.destination.videos(1), *self.destination.videos(most)})
        manifest = self._stored_manifest()  # after the videos: it is there before they are
        self._refuse_if_taken(manifest, request_id, taken)
        return manifest

    def _put_state(self, progress: Progress) -> bool:
        try:
            self.state.put(progress, reread=False)
        except Exception:
            self.log.exception("The task state could not be written. The manifest has the result.")
            return False
        return self.state.has_store

    def _kept_nowhere(self, manifest: Manifest) -> KeptNowhereError:
        uri = self.destination.manifest
        self.log.error("This result is paid for. Write it to %s, then clear the task: %s", uri, manifest.text)
        return KeptNowhereError(
            f"The result of job {manifest.progress.job.request_id} is paid for and is only in the log above. Write the "
            f"JSON of that line to {uri}, then clear the task: it downloads the videos and pays nothing more."
        )

    def _log_paid(self, fetched: Progress) -> None:
        manifest = self._manifest(fetched)
        self.log.info(
            "Paid for. Until %s is written, the result is only here: %s",
            self.destination.manifest,
            manifest.text,
        )

    def _has_manifest_of(self, progress: Progress) -> bool:
        """Whether the manifest is missing or of this job, as far as it can be read."""
        try:
            there = self._stored_manifest()
        except Exception:
            return True
        return not there or there.progress.is_of(progress.job.request_id)

    def _put_manifest(self, progress: Progress, *, leave_others: bool = True) -> Progress:
        """Write the manifest, unless more is stored there already. Return what is known of the job then.

        :param leave_others: whether to leave the manifest of another job as it is
        """
        there = self._stored_manifest()
        if there and not there.progress.is_of(progress.job.request_id):
            if leave_others:
                return progress
        elif there and there.progress.knows_more_than(progress):
            return self._as_ours(there, progress)
        elif there and not progress.result and not self._holds_lease(there.progress, progress):
            return progress
        generation = max(progress.generation, there.progress.generation if there else 0)
        self._manifest(replace(progress, generation=generation)).write(self.destination.manifest)
        return progress

    def _holds_lease(self, there: Progress, mine: Progress) -> bool:
        """Whether this process still holds the lease."""
        if not there.is_of(mine.job.request_id):
            return False
        return there.generation <= mine.generation and (not is_asking(there) or there.asker == self._owner)

    def _next_generation(self, there: Manifest | None, owner: str, expires: float) -> int:
        """Take over the lease on the manifest ``there``. Return its generation, or 0 to try again later."""
        generation = there.progress.generation if there else 0
        if there and generation:
            is_retry = not self._claims and self._is_this_task(there)
            self._claims |= self._claims_of_others(generation, KILLED_TRIES if is_retry else 1)
        while True:
            generation += 1
            claim = self._claim(generation, owner, expires)
            is_mine = claim.create()
            if not is_mine:
                other = Claim.read(claim.uri)
                is_mine = other == claim  # it was created, and the store's answer was lost
                if not is_mine and (other is None or other.is_alive):
                    return 0
            self._claims[generation] = claim
            if self._has_changed(there):
                if is_mine:
                    claim.expire()
                return 0
            if is_mine:
                return generation

    def _claim(self, generation: int, owner: str, expires: float) -> Claim:
        return Claim(f"{self.destination.manifest}.claim-{generation}", owner, expires)

    def _claims_of_others(self, generation: int, most: int) -> dict[int, Claim]:
        """Return the objects that other processes may have left, up to ``generation``."""
        return {each: self._claim(each, "", 0.0) for each in range(max(generation - most, 0) + 1, generation + 1)}

    def _has_changed(self, before: Manifest | None) -> bool:
        """Whether the manifest was written since ``before`` was read."""
        now = self._stored_manifest()
        if not now or not before:
            return now is not before
        return now != before or now.progress.generation != before.progress.generation

    @contextlib.contextmanager
    def _publishing(self, owner: str, pause: Pause) -> Iterator[tuple[Manifest | None, int]]:
        """Hold the lease while the manifest is replaced. Yield the manifest, and the generation of the lease."""
        expires = time.time() + PUBLISHING_SECONDS
        while not (generation := self._next_generation(self._stored_manifest(), owner, expires)):
            pause(LOOK_AGAIN)
            expires = time.time() + PUBLISHING_SECONDS
        try:
            yield self._seen, generation
        finally:
            if generation in self._claims:
                self._claims[generation].expire()

    def _remove_claims(self, generation: int) -> None:
        """Delete the objects of the lease up to ``generation``: no process creates one below the manifest's."""
        if not self._claims:  # an earlier try of this task had the lease
            self._claims = self._claims_of_others(generation, KILLED_TRIES)
        for each in sorted(self._claims):
            if each <= generation:
                self._claims.pop(each).remove()

    def _begun_asking(self, asking: Progress, before: Progress) -> Progress:
        """Store that this process makes the billing call, unless the task state knows more than the manifest."""
        try:
            other = self._another_asks(asking)
            if not other:
                self.last = asking
                return self.state.put(asking, reread=False)
        except BaseException:  # no call was made, and it must not count as one whose answer is lost
            self.release(replace(before, generation=asking.generation))
            raise
        self._manifest(replace(other, generation=asking.generation)).write(self.destination.manifest)
        return other

    def _another_asks(self, asking: Progress) -> Progress | None:
        """Return what is in the task state if it is the result, or another process's billing call."""
        kept = self.state.get()
        if not kept or not kept.is_of(asking.job.request_id):
            return None
        return kept if kept.result or (is_asking(kept) and kept.asker != asking.asker) else None

    def _as_ours(self, manifest: Manifest, mine: Progress | None) -> Progress:
        """Return the progress in a manifest of this job. If another task wrote it, its order is not this task's."""
        return manifest.progress.ordered_as(mine) if mine and self.order else manifest.progress

    def _note_orderer(self, manifest: Manifest) -> None:
        """Remember the manifest of the task that submitted the job: it stays that task's if another lands the job."""
        if not self.order and manifest.progress.order:
            self._orderers = manifest

    def _is_ours(self, manifest: Manifest, job: api.Job | None) -> bool:
        found = manifest.progress
        if job:
            return found.is_of(job.request_id)
        if not self._is_this_task(manifest):
            return False
        # In a retry the order differs only if a template renders differently in each try. A manifest that a first try
        # finds is from a deleted run of the same id.
        is_retry = self.state.try_number > 1 and not self.state.was_cleared_since(found)
        return is_retry or found.order == self.order

    def _is_paid_for(self, there: Manifest) -> bool:
        """Return whether another execution of this task has paid for the same order, or is about to."""
        found = there.progress
        if self.regenerates and self.state.is_of_a_later_clear(found):
            return False
        same = self._is_this_task(there) and bool(self.order) and found.order == self.order
        return same and (found.result is not None or is_asking(found))

    def _is_this_task(self, manifest: Manifest) -> bool:
        return manifest.is_of(self.task)

    def _refuse_if_taken(self, manifest: Manifest | None, request_id: str | None, taken: Sequence[str] = ()) -> None:
        if self.overwrite or not (manifest or taken):
            return
        if manifest and (manifest.progress.is_of(request_id) or self._is_this_task(manifest)):
            return
        if manifest and manifest.progress.has_lapsed(time.time()):
            manifest = None
            if not taken:
                return
        raise _taken(next(iter(taken), self.destination.manifest), manifest)

    def _stored_manifest(self) -> Manifest | None:
        self._seen = Manifest.read(self.destination.manifest)
        return self._seen

    def _manifest(self, progress: Progress) -> Manifest:
        whose, seen = self._orderers or self, self._seen
        if not seen or not seen.progress.is_of(progress.job.request_id):
            return Manifest(progress, whose.task, whose.request)
        progress = replace(progress, reserved_until=max(progress.reserved_until, seen.progress.reserved_until))
        return Manifest(progress, whose.task, whose.request, seen.stored)


def _taken(uri: str, manifest: Manifest | None) -> DestinationError:
    whose = f"job {manifest.progress.job.request_id} of {_name(manifest.task)}" if manifest else "something else"
    until = manifest.progress.reserved_until if manifest and manifest.progress.phase == SUBMITTED else 0
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


def _standing(uris: set[str]) -> list[str]:
    """Return the URIs at which something exists."""
    return [uri for uri in sorted(uris) if size_of(uri) is not None]
