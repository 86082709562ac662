"""What is kept of a task's job, in task state and manifest; and who of several may ask for its result."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax import api
from airflow_provider_modelmax.manifest import Destination, Manifest
from airflow_provider_modelmax.operators.asker import is_asking
from airflow_provider_modelmax.operators.task_state import TaskState
from airflow_provider_modelmax.parameters import MOST_SAMPLES
from airflow_provider_modelmax.progress import Progress
from airflow_provider_modelmax.storage import check_writable, size_of
from airflow_provider_modelmax.stores import DestinationError

if TYPE_CHECKING:
    from airflow.sdk import Context
    from airflow.sdk.types import Logger

SETTLING = 1.0
"""Seconds after which a claim that replaced another is read again: who wrote last has it."""

KEEP_ATTEMPTS = 4


class KeptNowhereError(api.RefusedError):
    """A result is paid for, and neither task state nor manifest took it: it is in the log."""


@dataclass
class Record:
    """What is kept of the job of one task instance.

    :param state: the task state
    :param destination: where the videos go, and beside them the manifest
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of the task
    :param order: fingerprint of what the task asks for; empty when the job was submitted elsewhere
    :param request: what the task asks for, for people to read in the manifest
    :param samples: how many videos the task asks for, None when the job was submitted elsewhere
    :param overwrite: whether another job's video may be replaced
    :param regenerates: whether a clear asks for a fresh generation, whatever is paid for already
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
    """What was kept last by this process, None before it kept something."""
    _orderers: Manifest | None = field(default=None, init=False)
    """The manifest of the task that ordered the job, where this one only lands it."""

    _seen: Manifest | None = field(default=None, init=False)
    """The manifest as it was read last."""

    @classmethod
    def of(cls, context: Context, *, destination: object, stem: str, **more: Any) -> Record:
        """Return the record of the task that runs in ``context``.

        :raises InvalidInputError: when ``destination`` is no usable text
        """
        ti = context["ti"]
        task = {"dag_id": ti.dag_id, "run_id": ti.run_id, "task_id": ti.task_id, "map_index": ti.map_index}
        return cls(TaskState(context), Destination.parse(destination, stem), task, **more)

    def begun(self, job: api.Job, submitted_at: float = 0.0) -> Progress:
        """Return the progress with a job of which nothing is known yet.

        :param submitted_at: seconds since the epoch; 0 when the job was submitted elsewhere
        """
        return self.state.begun(job, self.order, submitted_at=submitted_at)

    def recall(self, job: api.Job | None = None) -> Progress | None:
        """Return what was kept: from the task state, else from the manifest.

        :param job: the job, when the caller names one; what is kept of another does not count then
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
        self.log.info("Found job %s (%s) in %s.", found.job.request_id, found.phase, self.destination.manifest)
        return self.state.put(found) if found.result else found

    def check(self, request_id: str | None) -> None:
        """Make sure that the videos can land, before anything is spent.

        :param request_id: the job, when it is known already
        :raises DestinationError: when the destination is taken, or cannot be written
        """
        self._check_free(request_id)
        check_writable(self.destination.folder)

    def put(self, progress: Progress) -> Progress:
        """Keep how far the task got in manifest and task state, and return it."""
        self._manifest(progress).write(self.destination.manifest)
        self.last = progress
        return self.state.put(progress)

    def claim(self, progress: Progress, asking: Progress) -> Progress:
        """Become the one who asks for the result. Creating the manifest decides it, on every version of Airflow.

        :param progress: how far this task got
        :param asking: the same, with this process asking
        :returns: ``asking``, or what stands in manifest or task state when that is news
        :raises DestinationError: when the destination belongs to another job by now, or something else stands there
        """
        self._check_free(progress.job.request_id)
        if self._manifest(asking).create(self.destination.manifest):
            return self._begun_asking(asking, progress)
        there = self._stored_manifest()
        if there and there.progress.is_of(progress.job.request_id):
            self._note_orderer(there)
            found = self._as_ours(there, progress)
            if found not in (progress, asking):
                return found
        elif there:
            if self._is_paid_for(there):  # who is still at it keeps it in the task state as well
                return self.state.taken_up(there.progress) if there.progress.result else there.progress
            self._refuse_if_taken(there, progress.job.request_id)
        return self._replace(asking, progress)

    def latest(self, progress: Progress) -> Progress:
        """Return what is known of the same job by now: its result, else a call for it that is under way."""
        kept, manifest = self.state.get(), self._stored_manifest()
        news = [manifest and self._as_ours(manifest, progress), kept]
        known = [each for each in news if each and each.is_of(progress.job.request_id)]
        paid = next((each for each in known if each.result), None)
        return paid or next(filter(is_asking, known), None) or next(iter(known), progress)

    def release(self, over: Progress) -> None:
        """Keep that a billing call is over without an answer."""
        try:
            self.put(over)
        except Exception:
            self.log.exception("It could not be kept that the result of job %s did not come.", over.job.request_id)

    def keep(self, fetched: Progress) -> Progress:
        """Keep a paid result in task state and manifest, and return it.

        :raises KeptNowhereError: when neither takes it; the log has it then
        """
        self.last, kept = fetched, self._put_state(fetched)
        manifest = self._manifest(fetched)
        if not kept:  # a store can take minutes to fail, and who is killed meanwhile finds it here
            self.log.info("Paid for; until %s is written, it stands here: %s", self.destination.manifest, manifest.text)
        for attempt in range(1, KEEP_ATTEMPTS + 1):
            try:
                manifest.write(self.destination.manifest)
            except Exception as error:
                if attempt < KEEP_ATTEMPTS:
                    self.log.warning("The manifest could not be written: %s Writing it again.", error)
                    time.sleep(attempt)
                elif kept:
                    raise
                else:
                    raise self._kept_nowhere(manifest) from error
            else:
                return fetched
        raise AssertionError("the loop ends by return or raise")

    def holds(self, fetched: Progress) -> bool:
        """Say whether the destination is that of a job already.

        :param fetched: how far the job got: its result is there
        :raises DestinationError: when another job's video, or something else, is there and must stay so
        """
        job, manifest = fetched.job, self._stored_manifest()
        if manifest and manifest.progress.is_of(job.request_id):
            self._note_orderer(manifest)
            return True
        names = self.destination.videos(len(fetched.result.urls)) if fetched.result and self.destination.exact else []
        taken = _standing({*names} - {each.uri for each in fetched.videos})
        self._refuse_if_taken(manifest, job.request_id, taken)
        return False

    def _check_free(self, request_id: str | None) -> None:
        if not self.destination.exact:
            return
        most = self.samples or MOST_SAMPLES
        taken = _standing({*self.destination.videos(1), *self.destination.videos(most)})
        manifest = self._stored_manifest()  # after the videos: it is there before they are
        self._refuse_if_taken(manifest, request_id, taken)

    def _put_state(self, progress: Progress) -> bool:
        try:
            self.state.put(progress)
        except Exception:
            self.log.exception("The task state could not be written; the manifest keeps the result.")
            return False
        return self.state.has_store

    def _kept_nowhere(self, manifest: Manifest) -> KeptNowhereError:
        uri = self.destination.manifest
        self.log.error("This result is paid for. Write it to %s, then clear the task: %s", uri, manifest.text)
        return KeptNowhereError(
            f"The result of job {manifest.progress.job.request_id} is paid for and stands only in the log above. Write "
            f"the JSON of that line to {uri}, then clear the task: it lands the videos and asks for nothing."
        )

    def _replace(self, asking: Progress, before: Progress) -> Progress:
        """Take over a claim whose owner is gone; of all who try at once, the last one has it."""
        self._manifest(asking).write(self.destination.manifest)
        time.sleep(SETTLING)
        there = self._stored_manifest()
        if not there or there.progress.asker == asking.asker:
            return self._begun_asking(asking, before)
        if there.progress.is_of(asking.job.request_id):
            return self._as_ours(there, before)
        if self._is_paid_for(there):
            return there.progress
        raise _taken(self.destination.manifest, there)

    def _begun_asking(self, asking: Progress, before: Progress) -> Progress:
        """Keep that this process asks, unless the task state knows better than the manifest."""
        try:
            other = self._another_asks(asking)
            if not other:
                self.last = asking
                return self.state.put(asking)
        except BaseException:  # nothing was asked, and nobody shall take it for a call whose answer is lost
            self.release(before)
            raise
        self._manifest(other).write(self.destination.manifest)
        return other

    def _another_asks(self, asking: Progress) -> Progress | None:
        """Return what the task state knows, when that is the result or somebody else's call for it."""
        kept = self.state.get()
        if not kept or not kept.is_of(asking.job.request_id):
            return None
        return kept if kept.result or (is_asking(kept) and kept.asker != asking.asker) else None

    def _as_ours(self, manifest: Manifest, mine: Progress | None) -> Progress:
        """Return what a manifest of this job says, be it written by another task: it tells no order of this one."""
        return manifest.progress.ordered_as(mine) if mine and self.order else manifest.progress

    def _note_orderer(self, manifest: Manifest) -> None:
        """See to it that the manifest of this job stays that of the task that ordered it, where another lands it."""
        if not self.order and manifest.progress.order:
            self._orderers = manifest

    def _is_ours(self, manifest: Manifest, job: api.Job | None) -> bool:
        found = manifest.progress
        if job:
            return found.is_of(job.request_id)
        if not self._is_this_task(manifest):
            return False
        # In a retry the order can only differ because a template renders differently in each try. What a first try
        # finds is of a run of this name that was deleted.
        is_retry = self.state.try_number > 1 and not self.state.was_cleared_since(found)
        return is_retry or found.order == self.order

    def _is_paid_for(self, there: Manifest) -> bool:
        """Say whether another execution of this task has paid for the same order by another job, or is about to."""
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
        raise _taken(next(iter(taken), self.destination.manifest), manifest)

    def _stored_manifest(self) -> Manifest | None:
        self._seen = Manifest.read(self.destination.manifest)
        return self._seen

    def _manifest(self, progress: Progress) -> Manifest:
        whose, seen = self._orderers or self, self._seen
        stored = seen.stored if seen and seen.progress.is_of(progress.job.request_id) else {}
        return Manifest(progress, whose.task, whose.request, stored)


def _taken(uri: str, manifest: Manifest | None) -> DestinationError:
    whose = f"job {manifest.progress.job.request_id} of {dict(manifest.task)}" if manifest else "something else"
    return DestinationError(
        f"{uri} is taken by {whose}, and was left as it is. Put {{{{ dag_run.run_id }}}} into the destination, "
        "name a folder instead of an .mp4, or set overwrite=True."
    )


def _standing(uris: set[str]) -> list[str]:
    """Return those at which something stands, each asked for once."""
    return [uri for uri in sorted(uris) if size_of(uri) is not None]
