"""The record of a job in the JSON beside its videos, so that a result is never paid for twice.

The manifest exists from the moment the result is requested: only the process that creates it may request it. It is
completed when the result is there, and again when the videos are stored.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.api.text import read_integer
from airflow_provider_modelmax.jobs.record import VERSION, JobRecord, check_version, with_unknown_fields
from airflow_provider_modelmax.storage.objects import create_json, load_json, save_json

_VERSION = "manifest_version"


class Manifest:
    """The manifest at one URI.

    :param uri: of the object
    """

    def __init__(self, uri: str) -> None:
        self.uri = uri
        self.last: JobRecord | None = None
        """The record as it was read last."""
        self._stored: Mapping[str, Any] = {}

    def get(self) -> JobRecord | None:
        """Return the record, or None if nothing is there.

        :raises DestinationError: if something else is there, or a manifest that only a newer release can read
        """
        document = load_json(self.uri, parse_int=read_integer)  # 0.1.0 wrote integers of any length
        if document is None:
            self.last, self._stored = None, {}
            return None
        try:
            check_version(self.uri, document, document.get(_VERSION), DestinationError)
            self.last, self._stored = JobRecord.from_dict(document), document
        except DestinationError:
            raise
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise DestinationError(
                f"{self.uri} is in the way: it is not a manifest of this provider ({type(error).__name__}: {error}). "
                "Move it, or choose another destination."
            ) from error
        return self.last

    def has_changed(self) -> bool:
        """Read it again, and return whether it was written since it was read last."""
        before = self._stored
        self.get()
        return self._stored != before

    def put(self, record: JobRecord) -> None:
        """Write a record, all or nothing. A reservation of its job that is there already stays."""
        save_json(self.uri, self.document(record))

    def create(self, record: JobRecord) -> bool:
        """Write a record if nothing is there yet. Return whether it was written."""
        return create_json(self.uri, self.document(record))

    def document(self, record: JobRecord) -> dict[str, Any]:
        """Return the JSON document of a record, with what a newer release has added to that of the same job."""
        if self.last and self.last.job.request_id == record.job.request_id:
            record = replace(record, reserved_until=max(record.reserved_until, self.last.reserved_until))
        return with_unknown_fields({_VERSION: VERSION, **record.as_dict()}, self._stored)

    def text(self, record: JobRecord) -> str:
        """Return the document on one line, for a log."""
        return json.dumps(self.document(record))
