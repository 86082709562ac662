"""Google Cloud Storage, through gcsfs."""

from __future__ import annotations

import os
from urllib.parse import quote

from airflow_provider_modelmax.storage.location import Location, plain


class GcsLocation(Location):
    """An object in Google Cloud Storage."""

    extra = "gcs"

    @classmethod
    def console_page(cls, uri: str) -> str:
        """Return the page of an object in the console of Google Cloud."""
        if "STORAGE_EMULATOR_HOST" in os.environ:
            return ""
        bucket, _, key = plain(uri).partition("://")[2].partition("/")
        return f"https://console.cloud.google.com/storage/browser/_details/{bucket}/{quote(key, safe='/')}"
