"""How far a task got with one job: what task state and manifest both hold."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields, replace
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
class Progress:
    """What is known of a job, and its result.

    :param job: what was submitted
    :param phase: ``submitted``, ``fetching`` (the billing call has begun), ``fetched``, ``landed``, ``failed`` or
        ``unusable`` (the result was paid for in vain)
    :param order: fingerprint of what was asked for; empty when the job was submitted elsewhere
    :param submitted_at: when the job was submitted, in seconds since the epoch; 0 when it was submitted elsewhere
    :param max_tries: Airflow's, when the job was submitted or taken up: a clear changes it
    :param try_number: Airflow's, at the same moment: each execution has a higher one than those before it
    :param asks: how many billing calls were begun whose answer is not known
    :param asker: the process that began the last one, empty when that call is over
    :param busy_until: when that call is over at the latest, in seconds since the epoch
    :param result: what was paid for
    :param billed: the service's ``usage`` of a result that cannot be used
    :param videos: what has landed
    :param reason: why the job failed, or what came instead of a result
    :param generation: how often the lease on the manifest was taken over, see ``operators/asker.py``
    :param reserved_until: until when an exact destination is reserved for the job, in seconds since the epoch; 0 if it
        is not
    :param stored: the JSON that this was read from, whose unknown fields are written back
    """

    job: Job
    phase: str = SUBMITTED
    order: str = ""
    submitted_at: float = 0.0
    max_tries: int = 0
    try_number: int = 0
    asks: int = 0
    asker: str = ""
    busy_until: float = 0.0
    result: Result | None = None
    billed: Mapping[str, Any] = field(default_factory=dict)
    videos: tuple[Saved, ...] = ()
    reason: str = ""
    generation: int = field(default=0, compare=False)
    reserved_until: float = field(default=0.0, compare=False)
    stored: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    @property
    def submitted(self) -> datetime | None:
        """When the job was submitted, None if that is not known."""
        return datetime.fromtimestamp(self.submitted_at, timezone.utc) if self.submitted_at else None

    def is_of(self, request_id: str | None) -> bool:
        """Whether this is the progress of that job."""
        return self.job.request_id == request_id

    @property
    def is_failed(self) -> bool:
        """Whether the job FAILED."""
        return self.phase == FAILED

    def has_lapsed(self, now: float) -> bool:
        """Whether this is a reservation that no longer holds: it has expired, or the job FAILED."""
        return self.is_failed or (self.phase == SUBMITTED and self.reserved_until <= now)

    def knows_more_than(self, other: Progress) -> bool:
        """Whether this is a later state of the same job, which ``other`` must not replace."""
        if not self.is_of(other.job.request_id):
            return False
        if other.result:
            return self.phase == LANDED and other.phase != LANDED
        return self.result is not None or (self.phase == UNUSABLE and other.phase != UNUSABLE)

    def ordered_as(self, mine: Progress) -> Progress:
        """Return the progress that another task has stored, with the order of ``mine``."""
        return replace(
            self,
            order=mine.order,
            submitted_at=mine.submitted_at,
            max_tries=mine.max_tries,
            try_number=mine.try_number,
        )

    def asking(self, asker: str, busy_until: float) -> Progress:
        """Return the progress once a billing call has begun."""
        return replace(self, phase=FETCHING, asks=self.asks + 1, asker=asker, busy_until=round(busy_until, 1))

    def lost(self) -> Progress:
        """Return the progress once a billing call is over and its answer is lost: it may have been billed."""
        return self._call_over()

    def refused(self) -> Progress:
        """Return the progress once a call was refused and the next one follows: the lease is kept in between."""
        return replace(self, asks=self.asks - 1)

    def not_asked(self) -> Progress:
        """Return the progress once a billing call is over that was refused, or never sent."""
        asks = self.asks - 1
        return replace(self._call_over(), asks=asks, phase=FETCHING if asks else SUBMITTED)

    def fetched(self, result: Result) -> Progress:
        """Return the progress once the result is there."""
        return replace(self._call_over(), phase=FETCHED, result=result)

    def unusable(self, came: str, billed: Mapping[str, Any]) -> Progress:
        """Return the progress once a result came that cannot be used."""
        return replace(self._call_over(), phase=UNUSABLE, reason=came, billed=billed)

    def landed(self, videos: tuple[Saved, ...]) -> Progress:
        """Return the progress once all videos are at their URIs."""
        return replace(self, phase=LANDED, videos=videos)

    def failed(self, reason: str) -> Progress:
        """Return the progress once the job FAILED."""
        return replace(self._call_over(), phase=FAILED, reason=reason)

    def _call_over(self) -> Progress:
        return replace(self, asker="", busy_until=0.0)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form."""
        known = {
            **(self.result.as_dict() if self.result else {"data": None, "usage": dict(self.billed) or None}),
            **self.job.as_dict(),
            "phase": self.phase,
            "order": self.order,
            "submitted_at": self.submitted_at,
            "max_tries": self.max_tries,
            "try_number": self.try_number,
            "asks": self.asks,
            "asker": self.asker,
            "busy_until": self.busy_until,
            "videos": [{"uri": each.uri, "bytes": each.size, "sha256": each.sha256} for each in self.videos],
            "reason": self.reason,
            "generation": self.generation,
            "reserved_until": self.reserved_until,
            "provider_version": __version__,
        }
        return with_unknown_fields(known, self.stored)

    @classmethod
    def from_dict(cls, stored: Mapping[str, Any]) -> Progress:
        """Read what :meth:`as_dict` of this or another release wrote. Only the job and the phase are required.

        :raises KeyError, TypeError, ValueError: if it is something else
        """
        job, phase = Job.of(stored), stored["phase"]
        if not isinstance(phase, str) or not phase:
            raise ValueError(f"phase is {phase!r}")
        paid = {**stored, **job.as_dict(), "usage": stored.get("usage") or {}}
        result = Result.from_dict(paid) if stored.get("data") else None
        if result is None and phase in {FETCHED, LANDED}:
            raise ValueError(f"phase is {phase!r}, but there is no data")
        videos = tuple(
            Saved(each["uri"], each.get("bytes", 0), each.get("sha256", "")) for each in stored.get("videos") or ()
        )
        plain = {each.name: _plain(stored, each.name, each.default) for each in fields(cls) if each.name in _PLAIN}
        billed = {} if result else dict(paid["usage"])
        return cls(job, phase, result=result, billed=billed, videos=videos, stored=stored, **plain)


