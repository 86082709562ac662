"""The lease on a manifest: which process may make the billing call, or replace the manifest, and until when.

The process that creates the manifest holds the first lease, generation 0. An expired lease is taken over by creating
an object of the next generation, ``{manifest}.claim-{n}``. The store creates each object only once, so it decides which
process gets the lease. If the owner of a generation died before it updated the manifest, the one after it is created.

The holder renews its lease every 10 s while it works, in the object of its generation, which no other process writes.
The clocks of workers must agree within 20 s, as a lease that is renewed has at least so much left.
"""

from __future__ import annotations

import contextlib
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from airflow_provider_modelmax.api.errors import StorageError
from airflow_provider_modelmax.jobs.record import JobRecord
from airflow_provider_modelmax.processes import is_running, machine
from airflow_provider_modelmax.storage.objects import create_json, load_json, remove, save_json

if TYPE_CHECKING:
    from airflow_provider_modelmax.jobs.manifest import Manifest

LEASE_SECONDS = 30.0
"""For how long a lease is held unless it is renewed."""

RENEW_SECONDS = 10.0
"""Seconds between two renewals."""

LOOK_AGAIN = 0.2
"""Seconds between two attempts to get the lease to replace a manifest."""

KILLED_TRIES = 4
"""How many generations are looked for that earlier tries of this task may have left."""

Pause = Callable[[float], object]
"""Waits for that many seconds; raises if the task is killed."""

_alive: set[str] = set()
"""Names of the owners that are alive in this process."""


@contextlib.contextmanager
def new_owner() -> Iterator[str]:
    """Yield the name of a new owner, which counts as alive until the block ends."""
    name = f"{machine()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    _alive.add(name)
    try:
        yield name
    finally:
        _alive.discard(name)


def is_alive(owner: str, expires: float) -> bool:
    """Whether a lease is held. For processes on other machines, only the expiry is known.

    :param owner: a name that :func:`new_owner` made, or empty
    :param expires: seconds since the epoch
    """
    if not owner or time.time() >= expires:
        return False
    elsewhere, _, process = owner.partition(f"{machine()}:")
    pid, _, _ = process.partition(":")
    if elsewhere or not pid.isdigit():
        return True
    return owner in _alive if int(pid) == os.getpid() else is_running(int(pid))


@dataclass(frozen=True)
class Claim:
    """One generation of a lease, as an object of the store.

    :param uri: of the object
    :param owner: the process that created it
    :param expires: seconds since the epoch
    """

    uri: str
    owner: str
    expires: float

    def create(self) -> bool:
        """Create it. Return False if another process has created it."""
        return create_json(self.uri, self._document)

    def renew(self, expires: float) -> None:
        """Write it with another expiry."""
        save_json(self.uri, replace(self, expires=expires)._document)

    def expire(self) -> None:
        """Let it expire now. If the store fails, it expires at its own time."""
        with contextlib.suppress(StorageError):
            self.renew(0.0)

    def remove(self) -> None:
        """Delete it. If the store fails or refuses, it stays, which does no harm."""
        with contextlib.suppress(StorageError):
            remove(self.uri)

    @property
    def _document(self) -> dict[str, object]:
        return {"claim_version": 1, "owner": self.owner, "expires": self.expires}

    @classmethod
    def read(cls, uri: str) -> Claim | None:
        """Return the claim at ``uri``, or None if there is none."""
        stored = load_json(uri)
        if stored is None:
            return None
        owner, expires = stored.get("owner"), stored.get("expires")
        if not isinstance(owner, str) or not isinstance(expires, int | float):
            return cls(uri, "", 0.0)
        return cls(uri, owner, float(expires))

    @property
    def is_alive(self) -> bool:
        """Whether its owner may still be running."""
        return is_alive(self.owner, self.expires)


