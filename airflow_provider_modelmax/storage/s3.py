"""An object of S3, written in parts of which several are on their way at once; ``close()`` is what publishes it.

The file of s3fs sends one part after the other and reads nothing meanwhile, so that a store far away costs the time
of the download and the time of the upload.
"""

from __future__ import annotations

import asyncio
import io
import threading
from collections.abc import Mapping
from concurrent.futures import FIRST_COMPLETED, Future, wait
from typing import Any

PART = 5 * 1024 * 1024
"""Bytes; S3 takes no smaller part but the last, and 10,000 of them. Less than this is sent in one piece."""

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