_PLAIN = frozenset(
    each.name for each in fields(Progress) if isinstance(each.default, str | int | float) and each.name != "phase"
)


def is_newer(version: object) -> bool:
    """Whether this release cannot read a stored version. ``1``, ``1.4`` and ``"1.4"`` are major version 1.

    :raises ValueError: if it is not a version
    """
    return version is not None and int(str(version).partition(".")[0]) > VERSION


def newer(what: str, stored: Mapping[str, Any], version: object) -> str:
    """Return the message for a record that :func:`is_newer`.

    :param what: what it is and where
    """
    named = stored.get("provider_version")
    release = f"airflow-provider-modelmax {named}" if isinstance(named, str) else "a newer airflow-provider-modelmax"
    return (
        f"{what} was written by {release} (record version {version}), and this worker can read version {VERSION} only. "
        "The video may be paid for, so nothing was overwritten, submitted or fetched. Install that release or a later "
        "one on this worker, then clear the task."
    )


def with_unknown_fields(document: Mapping[str, Any], stored: Mapping[str, Any]) -> dict[str, Any]:
    """Return ``document`` with the fields of ``stored`` that it lacks, also in its records of videos."""
    merged = {**stored, **document}
    for name, keys in (("data", ("url",)), ("videos", ("uri", "sha256"))):
        before = stored.get(name) or []
        merged[name] = document[name] and [{**_same(each, before, keys), **each} for each in document[name]]
    return merged


def _same(record: Mapping[str, Any], stored: Any, keys: tuple[str, ...]) -> Mapping[str, Any]:
    """Return the stored form of a record, empty if it is new."""
    candidates = (each for each in stored if isinstance(each, Mapping))
    return next((each for each in candidates if all(each.get(key) == record[key] for key in keys)), {})


def _plain(stored: Mapping[str, Any], name: str, default: Any) -> Any:
    value = stored.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, str if isinstance(default, str) else int | float):
        raise TypeError(f"{name} is {value!r}")
    return value
