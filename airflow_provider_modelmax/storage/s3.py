"""S3, through s3fs; a video is written in parts of which several are on their way at once.

The file of s3fs sends one part after the other and reads nothing meanwhile, so that a store far away costs the time
of the download and the time of the upload.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import io
import logging
import re
import threading
import time
from collections.abc import Iterable, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any
from urllib.parse import quote

from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.storage import throwaway
from airflow_provider_modelmax.storage.errors import answered
from airflow_provider_modelmax.storage.location import PART, TAKEN, Location, connect, discard, plain

log = logging.getLogger(__name__)

_UNCONDITIONAL = {"NotImplemented", "501"}
"""What stores answer that know no conditional writes."""

SETTLING = 1.0
"""Seconds after which a document is read back if the store cannot decide: the last writer wins."""

AT_ONCE = 2
"""Parts on their way, of all objects of this process; one more of each is being filled. So memory has a bound.

With two, a store 50 ms away takes as much as this machine can send; more of them cost 5 MiB each, and as much again in
the holes that they leave.
"""

GRACE = 5.0
"""Seconds that parts have to end when an upload is given up: one that arrives later would be kept, and charged for."""

_on_their_way = threading.BoundedSemaphore(AT_ONCE)

_arrived: list[io.BytesIO] = []
"""Parts to fill again: given back in pieces of such a size, memory has holes, and the process grows all the same."""


class S3Upload:
    """A file to write to.

    :param fs: an ``S3FileSystem``
    :param path: bucket and key
    :param attributes: of the object, such as ``ContentType``
    """

    def __init__(self, fs: Any, path: str, attributes: Mapping[str, Any]) -> None:
        bucket, key, _ = fs.split_path(path)
        self._fs = fs
        self._path = path
        self._object = {"Bucket": bucket, "Key": key}
        self._attributes = attributes
        self._upload_id: str | None = None
        self._part = _empty_part()
        self._sent: list[Future[dict[str, Any]]] = []
        self._under_way: set[Future[dict[str, Any]]] = set()
        self.closed = False

    def write(self, data: bytes) -> int:
        """Take bytes; a part that is full is sent, and sent again where s3fs would."""
        rest = memoryview(data)
        while rest:
            rest = rest[self._part.write(rest[: PART - self._part.tell()]) :]
            if self._part.tell() == PART:
                self._send()
        return len(data)

    def flush(self) -> None:
        """Send what was written as a part, and wait until all parts have arrived. Only the last may be a small one."""
        self._send()
        wait(self._sent)
        self._reap()

    def close(self) -> None:
        """Publish what was written."""
        if self._upload_id is None:
            self._fs.call_s3(
                "put_object", **self._object, **self._attributes, Body=self._part.getvalue()[: self._part.tell()]
            )
        else:
            if self._part.tell():
                self._send()
            wait(self._sent)
            self._reap()
            parts = [{**future.result(), "PartNumber": number} for number, future in enumerate(self._sent, 1)]
            self._fs.call_s3("complete_multipart_upload", **self._upload, MultipartUpload={"Parts": parts})
        self.closed = True
        _arrived.clear()
        self._fs.invalidate_cache(self._path)

    def discard(self) -> None:
        """Forget what was written. Nothing of it was ever visible."""
        self.closed = True
        wait(self._sent, GRACE)
        for future in self._sent:
            future.cancel()
        for _ in self._under_way:
            _on_their_way.release()
        self._under_way = set()
        _arrived.clear()
        if self._upload_id is not None:
            self._fs.abort_mpu(self._object["Bucket"], self._object["Key"], self._upload_id)

    @property
    def _upload(self) -> dict[str, Any]:
        return {**self._object, "UploadId": self._upload_id}

    def _send(self) -> None:
        """Send the part that was filled, and begin another; where there is no room for one, when this one is there."""
        if self._upload_id is None:
            begun = self._fs.call_s3("create_multipart_upload", **self._object, **self._attributes)
            self._upload_id = begun["UploadId"]
        has_room = self._take_room()
        self._part.truncate()
        future = asyncio.run_coroutine_threadsafe(self._sending(len(self._sent) + 1, self._part), self._fs.loop)
        self._sent.append(future)
        if has_room:
            self._under_way.add(future)
        else:
            future.result()
        self._part = _empty_part()

    async def _sending(self, number: int, body: io.BytesIO) -> dict[str, Any]:
        # As a file, since of bytes every layer below makes a copy of its own: 15 MiB a part instead of 5.
        body.seek(0)
        client = await self._fs.get_s3(self._object["Bucket"])
        client.meta.events.register("before-sign.s3.UploadPart", _without_expect, unique_id="modelmax")
        client.meta.events.register("before-parameter-build.s3.UploadPart", _from_its_start, unique_id="modelmax-whole")
        answer = await self._fs._call_s3("upload_part", **self._upload, PartNumber=number, Body=body)
        body.seek(0)
        _arrived.append(body)
        return {name: answer[name] for name in answer if name == "ETag" or name.startswith("Checksum")}

    def _take_room(self) -> bool:
        """Wait until one more part may be on its way; False when others of this process have taken all room."""
        while True:
            self._reap()
            if _on_their_way.acquire(blocking=False):
                return True
            if not self._under_way:
                return False
            wait(self._under_way, return_when=FIRST_COMPLETED)

    def _reap(self) -> None:
        """Make room of parts that have arrived, and raise what one of them ended in."""
        over = {future for future in self._under_way if future.done()}
        self._under_way -= over
        for _ in over:
            _on_their_way.release()
        for future in over:
            future.result()


def _empty_part() -> io.BytesIO:
    try:
        return _arrived.pop()
    except IndexError:
        part = io.BytesIO()
        part.seek(PART - 1)
        part.write(b"0")  # takes all the memory at once; growing would take an eighth more
        part.seek(0)
        return part


def _without_expect(request: Any, **_: Any) -> None:
    """Spare the round trip in which the server is asked whether it wants a file; of bytes it is not asked."""
    del request.headers["Expect"]


def _from_its_start(params: Mapping[str, Any], **_: Any) -> None:
    """Send a part whole, also when s3fs calls again: botocore rewinds a file within one call only.

    Seen: after ``SlowDown`` the last part was sent again from its end, and half a video was published as a whole one.
    """
    if isinstance(params.get("Body"), io.BytesIO):  # others of this process send bytes over the same client
        params["Body"].seek(0)


class S3Location(Location):
    """An object in S3."""

    extra = "s3"

    @classmethod
    def of(cls, uri: str) -> Location:
        """Return the location of a checked URI, with a working filesystem."""
        found = super().of(uri)
        endpoint = getattr(found.fs, "endpoint_url", None)
        if endpoint and not re.match("https?://.", endpoint, re.IGNORECASE):
            raise DestinationError(
                f"{uri}: the endpoint_url {endpoint!r} in the extra of the connection is no URL. Begin it with http:// "
                "or https://."
            )
        return found

    @classmethod
    def _problem_with(cls, uri: str) -> str:
        if why := super()._problem_with(uri):
            return why
        if "?versionId=" in uri:  # s3fs reads it anywhere in a name
            return "the library of the store reads ?versionId= as a version of the object, not as a part of its name"
        return ""

    def content_type(self, value: str) -> dict[str, Any]:
        """Return the argument of S3 for the content type of an object."""
        return {"ContentType": value}

    def open(self, content_type: str) -> S3Upload:
        """Return a file to write to: ``close()`` publishes what was written, ``discard()`` forgets it."""
        return S3Upload(self.fs, self.path, self.content_type(content_type))

    def create(self, data: bytes, content_type: str) -> bool:
        """Write an object if there is none, and return whether it was written.

        On a store that ignores ``If-None-Match`` (seen: rclone's), all processes write. On one that refuses it (501),
        the last writer wins, so the documents must differ.
        """
        try:
            return super().create(data, content_type)
        except Exception as error:
            if not answered(error) & _UNCONDITIONAL:
                raise
        return self._create_unconditionally(data, content_type)

    def _create_unconditionally(self, data: bytes, content_type: str) -> bool:
        """Write if nothing exists, wait for other writers, and read back which one was last."""
        _warn_that_claims_may_collide(self.path.partition("/")[0])
        if self.size() is not None:
            return False
        with self.writing(content_type) as file:
            file.write(data)
        time.sleep(SETTLING)
        self.fs.invalidate_cache()
        return self.read() == data

    def read(self) -> bytes:
        """Return the bytes of a small object. s3fs makes one call for a range; else it looks for the size first."""
        try:
            return bytes(self.fs.cat_file(self.path, start=0))
        except Exception as error:
            if answered(error) & {"416", "InvalidRange"}:  # it is empty
                return b""
            raise

    def before_upload(self, chunks: Iterable[bytes], size: int | None) -> contextlib.AbstractContextManager[Any]:
        """Abort what killed tries left of this object: S3 stores, and charges for, unfinished uploads."""
        if size is None or size >= PART:
            bucket, _, key = self.path.partition("/")
            try:
                found = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=key)
                for upload in found.get("Uploads", []):
                    if upload["Key"] == key:
                        self.fs.abort_mpu(bucket, key, upload["UploadId"])
            except Exception as error:
                self._log_not_listed(error)
        return contextlib.nullcontext(chunks)

    def try_out(self, longest: Location | None) -> None:
        """Begin an upload, send a part and abort it; then ask for a conditional write that must be refused."""
        upload = self.open("video/mp4")
        try:
            upload.write(b".")
            upload.flush()
            self._abort_abandoned_checks()
        finally:
            discard(upload)
        bucket, _, key = self.path.partition("/")
        request = {"Bucket": bucket, "Key": key, "Body": b".", **self.content_type("application/json")}
        try:  # with an invalid checksum: refused after the permissions are checked, so nothing is written
            self.fs.call_s3("put_object", **request, IfNoneMatch="*", ContentMD5="0")
        except Exception as error:
            answer = answered(error)
            if answer & _UNCONDITIONAL:
                _warn_that_claims_may_collide(bucket)
            elif "400" not in answer and not answer & TAKEN:
                raise
        else:  # this store compares no checksums
            with contextlib.suppress(Exception):
                self.fs.call_s3("delete_object", Bucket=bucket, Key=key)

    def _abort_abandoned_checks(self) -> None:
        """Abort the uploads of checks that were killed. Their age is measured against our own new upload: one clock."""
        bucket, _, key = self.path.partition("/")
        folder = key[: -len(key.rpartition("/")[2])]
        try:
            found = self.fs.call_s3("list_multipart_uploads", Bucket=bucket, Prefix=f"{folder}{throwaway.PREFIX}")
            uploads = found.get("Uploads", [])
            now = max((upload["Initiated"] for upload in uploads), default=None)
            for upload in uploads:
                name, age = upload["Key"].removeprefix(folder), (now - upload["Initiated"]).total_seconds()
                if throwaway.is_abandoned(name, age):
                    self.fs.abort_mpu(bucket, upload["Key"], upload["UploadId"])
        except Exception as error:
            self._log_not_listed(error)

    def _log_not_listed(self, error: Exception) -> None:
        log.info("Could not list the unfinished uploads of %s: %s: %s", self.path, type(error).__name__, error)

    @classmethod
    def console_page(cls, uri: str) -> str:
        """Return the page of an object in the console of AWS; other S3 servers have their own consoles."""
        fs = connect(uri).fs
        options = getattr(fs, "client_kwargs", None) or {}
        if getattr(fs, "endpoint_url", None) or options.get("endpoint_url"):
            return ""
        bucket, _, key = plain(uri).partition("://")[2].partition("/")
        return f"https://console.aws.amazon.com/s3/object/{bucket}?prefix={quote(key, safe='/')}"


@functools.cache
def _warn_that_claims_may_collide(bucket: str) -> None:
    log.warning(
        "The store of the bucket %s refuses conditional writes (If-None-Match). If two executions of one task begin "
        "at the same moment, both may be billed.",
        bucket,
    )