class Lease:
    """The lease on one manifest, as this process sees it.

    :param manifest: the manifest
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of this task
    """

    def __init__(self, manifest: Manifest, task: Mapping[str, Any]) -> None:
        self.manifest, self.task = manifest, task
        self.owner = ""
        self.generation = 0
        self._claims: dict[int, Claim] = {}
        """Objects by generation, deleted once the manifest has that generation."""

    def is_held(self, record: JobRecord) -> bool:
        """Whether the billing call of a record may still be under way."""
        if not record.owner:
            return False
        expires = record.expires or record.busy_until  # 0.1.0 does not renew
        if record.expires and time.time() >= expires:
            renewed = Claim.read(self._claim(record.generation).uri)
            if renewed and renewed.owner == record.owner:
                expires = renewed.expires
        return is_alive(record.owner, expires)

    def is_mine(self, there: JobRecord, mine: JobRecord) -> bool:
        """Whether this process still holds the lease with which it wrote ``mine``."""
        if there.job.request_id != mine.job.request_id or there.generation > mine.generation:
            return False
        return there.owner == self.owner or not self.is_held(there)

    def take_over(self, owner: str) -> int:
        """Create the next generation of the lease on the manifest that was read last.

        :param owner: name of the new owner
        :returns: the generation; 0 if another process holds it, or the manifest was written since
        """
        before, expires = self.manifest.last, time.time() + LEASE_SECONDS
        generation = before.generation if before else 0
        if before and (generation or before.owner):
            is_retry = not self._claims and before.is_of_task(self.task)
            self._claims |= self._left_by_others(generation, KILLED_TRIES if is_retry else 1)
        while True:
            generation += 1
            claim = self._claim(generation, owner, expires)
            created = claim.create()
            if not created:
                there = Claim.read(claim.uri)
                created = there == claim  # it was created, and the store's answer was lost
                if not created and (there is None or there.is_alive):
                    return 0
            self._claims[generation] = claim
            if self.manifest.has_changed():
                if created:
                    claim.expire()
                return 0
            if created:
                self.owner, self.generation = owner, generation
                return generation

    @contextlib.contextmanager
    def renewed(self) -> Iterator[None]:
        """Renew the lease that this process holds every 10 s, until the block ends."""
        over = threading.Event()

        def renew() -> None:
            while not over.wait(RENEW_SECONDS):
                claim = self._claims.setdefault(self.generation, self._claim(self.generation, self.owner))
                try:
                    claim.renew(round(time.time() + LEASE_SECONDS, 1))
                except Exception:  # the next renewal may succeed
                    logging.getLogger(__name__).warning("Could not renew the lease %s.", claim.uri, exc_info=True)

        thread = threading.Thread(target=renew, name="modelmax-lease", daemon=True)
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join()

    @contextlib.contextmanager
    def replacing(self, owner: str, pause: Pause) -> Iterator[tuple[JobRecord | None, int]]:
        """Hold the lease while the manifest is replaced.

        :param pause: waits while another process holds it
        :returns: in ``with``, the record that is there, and the generation of the lease
        """
        self.manifest.get()
        while not (generation := self.take_over(owner)):
            pause(LOOK_AGAIN)
            self.manifest.get()
        try:
            with self.renewed():
                yield self.manifest.last, generation
        finally:
            if generation in self._claims:
                self._claims[generation].expire()

    def remove(self, generation: int) -> None:
        """Delete the objects up to ``generation``: no process creates one below the manifest's."""
        if generation and not self._claims:  # an earlier try of this task had the lease
            self._claims = self._left_by_others(generation, KILLED_TRIES)
        for each in sorted(self._claims):
            if each <= generation:
                self._claims.pop(each).remove()

    def _claim(self, generation: int, owner: str = "", expires: float = 0.0) -> Claim:
        return Claim(f"{self.manifest.uri}.claim-{generation}", owner, expires)

    def _left_by_others(self, generation: int, most: int) -> dict[int, Claim]:
        """Return the objects that other processes may have left, up to ``generation``."""
        return {each: self._claim(each) for each in range(max(generation - most + 1, 0), generation + 1)}
