"""Azure Blob Storage, through adlfs."""

from __future__ import annotations

import logging
from typing import Any

from airflow_provider_modelmax.storage.errors import answered
from airflow_provider_modelmax.storage.location import Location

_HTTP_LOG = logging.getLogger("azure.core.pipeline.policies.http_logging_policy")


class AzureLocation(Location):
    """A blob in Azure."""

    extra = "azure"

    @classmethod
    def of(cls, uri: str) -> Location:
        """Return the location of a checked URI, with a working filesystem."""
        found = super().of(uri)
        if _HTTP_LOG.level == logging.NOTSET:
            _HTTP_LOG.setLevel(logging.WARNING)  # or every request puts 25 lines of headers into the task's log
        return found

    @classmethod
    def _problem_with(cls, uri: str) -> str:
        if why := super()._problem_with(uri):
            return why
        key = uri.partition(":")[2].lstrip("/").partition("/")[2]
        if "?versionid=" in key:  # adlfs reads it anywhere in a name
            return "the library of the store reads ?versionid= as a version of the object, not as a part of its name"
        if any(segment.endswith(".") for segment in key.rstrip("/").split("/")):
            return "a part of it ends in a dot, which Azure may remove"
        return ""

    @classmethod
    def _length(cls, key: str) -> tuple[int, str]:
        return len(key), "characters"

    def content_type(self, value: str) -> dict[str, Any]:
        """Return the argument of adlfs for the content type of a blob."""
        from azure.storage.blob import ContentSettings  # noqa: PLC0415 - an extra; no dict before adlfs 2026.8.0

        return {"content_settings": ContentSettings(content_type=value)}

    def try_out(self, longest: Location | None) -> None:
        """Try to replace a blob that does not exist, which Azure refuses: an upload there cannot be discarded."""
        try:
            self.fs.pipe_file(self.path, b".", headers={"If-Match": '"0x0"'})
        except Exception as error:
            if "412" not in answered(error):  # comes only if the container exists and may be written
                raise
