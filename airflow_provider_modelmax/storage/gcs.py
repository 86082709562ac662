"""Google Cloud Storage, through Google's own client and the connections of Airflow's Google provider.

A video is uploaded in blocks, one after the other, to a session that Google's client begins, and appears when the last
one has arrived. The blocks are sent here, by the protocol that Google documents: the client's ``BlobWriter`` publishes
what was written when it is only forgotten.
"""

from __future__ import annotations

import contextlib
import os
import re
from base64 import b64encode
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

from airflow_provider_modelmax.api.errors import StorageError
from airflow_provider_modelmax.storage.bucket import BucketLocation, check_endpoint, discard, missing_named
from airflow_provider_modelmax.storage.location import Location, plain
from airflow_provider_modelmax.storage.prefetch import AHEAD, read_ahead

BLOCK = 8 * 1024 * 1024
"""Bytes of a block. An object that is no larger is sent in one request."""

STEP = 256 * 1024
"""Bytes: every block but the last must have a multiple of these."""

TIMEOUT = 60.0
"""Seconds that a request may take to send its block, and then that the store may take to answer."""

GRACE = 2.0
"""Seconds to cancel an upload. Google forgets an unfinished one after a week, and shows it to nobody."""


@dataclass(frozen=True)
class _Client:
    """What one connection leads to.

    :param storage: the client of google-cloud-storage
    :param session: of requests, with the same credentials
    :param billed: the project that pays for the requests, if it is not that of the bucket
    """

    storage: Any
    session: Any
    billed: str | None = None


class GcsUpload:
    """An object that is being uploaded.

    :param blob: of google-cloud-storage
    :param session: of requests, which sends the blocks
    """

    def __init__(self, blob: Any, session: Any) -> None:
        import google_crc32c  # noqa: PLC0415 - an extra

        self._blob = blob
        self._session = session
        self._url = ""
        self._buffer = bytearray(BLOCK)
        self._filled = 0
        self._begin = 0
        # In pure Python it would take 0.2 s for 1 MiB.
        self._checksum = google_crc32c.Checksum() if google_crc32c.implementation == "c" else None

    def write(self, data: bytes) -> int:
        """Take bytes. A full block is sent when more bytes come."""
        rest = memoryview(data)
        while rest:
            if self._filled == BLOCK:
                self.flush()
            taken = rest[: BLOCK - self._filled]
            self._buffer[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]
        if self._checksum:
            self._checksum.update(data)
        return len(data)

    def flush(self) -> None:
        """Send what was written as a block."""
        if not self._url:
            content_type = self._blob.content_type
            self._url = self._blob.create_resumable_upload_session(content_type=content_type, **_patience())
        self._send("*", {})
        self._begin, self._filled = self._begin + self._filled, 0

    def close(self) -> None:
        """Publish what was written."""
        if not self._url:
            body = bytes(memoryview(self._buffer)[: self._filled])
            self._blob.upload_from_string(body, content_type=self._blob.content_type, **_patience())
            return
        # The store compares it before it publishes the object.
        checksum = {"X-Goog-Hash": f"crc32c={b64encode(self._checksum.digest()).decode()}"} if self._checksum else {}
        self._send(str(self._begin + self._filled), checksum)

    def discard(self) -> None:
        """Forget what was written. Nothing of it was ever visible."""
        if self._url:
            self._ask("DELETE", timeout=GRACE)

    def _send(self, total: str, headers: dict[str, str]) -> None:
        """Send the block, and the rest of it again as long as the store keeps only a part."""
        sent, end = self._begin, self._begin + self._filled
        while sent < end:
            sent = _patience()["retry"](self._put)(sent, end, total, headers)

    def _put(self, begin: int, end: int, total: str, headers: dict[str, str]) -> int:
        """Send bytes, and return how many bytes of the object the store has.

        They are sent again if the answer was lost: the store ignores what it has already.
        """
        from google.api_core.exceptions import from_http_response, from_http_status  # noqa: PLC0415 - an extra

        body = memoryview(self._buffer)[begin - self._begin : end - self._begin]
        headers = {**headers, "Content-Range": f"bytes {begin}-{end - 1}/{total}"}
        answer = self._ask("PUT", data=body, headers=headers, timeout=TIMEOUT)
        if answer.status_code in {200, 201}:
            return end
        if answer.status_code in {404, 410}:
            name = f"gs://{self._blob.bucket.name}/{self._blob.name}"
            raise StorageError(f"{name}: the store does not know the upload any more. Retry.")
        if answer.status_code != 308:
            raise from_http_status(answer.status_code, _without_session(from_http_response(answer).message))
        kept = re.fullmatch(r"bytes=0-(\d+)", answer.headers.get("Range", ""))
        if (has := int(kept[1]) + 1 if kept else 0) <= begin or (has >= end and total != "*"):
            raise ConnectionError(f"the store has {has:,} bytes after {end:,} of {total} were sent")
        return has

    def _ask(self, method: str, **options: Any) -> Any:
        """Send a request to the session of the upload.

        Its URL is a secret, since whoever has it may finish the upload. So no error shows it.
        """
        try:
            return self._session.request(method, self._url, allow_redirects=False, **options)
        except OSError as error:  # all that requests raises
            raise type(error)(_without_session(str(error))) from None


