"""S3, through boto3 and the connections of Airflow's Amazon provider.

A video is uploaded in parts, and the next one is downloaded meanwhile: a store far away would otherwise cost the time
of the download and the time of the upload.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any
from urllib.parse import quote, urlsplit

from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.storage import throwaway
from airflow_provider_modelmax.storage.bucket import TAKEN, BucketLocation, check_endpoint, discard, missing_named
from airflow_provider_modelmax.storage.errors import answered
from airflow_provider_modelmax.storage.location import Location

log = logging.getLogger(__name__)

PART = 5 * 1024 * 1024
"""Bytes: the smallest part that S3 takes. A smaller object is sent in one piece."""

AT_ONCE = 2
"""Parts that are sent in the background, of all uploads of this process together. So memory has a bound.

Two are enough to use the whole bandwidth of this machine to a store 50 ms away.
"""

GRACE = 5.0
"""Seconds that parts have to end when an upload is discarded: one that arrives later would be kept, and charged for."""

READ_ATTEMPTS = 3
"""How often a small object is read, if the connection breaks within it."""

SETTLING = 1.0
"""Seconds after which a document is read back if the store cannot decide: the last writer wins."""

_BLOCK = 1024 * 1024

_UNCONDITIONAL = {"NotImplemented", "501"}
"""What stores answer that know no conditional writes."""

_room = threading.BoundedSemaphore(AT_ONCE)
"""For parts in the background."""

_spare: list[bytearray] = []
"""Buffers to fill again: freed and allocated anew, they leave holes, and the process grows."""


def _begin_anew() -> None:
    """Make room in a forked process, whose parent's threads do not exist here."""
    global _room  # noqa: PLW0603
    _room = threading.BoundedSemaphore(AT_ONCE)
    _spare.clear()


os.register_at_fork(after_in_child=_begin_anew)


class S3Upload:
    """An object that is being uploaded.

    :param client: of boto3
    :param bucket: its name
    :param key: of the object
    :param attributes: of the object, such as ``ContentType``
    """

    def __init__(self, client: Any, bucket: str, key: str, attributes: Mapping[str, Any]) -> None:
        self._client = client
        self._object = {"Bucket": bucket, "Key": key}
        self._attributes = attributes
        self._upload: dict[str, Any] = {}
        self._buffer = _empty_buffer()
        self._filled = 0
        self._parts: list[Future[dict[str, Any]]] = []

    def write(self, data: bytes) -> int:
        """Take bytes. A full part is sent in the background."""
        rest = memoryview(data)
        while rest:
            taken = rest[: PART - self._filled]
            memoryview(self._buffer)[self._filled : self._filled + len(taken)] = taken
            self._filled += len(taken)
            rest = rest[len(taken) :]
            if self._filled == PART:
                self._send()
        return len(data)

    def flush(self) -> None:
        """Send what was written as a part, and wait until all parts have arrived. Only the last may be a small one."""
        self._send()
        for part in self._parts:
            part.result()

    def close(self) -> None:
        """Publish what was written."""
        if not self._parts:
            body = bytes(memoryview(self._buffer)[: self._filled])
            call(self._client, "put_object", **self._object, **self._attributes, Body=body)
        else:
            if self._filled:
                self._send()
            parts = [{**part.result(), "PartNumber": number} for number, part in enumerate(self._parts, 1)]
            call(self._client, "complete_multipart_upload", **self._upload, MultipartUpload={"Parts": parts})
        _spare.clear()

    def discard(self) -> None:
        """Forget what was written. Nothing of it was ever visible."""
        wait(self._parts, GRACE)
        _spare.clear()
        if self._upload:
            call(self._client, "abort_multipart_upload", **self._upload)

    def _send(self) -> None:
        """Send the part that was filled, in the background if there is room, and begin another."""
        if not self._upload:
            begun = call(self._client, "create_multipart_upload", **self._object, **self._attributes)
            self._upload = {**self._object, "UploadId": begun["UploadId"]}
        for sent in self._parts:
            if sent.done():
                sent.result()  # raises what it failed with
        part: Future[dict[str, Any]] = Future()
        arguments = (part, len(self._parts) + 1, self._buffer, self._filled)
        if room := self._take_room():
            # A daemon: a store that hangs must not keep the process from ending.
            thread = threading.Thread(target=self._send_part, args=(*arguments, room), name="modelmax-s3", daemon=True)
            try:
                thread.start()
            except RuntimeError:  # the process may not have another one
                self._send_part(*arguments, room)
                part.result()
        else:
            self._send_part(*arguments)
            part.result()
        self._parts.append(part)
        self._buffer, self._filled = _empty_buffer(), 0

    def _take_room(self) -> threading.BoundedSemaphore | None:
        """Wait for room while parts of this upload have it. None if others have it, who may never give it back."""
        while not _room.acquire(blocking=False):
            under_way = [part for part in self._parts if not part.done()]
            if not under_way:
                return None
            wait(under_way, return_when=FIRST_COMPLETED)
        return _room

    def _send_part(
        self,
        part: Future[dict[str, Any]],
        number: int,
        buffer: bytearray,
        size: int,
        room: threading.BoundedSemaphore | None = None,
    ) -> None:
        try:
            body = buffer if size == PART else bytes(memoryview(buffer)[:size])
            answer = call(self._client, "upload_part", **self._upload, PartNumber=number, Body=body)
        except BaseException as error:
            part.set_exception(error)
        else:
            _spare.append(buffer)
            part.set_result({name: answer[name] for name in answer if name == "ETag" or name.startswith("Checksum")})
        finally:
            if room:
                room.release()


