"""What is known of a job: the record that task state and manifest both hold, and how it changes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timezone
from typing import Any

from airflow_provider_modelmax import __version__
from airflow_provider_modelmax.api import Job, Result
from airflow_provider_modelmax.storage.objects import Saved

SUBMITTED, FETCHING, FETCHED, LANDED, FAILED = "submitted", "fetching", "fetched", "landed", "failed"
UNUSABLE = "unusable"

VERSION = 1
"""Major version of a stored record. A new field does not change it: older releases ignore unknown fields, and write
them back. Only a record that older releases would misread gets the next number, so that they refuse it."""


@dataclass(frozen=True)
class JobRecord:
    """What is known of a job: what was asked for, who may fetch the result, and what came of it.

    :param job: the job
    :param phase: ``submitted``, ``fetching`` (the billing call has begun), ``fetched``, ``landed``, ``failed`` or
        ``unusable`` (the result was paid for in vain)
    :param task: ``dag_id``, ``run_id``, ``task_id``, ``map_index`` of the task that submitted the job, or that
        downloads a job which was submitted elsewhere
    :param request: what was sent, in readable form; None if the job was submitted elsewhere
    :param fingerprint: hash of the request, with the content of its image; empty if not known
    :param order: hash of the request by the rule of 0.1.0: an image counts by its path; empty if the job was submitted
        elsewhere
    :param samples: how many videos were asked for; None if not known
    :param destination: where the videos go, as the task named it; empty if not known
    :param submitted_at: when the job was submitted, in seconds since the epoch; 0 if not known
    :param max_tries: Airflow's, when the job was submitted or adopted: a clear changes it
    :param try_number: Airflow's, at the same moment: each execution has a higher one than those before it
    :param attempts: billing calls whose answer is not known
    :param owner: the process that holds the lease for the billing call; empty if none does
    :param expires: when the lease expires unless it is renewed, in seconds since the epoch
    :param busy_until: when the call is over at the latest, in seconds since the epoch. 0.1.0 waits until then
    :param generation: how often the lease was taken over, see ``jobs/lease.py``
    :param result: what was paid for
    :param billed: the service's ``usage`` of a result that cannot be used
    :param videos: what was stored
    :param reason: why the job FAILED, or what came instead of a result
    :param reserved_until: until when an exact destination is reserved for the job, in seconds since the epoch; 0 if it
        is not
    """

    job: Job
    phase: str = SUBMITTED
    task: Mapping[str, Any] = field(default_factory=dict, compare=False)
    request: Mapping[str, Any] | None = field(default=None, compare=False)
    fingerprint: str = field(default="", compare=False)
    order: str = ""
    samples: int | None = field(default=None, compare=False)
    destination: str = field(default="", compare=False)
    submitted_at: float = 0.0
    max_tries: int = 0
    try_number: int = 0
    attempts: int = 0
    owner: str = ""
    expires: float = field(default=0.0, compare=False)
    busy_until: float = 0.0
    generation: int = field(default=0, compare=False)
    result: Result | None = None
    billed: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[Saved, ...] = ()
    reason: str = ""
    reserved_until: float = field(default=0.0, compare=False)

    # What it says

    @property
    def submitted(self) -> datetime | None:
        """When the job was submitted, None if that is not known."""
        return datetime.fromtimestamp(self.submitted_at, timezone.utc) if self.submitted_at else None

    @property
    def usage(self) -> dict[str, Any]:
        """What was billed, in the service's words; empty if nothing was, or the service did not say."""
        return dict(self.result.usage if self.result else self.billed)

    @property
    def image_uri(self) -> str | None:
        """The path or URI of the image that was sent, None if there is none."""
        image = ((self.request or {}).get("parameters") or {}).get("image")
        return image if isinstance(image, str) and not image.startswith("<") else None

    @property
    def is_failed(self) -> bool:
        """Whether the job FAILED."""
        return self.phase == FAILED

    def is_of_task(self, task: Mapping[str, Any]) -> bool:
        """Whether the job is that of a task instance."""
        return task.items() <= self.task.items()

    def has_lapsed(self, now: float) -> bool:
        """Whether this is a reservation that no longer holds: it has expired, or the job FAILED."""
        return self.is_failed or (self.phase == SUBMITTED and self.reserved_until <= now)

    def knows_more_than(self, other: JobRecord) -> bool:
        """Whether this is a later state of the same job, which ``other`` must not replace."""
        if self.job.request_id != other.job.request_id:
            return False
        if other.result:
            return self.phase == LANDED and other.phase != LANDED
        return self.result is not None or (self.phase == UNUSABLE and other.phase != UNUSABLE)

    # How it changes

    def as_requested_by(self, mine: JobRecord) -> JobRecord:
        """Return this record with the request of ``mine``, if that one has submitted the job."""
        if not mine.order:
            return replace(self, destination=mine.destination)
        return replace(
            self,
            task=mine.task,
            request=mine.request,
            fingerprint=mine.fingerprint,
            order=mine.order,
            samples=mine.samples,
            destination=mine.destination,
            submitted_at=mine.submitted_at,
            max_tries=mine.max_tries,
            try_number=mine.try_number,
        )

    def requesting(self, owner: str, *, expires: float, busy_until: float) -> JobRecord:
        """Return the record with a billing call begun by the ``owner`` of the lease."""
        return replace(
            self,
            phase=FETCHING,
            attempts=self.attempts + 1,
            owner=owner,
            expires=round(expires, 1),
            busy_until=round(busy_until, 1),
        )

    def refused(self) -> JobRecord:
        """Return the record once a call was refused and the next attempt follows: the lease is kept in between."""
        return replace(self, attempts=self.attempts - 1)

    def not_billed(self) -> JobRecord:
        """Return the record once a billing call is over that was refused, or never sent."""
        attempts = self.attempts - 1
        return replace(self, **_RELEASED, attempts=attempts, phase=FETCHING if attempts else SUBMITTED)

    def lost(self) -> JobRecord:
        """Return the record once a billing call is over and its answer is lost: it may have been billed."""
        return replace(self, **_RELEASED)

    def fetched(self, result: Result) -> JobRecord:
        """Return the record with the result."""
        return replace(self, **_RELEASED, phase=FETCHED, result=result)

    def unusable(self, reason: str, billed: Mapping[str, Any]) -> JobRecord:
        """Return the record once a result came that cannot be used."""
        return replace(self, **_RELEASED, phase=UNUSABLE, reason=reason, billed=billed)

    def landed(self, videos: tuple[Saved, ...]) -> JobRecord:
        """Return the record once all videos are at their URIs."""
        return replace(self, phase=LANDED, videos=videos)

    def failed(self, reason: str) -> JobRecord:
        """Return the record once the job FAILED."""
        return replace(self, **_RELEASED, phase=FAILED, reason=reason)

    # As JSON

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        return {
            **(self.result.as_dict() if self.result else {"data": None, "usage": dict(self.billed) or None}),
            **vars(self.job),
            "phase": self.phase,
            "task": dict(self.task),
            "request": self.request,
            "fingerprint": self.fingerprint,
            "samples": self.samples,
            "destination": self.destination,
            "videos": [{"uri": each.uri, "bytes": each.size, "sha256": each.sha256} for each in self.videos],
            "order": self.order,
            "submitted_at": self.submitted_at,
            "max_tries": self.max_tries,
            "try_number": self.try_number,
            "asks": self.attempts,
            "asker": self.owner,
            "lease_expires": self.expires,
            "busy_until": self.busy_until,
            "generation": self.generation,
            "reason": self.reason,
            "reserved_until": self.reserved_until,
            "provider_version": __version__,
        }

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> JobRecord:
        """Read what :meth:`as_dict` of this or another release wrote. Only the job and the phase are required.

        :raises AttributeError, KeyError, TypeError, ValueError: if it is something else
        """
        job, phase = Job.of(stored), stored["phase"]
        if not isinstance(phase, str) or not phase:
            raise ValueError(f"phase is {phase!r}")
        usage = stored.get("usage") or {}
        result = Result.from_dict({**stored, **vars(job), "usage": usage}) if stored.get("data") else None
        if result is None and phase in {FETCHED, LANDED}:
            raise ValueError(f"phase is {phase!r}, but there is no data")
        videos = [
            Saved(each["uri"], each.get("bytes", 0), each.get("sha256", "")) for each in stored.get("videos") or ()
        ]
        samples = stored.get("samples")
        return cls(
            job,
            phase,
            task=dict(stored.get("task") or {}),
            request=stored.get("request"),
            fingerprint=str(stored.get("fingerprint") or ""),
            samples=samples if isinstance(samples, int) else None,
            destination=str(stored.get("destination") or ""),
            result=result,
            billed={} if result else dict(usage),
            videos=tuple(videos),
            **_plain_fields(stored),
        )


