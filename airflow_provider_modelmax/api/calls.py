"""The calls of the ModelMax video API as data: what is sent, and how an answer is read. No I/O."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

from airflow_provider_modelmax.api.errors import (
    AnswerError,
    InvalidInputError,
    JobFailedError,
    TooEarlyError,
    UnusableResultError,
)
from airflow_provider_modelmax.api.http_errors import MAX_NAME, MAX_REASON, error_of
from airflow_provider_modelmax.api.text import NOTHING, cut, excerpt, json_text, read_dict, read_json, type_name
from airflow_provider_modelmax.api.urls import queue_path

IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED = "IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"
STATUSES = frozenset({IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED})
FINAL = frozenset({COMPLETED, FAILED})

_REASONS = ("error", "message", "reason", "detail", "finish_reason", "warning")
"""Fields in which services give a reason. Only ``error`` is in the contract."""

_MAX_PAID = 10_000
"""Characters of a paid answer that are shown."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A submitted job.

    :param request_id: its id
    :param model: the model id, for example ``veo-3.1``
    :param status_url: of *status*, as the service gave it
    :param response_url: of *result*, as the service gave it
    """

    request_id: str
    model: str
    status_url: str
    response_url: str

    def as_dict(self) -> dict[str, str]:
        """Return the dict that is pushed as XCom, and that operators and sensor take as ``job``."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "status_url": self.status_url,
            "response_url": self.response_url,
        }

    def as_argument(self) -> str:
        """Return this job as the argument ``job`` of download operator and sensor, to be copied into a DAG."""
        return f"job={json_text({'model': self.model, 'request_id': self.request_id})}"

    @classmethod
    def of(cls, job: object) -> Job:
        """Return the job that a DAG author gives.

        :param job: ``submit.output``, or ``{"model": …, "request_id": …}``, or its JSON or ``repr``; other keys are
            ignored
        :raises InvalidInputError: if it is anything else
        """
        if isinstance(job, Job):
            return job
        given, job = job, read_dict(job) if isinstance(job, str) else job
        if not isinstance(job, Mapping):
            raise InvalidInputError(
                f"job is {_shown(given)}, but must be the dict that ModelMaxSubmitVideoOperator returns "
                '(submit.output), or {"model": "veo-3.1", "request_id": "…"}, or its JSON.'
            )
        for key in ("model", "request_id", "status_url", "response_url"):
            if not isinstance(job.get(key) or "", str):
                raise InvalidInputError(f"job[{key!r}] is {_shown(job[key])}, not a text. Pass submit.output as it is.")
        for key in ("model", "request_id"):
            if (job.get(key) or "").strip() in NOTHING:
                raise InvalidInputError(
                    f"job has no {key} (its keys: {sorted(map(str, job))}). Pass submit.output, "
                    'or {"model": "veo-3.1", "request_id": "…"}.'
                )
        path = queue_path(job["model"], job["request_id"])
        return cls(
            job["request_id"],
            job["model"],
            status_url=job.get("status_url") or f"{path}/status",
            response_url=job.get("response_url") or path,
        )