def call(client: Any, method: str, **arguments: Any) -> Any:
    """Call a method of boto3, with what ``$FSSPEC_S3`` sets for all of them that take it, as s3fs does."""
    from fsspec.config import conf  # noqa: PLC0415 - not before a store is used

    takes = client.meta.service_model.operation_model(client.meta.method_to_api_mapping[method]).input_shape.members
    everywhere = conf.get("s3", {}).get("s3_additional_kwargs", {})
    return getattr(client, method)(**{name: everywhere[name] for name in everywhere if name in takes} | arguments)


def _empty_buffer() -> bytearray:
    try:
        return _spare.pop()
    except IndexError:
        return bytearray(PART)


class S3Location(BucketLocation):
    """An object in S3."""

    extra = "s3"

    @staticmethod
    def client_of(conn_id: str | None) -> Any:
        """Return a client of boto3 with all that the connection says, as Amazon's own operators have it."""
        from airflow.providers.amazon.aws.hooks.base_aws import AwsBaseHook  # noqa: PLC0415 - an extra
        from botocore import UNSIGNED  # noqa: PLC0415
        from botocore.config import Config  # noqa: PLC0415

        hook: Any = AwsBaseHook(aws_conn_id=conn_id, client_type="s3")
        endpoint = hook.conn_config.get_service_endpoint_url("s3")
        check_endpoint("endpoint_url", endpoint or "")
        if hook.service_config.get("signer"):
            raise DestinationError("the signer in the extra of the connection is not supported. Give it credentials.")
        session = hook.get_session(region_name=hook.region_name)
        config = hook.config
        if session.get_credentials() is None:
            config = config.merge(Config(signature_version=UNSIGNED))
        if proxy := hook.service_config.get("proxy-uri"):
            config = config.merge(Config(proxies={"http": proxy, "https": proxy}))
        # Not the hook's get_conn(): it looks through the whole stack for a name to put into the user agent (45 ms).
        return session.client("s3", endpoint_url=endpoint, config=config, verify=hook.verify)

    @classmethod
    def _problem_with(cls, bucket: str, key: str) -> str:
        if why := super()._problem_with(bucket, key):
            return why
        if "?versionId=" in key:
            return "ObjectStoragePath reads ?versionId= as a version of the object, not as a part of its name"
        return ""

    def open(self, content_type: str) -> S3Upload:
        """Begin to write the object."""
        return S3Upload(self.client, self.bucket, self.key, {"ContentType": content_type})

    def create(self, data: bytes, content_type: str) -> bool:
        """Write the object if there is none, and return whether it was written.

        On a store that ignores ``If-None-Match`` (seen: rclone's), all processes write. On one that refuses it (501),
        the last writer wins, so the documents must differ.
        """
        try:
            return super().create(data, content_type)
        except Exception as error:
            if not answered(error) & _UNCONDITIONAL:
                raise
        return self._create_unconditionally(data, content_type)

    def _create(self, data: bytes, content_type: str) -> None:
        call(self.client, "put_object", **self._object, ContentType=content_type, Body=data, IfNoneMatch="*")

    def _create_unconditionally(self, data: bytes, content_type: str) -> bool:
        """Write if nothing exists, wait for other writers, and read back which one was last."""
        _warn_that_claims_may_collide(self.bucket)
        if self.size() is not None:
            return False
        call(self.client, "put_object", **self._object, ContentType=content_type, Body=data)
        time.sleep(SETTLING)
        return self.read() == data

    def _read(self, limit: int | None) -> bytes:
        client, part = self.client, {} if limit is None else {"Range": f"bytes=0-{limit - 1}"}
        from botocore.exceptions import HTTPClientError, IncompleteReadError  # noqa: PLC0415 - after the client

        for attempt in range(1, READ_ATTEMPTS + 1):
            body = call(client, "get_object", **self._object, **part)["Body"]
            try:
                return bytes(body.read())
            except (HTTPClientError, IncompleteReadError):  # botocore repeats only what breaks before the body
                if attempt == READ_ATTEMPTS:
                    raise
        raise AssertionError("the last attempt returns or raises")

    def blocks(self) -> Iterator[bytes]:
        """Return the bytes of the object, a block at a time."""
        with missing_named():
            yield from call(self.client, "get_object", **self._object)["Body"].iter_chunks(_BLOCK)

    def size(self) -> int | None:
        """Return the size of the object in bytes, None if there is none."""
        try:
            with missing_named():
                return int(call(self.client, "head_object", **self._object)["ContentLength"])
        except FileNotFoundError:
            return None

    def remove(self) -> None:
        """Remove the object, if there is one."""
        call(self.client, "delete_object", **self._object)

    def before_upload(self, chunks: Iterable[bytes], size: int | None) -> contextlib.AbstractContextManager[Any]:
        """Abort what killed tries left of this object: S3 stores, and charges for, unfinished uploads."""
        if size is None or size >= PART:
            try:
                for upload in self._unfinished(self.key):
                    if upload["Key"] == self.key:
                        self._abort(upload)
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
        request = {**self._object, "ContentType": "application/json", "Body": b"."}
        try:  # with an invalid checksum: refused after the permissions are checked, so nothing is written
            call(self.client, "put_object", **request, IfNoneMatch="*", ContentMD5="0")
        except Exception as error:
            answer = answered(error)
            if answer & _UNCONDITIONAL:
                _warn_that_claims_may_collide(self.bucket)
            elif "400" not in answer and not answer & TAKEN:
                raise
        else:  # this store compares no checksums
            with contextlib.suppress(Exception):
                self.remove()

    @classmethod
    def console_page(cls, uri: str) -> str:
        """Return the page of an object in the console of AWS; other S3 servers have their own consoles."""
        place = cls.of(uri)
        host = urlsplit(place.client.meta.endpoint_url).hostname or ""
        if not host.endswith(".amazonaws.com"):
            return ""
        return f"https://console.aws.amazon.com/s3/object/{place.bucket}?prefix={quote(place.key, safe='/')}"

    @property
    def _object(self) -> dict[str, str]:
        return {"Bucket": self.bucket, "Key": self.key}

    def _abort_abandoned_checks(self) -> None:
        """Abort the uploads of checks that were killed. Their age is measured against our own new upload: one clock."""
        folder = self.key.removesuffix(self.name)
        try:
            uploads = self._unfinished(f"{folder}{throwaway.PREFIX}")
            now = max((upload["Initiated"] for upload in uploads), default=None)
            for upload in uploads:
                age = (now - upload["Initiated"]).total_seconds()
                if throwaway.is_abandoned(upload["Key"].removeprefix(folder), age):
                    self._abort(upload)
        except Exception as error:
            self._log_not_listed(error)

    def _unfinished(self, prefix: str) -> list[dict[str, Any]]:
        found = call(self.client, "list_multipart_uploads", Bucket=self.bucket, Prefix=prefix)
        return list(found.get("Uploads", []))

    def _abort(self, upload: Mapping[str, Any]) -> None:
        call(self.client, "abort_multipart_upload", Bucket=self.bucket, Key=upload["Key"], UploadId=upload["UploadId"])

    def _log_not_listed(self, error: Exception) -> None:
        log.info("Could not list the unfinished uploads of s3://%s/%s: %s", self.bucket, self.key, error)


@functools.cache
def _warn_that_claims_may_collide(bucket: str) -> None:
    log.warning(
        "The store of the bucket %s refuses conditional writes (If-None-Match). If two executions of one task begin "
        "at the same moment, both may be billed.",
        bucket,
    )
