"""The lease on a manifest: which process may make the billing call or publish, and until when.

The manifest itself is the first lease: the process that creates it holds it. An expired lease is taken over by creating
an object of the next generation, ``{manifest}.claim-{n}``. The store creates each object only once, so it decides which
process gets the lease. If the owner of a generation died before it updated the manifest, the one after it is created.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from airflow_provider_modelmax.api.errors import StorageError
from airflow_provider_modelmax.jobs.record import Progress
from airflow_provider_modelmax.storage.objects import create_json, load_json, remove, save_json

_asking: set[str] = set()
"""Names of the owners that are alive in this process."""


@contextlib.contextmanager
def asker() -> Iterator[str]:
    """Yield the name of a new owner, which counts as alive until the block ends."""
    name = f"{_place()}:{os.getpid()}:{uuid.uuid4().hex[:8]}"
    _asking.add(name)
    try:
        yield name
    finally:
        _asking.discard(name)


def is_asking(progress: Progress) -> bool:
    """Whether the billing call of ``progress`` may still be under way."""
    return is_alive(progress.asker, progress.busy_until)


def is_alive(owner: str, expires: float) -> bool:
    """Whether a lease is held. For processes on other machines, only the expiry is known.

    :param owner: a name that :func:`asker` made, or empty
    :param expires: seconds since the epoch
    """
    if not owner or time.time() >= expires:
        return False
    place, _, process = owner.partition(f"{_place()}:")
    pid, _, _ = process.partition(":")
    if place or not pid.isdigit():
        return True
    return owner in _asking if int(pid) == os.getpid() else _lives(int(pid))


@dataclass(frozen=True)
class Claim:
    """One generation of a lease.

    :param uri: where it is stored
    :param owner: the process that created it
    :param expires: when it is over at the latest, in seconds since the epoch
    """

    uri: str
    owner: str
    expires: float

    def create(self) -> bool:
        """Create it. Return False if another process has created it."""
        return create_json(self.uri, self._document(self.expires))

    def expire(self) -> None:
        """Expire it now. If the store fails, it expires at its own time."""
        with contextlib.suppress(StorageError):
            save_json(self.uri, self._document(0.0))

    def remove(self) -> None:
        """Delete it. If the store fails or refuses, it stays, which does no harm."""
        with contextlib.suppress(StorageError):
            remove(self.uri)

    def _document(self, expires: float) -> dict[str, object]:
        return {"claim_version": 1, "owner": self.owner, "expires": expires}

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


def _place() -> str:
    """Return machine and container: a process id is unique in these only.

    The host name is not enough, as two machines can share it; neither is the namespace, which is the same outside of
    containers.
    """
    boot = container = ""
    with contextlib.suppress(OSError):  # not Linux
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    with contextlib.suppress(OSError):
        container = str(Path("/proc/self/ns/pid").readlink())
    return " ".join(filter(None, (socket.gethostname(), boot, container)))


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
