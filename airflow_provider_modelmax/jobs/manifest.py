"""What is written beside a video, and read back from it, so that a result is never paid for twice.

The manifest exists from the moment the result is asked for: only the process that creates it may ask. It is completed
when the result is there, and again when the videos have landed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath
from typing import Any

from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.api.text import NOTHING
from airflow_provider_modelmax.jobs.record import VERSION, Progress, is_newer, newer, with_unknown_fields
from airflow_provider_modelmax.storage.location import as_text, from_anywhere, is_relative, is_windows_path
from airflow_provider_modelmax.storage.objects import create_json, load_json, save_json

_OWN_FIELDS = ("manifest_version", "task", "request")
"""What a manifest holds in addition to what a task state holds."""


@dataclass(frozen=True)
class Destination:
    """Where the videos of one job go: ``{folder}/{stem}.mp4``, or ``{stem}-0.mp4`` … when there are several.

    :param folder: URI without a slash at its end
    :param stem: file name without suffix
    :param exact: whether the caller named the object, so that something else may be there already
    :param suffix: as the caller wrote it
    """

    folder: str
    stem: str
    exact: bool
    suffix: str = ".mp4"

    @classmethod
    def parse(cls, destination: object, stem: str) -> Destination:
        """Read what the caller gave.

        :param destination: a folder URI, or an object's that ends in ``.mp4``; a local path is one from the root, or
            from a home (``~``)
        :param stem: the file name to use in a folder
        :raises InvalidInputError: when it is no usable text, or a relative path
        :raises DestinationError: when it is no URI
        """
        destination = as_text(destination)
        if not isinstance(destination, str) or destination.strip() in NOTHING:
            raise InvalidInputError(
                f"destination is {destination!r}, but must be a folder such as s3://conn_id@bucket/videos/ or an "
                "object that ends in .mp4. If it is a template, look at the task's rendered templates."
            )
        destination = destination.strip()
        if is_windows_path(destination):
            raise InvalidInputError(
                f"destination is {destination!r}, a path of Windows, which workers cannot reach under that name. Mount "
                "the folder on the workers and write its path there, such as /mnt/videos/, or write a URI such as "
                "s3://conn_id@bucket/videos/."
            )
        uri = from_anywhere(destination)
        if uri.lower().endswith(".mp4"):
            folder, _, name = uri.rpartition("/")
            stem, suffix = name[: -len(".mp4")], name[-len(".mp4") :]
            if not stem:
                raise InvalidInputError(f"destination is {uri!r}, but a name must stand before {suffix}.")
            parsed = cls(folder or "/", stem, True, suffix)
        elif PurePosixPath(uri).suffix.lower() in {".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif"}:
            raise InvalidInputError(
                f"destination is {uri!r}, but the service makes MP4: end it in .mp4, or name a folder."
            )
        else:
            parsed = cls(uri.rstrip("/") or "/", stem, exact=False)
        if is_relative(destination):
            raise InvalidInputError(
                f"destination is {destination!r}, a path relative to the current directory, which differs from "
                "worker to worker. Write the path from the root, such as /data/videos/, or a URI such as "
                "s3://conn_id@bucket/videos/."
            )
        return parsed

    @property
    def manifest(self) -> str:
        """The URI of the manifest."""
        return self._uri(f"{self.stem}.modelmax.json")

    def videos(self, count: int) -> list[str]:
        """Return the URIs of ``count`` videos."""
        if count == 1:
            return [self._uri(self.stem + self.suffix)]
        return [self._uri(f"{self.stem}-{index}{self.suffix}") for index in range(count)]

    @property
    def longest(self) -> str:
        """The longest URI that is written: the last claim beside the manifest."""
        return f"{self.manifest}.claim-99"

    def _uri(self, name: str) -> str:
        return f"{self.folder.rstrip('/')}/{name}"


@dataclass(frozen=True)
class Manifest:
    """What is known of the videos of one job, for the next try and for readers.

    :param progress: how far their task got
    :param task: whose they are: ``dag_id``, ``run_id``, ``task_id``, ``map_index``
    :param request: what was asked for, when this task submitted it; images are named, not held
    :param stored: the JSON at the URI before, of the same job; fields that this release does not know are written back
    """

    progress: Progress
    task: Mapping[str, Any]
    request: Mapping[str, Any] | None = None
    stored: Mapping[str, Any] = field(default_factory=dict, compare=False, repr=False)

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON document."""
        own = {"manifest_version": VERSION, "request": self.request, "task": dict(self.task)}
        document = with_unknown_fields({**own, **self.progress.as_dict()}, self.stored)
        for name in ("request", "task"):
            document[name] = _extended(document[name], self.stored.get(name))
        return document

    @property
    def text(self) -> str:
        """The same on one line, for a log."""
        return json.dumps(self.as_dict())

    def write(self, uri: str) -> None:
        """Write it to ``uri``, all or nothing."""
        save_json(uri, self.as_dict())

    def create(self, uri: str) -> bool:
        """Write it to ``uri`` if nothing is there yet. Return whether it was written."""
        return create_json(uri, self.as_dict())

    def is_of(self, task: Mapping[str, Any]) -> bool:
        """Whether it is that of a task instance."""
        return all(self.task.get(name) == value for name, value in task.items())

    @classmethod
    def read(cls, uri: str) -> Manifest | None:
        """Return the manifest at ``uri``, or None if nothing is there.

        :raises DestinationError: if something else is there, or a manifest that only a newer release can read
        """
        document = load_json(uri)
        if document is None:
            return None
        try:
            _check_version(uri, document)
            stored = {name: value for name, value in document.items() if name not in _OWN_FIELDS}
            task = dict(document.get("task") or {})
            return cls(Progress.from_dict(stored), task, document.get("request"), stored=document)
        except DestinationError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DestinationError(
                f"{uri} is in the way: it is not a manifest of this provider ({type(error).__name__}: {error}). "
                "Move it, or choose another destination."
            ) from error


def _check_version(uri: str, document: Mapping[str, Any]) -> None:
    if is_newer(version := document.get("manifest_version")):
        raise DestinationError(newer(uri, document, version))


def _extended(value: Any, stored: Any) -> Any:
    """Return ``value`` with the fields that a newer release added to it, if it is the same otherwise."""
    if not isinstance(value, Mapping) or not isinstance(stored, Mapping):
        return value
    return {**stored, **value} if all(stored.get(name) == value[name] for name in value) else value
