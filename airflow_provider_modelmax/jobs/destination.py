"""Where the videos of a job go, and the manifest beside them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import PurePosixPath

from airflow_provider_modelmax.api.errors import InvalidInputError
from airflow_provider_modelmax.api.text import NOTHING
from airflow_provider_modelmax.storage.location import as_text, from_anywhere, is_relative, is_windows_path


@dataclass(frozen=True)
class Destination:
    """Where the videos of one job go: ``{base}.mp4``, or ``{base}-0.mp4`` … when there are several.

    :param folder: URI without a slash at its end
    :param base: URI of a video without its suffix
    :param manifest: URI of the manifest
    :param exact: whether the caller named the object, so that something else may be there already
    :param suffix: as the caller wrote it
    """

    folder: str
    base: str
    manifest: str
    exact: bool
    suffix: str

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
        uri, suffix = from_anywhere(destination), ".mp4"
        exact = uri.lower().endswith(suffix)
        if exact:
            folder, _, name = uri.rpartition("/")
            stem, suffix = name[: -len(suffix)], name[-len(suffix) :]
            if not stem:
                raise InvalidInputError(f"destination is {uri!r}, but a name must stand before {suffix}.")
        elif PurePosixPath(uri).suffix.lower() in {".mov", ".m4v", ".webm", ".mkv", ".avi", ".gif"}:
            raise InvalidInputError(
                f"destination is {uri!r}, but the service makes MP4: end it in .mp4, or name a folder."
            )
        else:
            folder = uri.rstrip("/")
        if is_relative(destination):
            raise InvalidInputError(
                f"destination is {destination!r}, a path relative to the current directory, which differs from "
                "worker to worker. Write the path from the root, such as /data/videos/, or a URI such as "
                "s3://conn_id@bucket/videos/."
            )
        base = f"{folder.rstrip('/')}/{stem}"
        return cls(folder or "/", base, f"{base}.modelmax.json", exact, suffix)

    @property
    def uri(self) -> str:
        """The folder, or the exact object."""
        return self.base + self.suffix if self.exact else self.folder

    def videos(self, count: int) -> list[str]:
        """Return the URIs of ``count`` videos."""
        if count == 1:
            return [self.base + self.suffix]
        return [f"{self.base}-{index}{self.suffix}" for index in range(count)]