_RELEASED: Mapping[str, Any] = {"owner": "", "expires": 0.0, "busy_until": 0.0}
"""What a record without a lease holds."""

_PLAIN = {
    "order": "order",
    "submitted_at": "submitted_at",
    "max_tries": "max_tries",
    "try_number": "try_number",
    "asks": "attempts",
    "asker": "owner",
    "lease_expires": "expires",
    "busy_until": "busy_until",
    "generation": "generation",
    "reason": "reason",
    "reserved_until": "reserved_until",
}
"""Numbers and texts: the JSON key, and the name here."""


def check_version(what: str, stored: Mapping[str, Any], version: object, error: type[Exception]) -> None:
    """Raise ``error`` if this release cannot read a record. ``1``, ``1.4`` and ``"1.4"`` are major version 1.

    :param what: what it is and where
    :raises ValueError: if it is not a version
    """
    if version is None or int(str(version).partition(".")[0]) <= VERSION:
        return
    named = stored.get("provider_version")
    release = f"airflow-provider-modelmax {named}" if isinstance(named, str) else "a newer airflow-provider-modelmax"
    raise error(
        f"{what} was written by {release} (record version {version}), and this worker can read version {VERSION} only. "
        "The video may be paid for, so nothing was overwritten, submitted or fetched. Install that release or a later "
        "one on this worker, then clear the task."
    )