class GcsLocation(BucketLocation):
    """An object in Google Cloud Storage."""

    extra = "gcs"

    @staticmethod
    def client_of(conn_id: str | None) -> _Client:
        """Return clients with all that the connection says, to Google's own operators and to ``gs://`` in Airflow."""
        import google.auth  # noqa: PLC0415 - an extra
        from google.auth.credentials import AnonymousCredentials  # noqa: PLC0415
        from google.auth.transport.requests import AuthorizedSession  # noqa: PLC0415
        from google.cloud.storage import Client  # noqa: PLC0415

        endpoint, billed = _emulator(), None
        if conn_id is not None:
            from airflow.providers.google.common.hooks.base_google import GoogleBaseHook  # noqa: PLC0415

            hook: Any = GoogleBaseHook(gcp_conn_id=conn_id)
            credentials, project = hook.get_credentials_and_project_id()
            endpoint = hook.extras.get("gcs.endpoint") or endpoint
            pays = hook.extras.get("gcs.requester-pays")
            billed = pays if isinstance(pays, str) else project if pays else None
        elif endpoint:
            credentials, project = AnonymousCredentials(), None
        else:
            credentials, project = google.auth.default(scopes=Client.SCOPE)
        check_endpoint("gcs.endpoint", endpoint)
        universe = os.environ.get("GOOGLE_CLOUD_UNIVERSE_DOMAIN")
        options = {"api_endpoint": endpoint.rstrip("/") or None, **({"universe_domain": universe} if universe else {})}
        session = AuthorizedSession(credentials)
        session.configure_mtls_channel()
        return _Client(Client(project=project, credentials=credentials, client_options=options), session, billed)

    @classmethod
    def _problem_with(cls, bucket: str, key: str) -> str:
        if why := super()._problem_with(bucket, key):
            return why
        if not (bucket[0].isalnum() and bucket[-1].isalnum()):
            return "the bucket's name has to begin and to end with a letter or a digit"
        return ""

    def open(self, content_type: str) -> GcsUpload:
        """Begin to write the object."""
        blob = self._blob
        blob.content_type = content_type
        return GcsUpload(blob, self.client.session)

    def _create(self, data: bytes, content_type: str) -> None:
        self._blob.upload_from_string(data, content_type=content_type, if_generation_match=0, **_patience())

    def _read(self, limit: int | None) -> bytes:
        part = {} if limit is None else {"end": limit - 1, "checksum": None}
        return bytes(self._blob.download_as_bytes(**part, **_patience()))

    def blocks(self) -> Iterator[bytes]:
        """Return the bytes of the object, a block at a time. All are of the version that was there at the beginning."""
        found = self._stored()
        if found is None:
            raise FileNotFoundError(self.key)
        with missing_named():
            for begin in range(0, found.size, BLOCK):
                blob = self._bucket.blob(self.key, generation=found.generation)
                last = min(begin + BLOCK, found.size) - 1
                yield blob.download_as_bytes(start=begin, end=last, checksum=None, **_patience())

    def size(self) -> int | None:
        """Return the size of the object in bytes, None if there is none."""
        blob = self._stored()
        return None if blob is None else int(blob.size)

    def remove(self) -> None:
        """Remove the object.

        :raises FileNotFoundError: if there is none
        """
        with missing_named():
            self._blob.delete(**_patience())

    def before_upload(self, chunks: Iterable[bytes], size: int | None) -> contextlib.AbstractContextManager[Any]:
        """Read on while a block is uploaded. In ``with``, return the chunks."""
        if size is not None and size <= BLOCK:
            return contextlib.nullcontext(chunks)
        return read_ahead(chunks, AHEAD)

    def try_out(self, longest: Location | None) -> None:
        """Begin an upload, send a block and cancel it; then try to delete an object that does not exist.

        Google demands the right to delete of whoever replaces an object, such as the manifest.
        """
        upload = self.open("video/mp4")
        try:
            upload.write(bytes(STEP))
            upload.flush()
        finally:
            discard(upload)
        with contextlib.suppress(FileNotFoundError):
            self.remove()

    @classmethod
    def console_page(cls, uri: str) -> str:
        """Return the page of an object in the console of Google Cloud."""
        if "STORAGE_EMULATOR_HOST" in os.environ:
            return ""
        bucket, _, key = plain(uri).partition("://")[2].partition("/")
        return f"https://console.cloud.google.com/storage/browser/_details/{bucket}/{quote(key, safe='/')}"

    @property
    def _bucket(self) -> Any:
        return self.client.storage.bucket(self.bucket, user_project=self.client.billed)

    @property
    def _blob(self) -> Any:
        return self._bucket.blob(self.key)

    def _stored(self) -> Any:
        """Return the object with its properties, None if there is none."""
        return self._bucket.get_blob(self.key, **_patience())


def _patience() -> dict[str, Any]:
    """Return how long to wait, and Google's own rule for how often to ask again: for two minutes."""
    from google.cloud.storage.retry import DEFAULT_RETRY  # noqa: PLC0415 - an extra

    return {"timeout": TIMEOUT, "retry": DEFAULT_RETRY}


def _without_session(text: str) -> str:
    return re.sub(r"upload_id=[^\s&'\")]+", "upload_id=***", text)


def _emulator() -> str:
    """Return the URL of an emulator that the environment names. Unlike Google's client, gcsfs wants no ``http://``."""
    host = os.environ.get("STORAGE_EMULATOR_HOST", "")
    if host in {"", "default"}:
        return ""
    return host if "://" in host else f"http://{host}"
