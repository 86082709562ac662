"""An answer that came whole is paid for: whatever stands in fields that nobody needs, it is requested once."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from airflow_provider_modelmax.hooks.modelmax import ModelMaxHook
from tests.stack.bare_server import Answers, answering

JOB = {"model": "veo-3.1", "request_id": "whole"}
URL = "/v1/queue/veo-3.1/requests/other/content/0"
DEEP = "[" * 100_000 + "]" * 100_000


def result(usage: str, more: str = "") -> str:
    return f'{{"request_id": "whole", "status": "COMPLETED", "data": [{{"url": "{URL}"}}], "usage": {usage}{more}}}'


@pytest.mark.parametrize(
    ("body", "usage"),
    [
        (result('{"video_seconds": 8, "id": ' + "9" * 5000 + "}").encode(), {"video_seconds": 8, "id": None}),
        (result('{"video_seconds": 8, "id": ' + str(2**64) + "}").encode(), {"video_seconds": 8, "id": 2.0**64}),
        (result('{"video_seconds": 8}', f', "more": {DEEP}').encode(), {"video_seconds": 8}),
        (result('{"note": "two\nlines\t"}').encode(), {"note": "two\nlines\t"}),
        (result('{"video_seconds": 8}').encode("utf-16"), {"video_seconds": 8}),
        (result('{"video_seconds": 8}').encode() + b"\r\n0\r\n", {"video_seconds": 8}),
    ],
    ids=["5,000 digits", "beyond 64 bits", "nested 100,000 deep", "control characters", "UTF-16", "bytes after it"],
)
def test_a_whole_result_is_requested_once(connect: Callable[..., ModelMaxHook], slept, body, usage):
    calls = []

    class Service(Answers):
        def answer(self, _: bytes) -> None:
            calls.append(self.path)
            self.say(200, body, {"Content-Type": "application/json"})

    with answering(Service) as url:
        came = connect(url).get_result(JOB)
    assert (came.urls, came.usage) == ((URL,), usage)
    assert len(calls) == 1