def with_unknown_fields(document: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``document`` with the fields of ``stored``, of the same job, that it lacks: a newer release wrote them."""
    if stored.get("request_id") != document["request_id"]:
        return dict(document)
    merged = {**stored, **document}
    for name, key in (("data", "url"), ("videos", "uri")):
        if document[name] and stored.get(name):
            known = [each for each in stored[name] if isinstance(each, Mapping) and isinstance(each.get(key), str)]
            before = {each[key]: each for each in known}
            merged[name] = [_with_unknown(each, before.get(each[key])) for each in document[name]]
    for name in ("request", "task"):
        if document[name] != stored.get(name):
            merged[name] = _with_unknown(document[name], stored.get(name))
    return merged


def _with_unknown(new: Any, old: object) -> Any:
    """Return an object with what its stored form has beside it; as it is, if that is the form of another."""
    if isinstance(new, Mapping) and isinstance(old, Mapping) and {**old, **new} == old:
        return dict(old)
    return new


def _plain_fields(stored: Mapping[str, Any]) -> dict[str, Any]:
    found = {}
    for key, name in _PLAIN.items():
        value = stored.get(key)
        if value is None:
            continue
        kinds = str if isinstance(getattr(JobRecord, name), str) else (int, float)
        if isinstance(value, bool) or not isinstance(value, kinds):
            raise TypeError(f"{key} is {value!r}")
        found[name] = value
    return found