@dataclass(frozen=True)
class JobStatus:
    """An answer to *status*.

    :param request_id: the job
    :param status: ``IN_QUEUE``, ``IN_PROGRESS``, ``COMPLETED``, ``FAILED``, or one that the service added
    :param error: the service's reason if the status is FAILED
    """

    request_id: str
    status: str
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """An answer to *result* for a COMPLETED job: what was paid for.

    :param request_id: the job
    :param model: the model id
    :param urls: one for each video; an empty text for a video without a usable URL
    :param usage: what was billed, as the service gave it
    :param said: the service's reason for videos without a URL
    """

    request_id: str
    model: str
    urls: tuple[str, ...]
    usage: Mapping[str, Any]
    said: str = ""

    @classmethod
    def of(cls, result: object) -> Result:
        """Return a result, given as such or as its dict.

        :param result: what ``get_result`` returned, or its ``as_dict()``
        :raises InvalidInputError: if it is neither
        """
        if isinstance(result, cls):
            return result
        try:
            if isinstance(result, Mapping):
                return cls.from_dict(result)
        except (KeyError, TypeError, ValueError):
            pass
        raise InvalidInputError(f"result is {_shown(result)}, but must be what get_result returned, or its as_dict().")

    def as_dict(self) -> dict[str, Any]:
        """Return the JSON form that is stored in task state and manifest."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "data": [{"url": url} for url in self.urls],
            "usage": dict(self.usage),
            **({"said": self.said} if self.said else {}),
        }

    @classmethod
    def from_dict(cls, kept: Mapping[str, Any]) -> Result:
        """Read what :meth:`as_dict` wrote."""
        urls = [entry["url"] for entry in kept["data"]]
        return cls(kept["request_id"], kept["model"], tuple(urls), dict(kept["usage"]), str(kept.get("said") or ""))


@dataclass(frozen=True)
class Call(Generic[T]):
    """One HTTP request, and how its answer is read.

    :param method: ``GET`` or ``POST``
    :param path: a path, or a URL that the service gave
    :param read: turns the JSON object of an answer into the value; raises ``AnswerError`` if it cannot
    :param json: the body, None for none
    :param replayable: False for the call that bills: sending it again may be billed again
    """

    method: str
    path: str
    read: Callable[[Mapping[str, Any]], T]
    json: Mapping[str, Any] | None = None
    replayable: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"  # a query can be a signature


def submit(model: str, prompt: str, parameters: Mapping[str, Any] | None = None) -> Call[Job]:
    """``POST /v1/queue/{model}``. Free of charge, so it is sent again if the answer is lost or unusable.

    Each attempt may leave a job that nobody waits for, so only the id is required of an answer.

    :param parameters: as they are sent: they are not checked here
    """
    body: dict[str, Any] = {"prompt": prompt}
    if parameters:
        body["parameters"] = dict(parameters)

    def read(answer: Mapping[str, Any]) -> Job:
        job = {"request_id": _text(answer, "request_id"), "model": model}
        for key in ("status_url", "response_url"):
            if isinstance(answer.get(key), str):
                job[key] = answer[key]
        return Job.of(job)

    return Call("POST", queue_path(model), read, json=body)


def status(job: Job) -> Call[JobStatus]:
    """``GET …/status``. Free of charge."""

    def read(answer: Mapping[str, Any]) -> JobStatus:
        request_id = _text(answer, "request_id")
        if request_id != job.request_id:
            raise AnswerError(f"for another job than {job.request_id!r}: {excerpt(answer)}")
        return JobStatus(request_id, _text(answer, "status")[:MAX_NAME], _reason(answer))

    return Call("GET", job.status_url, read)


def result(job: Job) -> Call[Result]:
    """``GET …/requests/{request_id}``. BILLS if the job is COMPLETED: send it once and store the answer.

    Only the URLs are required: the answer is paid for, and to refuse it over the rest would cost it again.
    """

    def read(answer: Mapping[str, Any]) -> Result:
        named, state = answer.get("request_id"), answer.get("status")
        if isinstance(named, str) and named not in {"", job.request_id}:
            raise _unusable(f"for another job than {job.request_id!r}", answer)
        if state == FAILED:
            raise JobFailedError(job.request_id, _reason(answer) or "no reason given")
        if state in (IN_QUEUE, IN_PROGRESS):  # not a set: the value may be unhashable
            raise TooEarlyError(f"with {state} for a job that was COMPLETED: {excerpt(answer)}")
        data, usage = answer.get("data"), answer.get("usage")
        urls = []  # with an empty text for an entry without a usable one
        for entry in data if isinstance(data, list) else []:
            url = entry.get("url") if isinstance(entry, dict) else None
            urls.append(url if isinstance(url, str) else "")
        if state != COMPLETED and not {"data", "usage"} & answer.keys():
            raise AnswerError(f"neither with {COMPLETED} nor with videos: {excerpt(answer)}", garbled=True)
        if not any(urls):
            raise _unusable("without a usable 'data'", answer)
        said = "" if all(urls) else _said(answer)
        return Result(job.request_id, job.model, tuple(urls), usage if isinstance(usage, dict) else {}, said)

    return Call("GET", job.response_url, read, replayable=False)


def content(url: str) -> Call[None]:
    """``GET {data[i].url}``: the raw MP4, streamed by the hook. Free of charge."""
    return Call("GET", url, lambda _: None)


def read_response(call: Call[T], status_code: int, headers: Mapping[str, str], body: bytes) -> T:
    """Return the value that ``call`` promises.

    :param call: the call
    :param status_code: of the answer
    :param headers: of the answer; a mapping that ignores case
    :param body: of the answer, whole
    :raises ServiceError: for an error answer
    :raises AnswerError: for an answer that is not in the contract
    """
    if not 200 <= status_code < 300:
        raise error_of(call, status_code, headers, body)
    answer = read_json(body)
    if not isinstance(answer, dict):
        kind = headers.get("Content-Type", "no Content-Type")
        raise AnswerError(
            f"{call} answered {status_code}, but not with a JSON object ({kind}): {excerpt(body)}", garbled=True
        )
    try:
        return call.read(answer)
    except AnswerError as error:
        begin = f"{said_and_billed(error.said, error.usage)} " if isinstance(error, UnusableResultError) else ""
        error.args = (f"{begin}{call} answered {status_code}, but {error}",)
        raise


def said_and_billed(said: str, usage: Mapping[str, Any]) -> str:
    """Return the two sentences that begin the error of a paid result.

    :param said: the service's reason; may be empty
    """
    reason = f"ModelMax said: {said.rstrip('.')}." if said else "ModelMax gave no reason."
    return f"{reason} Billed: {usage_text(usage)}."


def usage_text(usage: Mapping[str, Any]) -> str:
    """Return what was billed, for a message."""
    return cut(", ".join([f"{name}={value}" for name, value in usage.items()]), 200) or "the service did not say"


def _text(answer: Mapping[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value.strip():
        raise AnswerError(f"without a usable {key!r}: {excerpt(answer)}")
    return value


def _unusable(why: str, answer: Mapping[str, Any]) -> UnusableResultError:
    usage = answer.get("usage")
    return UnusableResultError(
        f"{why}. The result came, was paid for and cannot be used; asking again may bill again. "
        f"What came: {excerpt(answer, _MAX_PAID)}",
        said=_said(answer),
        usage=usage if isinstance(usage, dict) else {},
    )


def _said(answer: Mapping[str, Any]) -> str:
    """Return the service's reasons for missing videos: those of the answer, then those of each entry of ``data``."""
    data = answer.get("data")
    words: list[str] = []
    for source in (answer, *(data if isinstance(data, list) else ())):
        if isinstance(source, dict):
            for name in _REASONS:
                held = source.get(name)
                held = held.get("message") if isinstance(held, dict) else held
                if isinstance(held, str) and held.strip():
                    words.append(" ".join(held.split()))
    return cut("; ".join(dict.fromkeys(words)), MAX_REASON)


def _reason(answer: Mapping[str, Any]) -> str | None:
    """Return why a job FAILED: a text by the contract, but other JSON of any size was seen."""
    error = answer.get("error")
    text = error if isinstance(error, str) else json_text(error) if error else ""
    return cut(text, MAX_REASON) or None


def _shown(value: object) -> str:
    return "None" if value is None else f"{type_name(value)} ({excerpt(value, 60)})"
