"""Calls of the ModelMax video API as data: what to send, and what an answer means. No I/O."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any, Generic, TypeVar
from urllib.parse import quote, urljoin, urlsplit

import pendulum

from airflow_provider_modelmax.api.errors import (
    AnswerError,
    BadRequestError,
    ForeignUrlError,
    InsufficientBalanceError,
    InvalidInputError,
    JobFailedError,
    ModelMaxError,
    NotFoundError,
    RefusedError,
    ServiceError,
    TemporaryError,
    TooEarlyError,
    TransportError,
    UnauthorizedError,
    UnusableResultError,
)
from airflow_provider_modelmax.api.text import (
    NOTHING,
    cut,
    excerpt,
    json_text,
    read_dict,
    read_json,
    tell,
    type_name,
)

DEFAULT_BASE_URL = "https://api.modelmax.io"

IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED = "IN_QUEUE", "IN_PROGRESS", "COMPLETED", "FAILED"
STATUSES = frozenset({IN_QUEUE, IN_PROGRESS, COMPLETED, FAILED})
FINAL = frozenset({COMPLETED, FAILED})

_MOST_PATIENCE = 86_400.0
"""Seconds. More than this is not what a ``Retry-After`` means."""

MAX_RETRY_AFTER = 60.0
"""Seconds. No call is put off for longer by one answer. On a worker the error is raised and Airflow's retry takes over;
a wait asks again after this time."""

CA_ADVICE = "If the service has a CA of its own, put the path of its bundle into the connection's extra 'verify'."

ATTEMPTS_WHEN_IT_MAY_BILL = 3
"""How often the call that bills is sent at most, where an earlier attempt may have been billed."""

_ATTEMPTS = 5

_REASONS = ("error", "message", "reason", "detail", "finish_reason", "warning")
"""Fields in which services give a reason. Only ``error`` is in the contract."""

_MAX_NAME, _MAX_REASON, _MAX_PAID = 100, 1000, 10_000
"""Characters of a word, a sentence and a paid answer that are shown."""

_AS_IT_CAME = "".join(map(chr, range(0x21, 0x7F)))
"""What of a URL is sent as the service gave it: all but spaces and letters beyond ASCII."""

T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """A submitted job. ``status_url`` and ``response_url`` are the service's, used as they came."""

    request_id: str
    model: str
    status_url: str
    response_url: str

    def as_dict(self) -> dict[str, str]:
        """Return the shape that crosses XCom and that operators and sensor take as ``job``."""
        return {
            "request_id": self.request_id,
            "model": self.model,
            "status_url": self.status_url,
            "response_url": self.response_url,
        }

    def as_argument(self) -> str:
        """Return what a person copies into a DAG to take up this job: the argument ``job`` of download and sensor."""
        return f"job={json_text({'model': self.model, 'request_id': self.request_id})}"

    @classmethod
    def of(cls, job: object) -> Job:
        """Read the ``job`` that a DAG author gives.

        :param job: ``submit.output``, or ``{"model": …, "request_id": …}``, or its JSON or ``repr``; other keys are
            ignored
        :raises InvalidInputError: when it is no such dict
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
        path = _job_path(job["model"], job["request_id"])
        return cls(
            job["request_id"],
            job["model"],
            status_url=job.get("status_url") or f"{path}/status",
            response_url=job.get("response_url") or path,
        )


@dataclass(frozen=True)
class JobStatus:
    """An answer to *status*. ``error`` is the service's reason when the status is FAILED."""

    request_id: str
    status: str
    error: str | None = None


@dataclass(frozen=True)
class Result:
    """An answer to *result* for a COMPLETED job: what was paid for.

    :param urls: one for each video; empty where the service gave none that can be used
    :param said: what the service said about videos without a URL
    """

    request_id: str
    model: str
    urls: tuple[str, ...]
    usage: Mapping[str, Any]
    said: str = ""

    @classmethod
    def of(cls, result: object) -> Result:
        """Read a result, or the dict of one.

        :param result: what ``get_result`` returned, or what its ``as_dict()`` returned
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
        """Return the JSON form that is kept in task state and manifest."""
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
        urls = tuple(entry["url"] for entry in kept["data"])
        return cls(kept["request_id"], kept["model"], urls, dict(kept["usage"]), str(kept.get("said") or ""))


@dataclass(frozen=True)
class Call(Generic[T]):
    """One request, and how its answer is read.

    :param replayable: False for the one call that bills: asking again may cost again
    """

    method: str
    path: str
    read: Callable[[Mapping[str, Any]], T]
    json: Mapping[str, Any] | None = None
    replayable: bool = True

    def __str__(self) -> str:
        return f"{self.method} {self.path.partition('?')[0]}"  # a query can be a signature


def submit(model: str, prompt: str, parameters: Mapping[str, Any] | None = None) -> Call[Job]:
    """``POST /v1/queue/{model}``. Free of charge, so a lost or unusable answer is asked for again.

    Each attempt may leave a job that nobody waits for, so only the id is insisted on.
    """
    body: dict[str, Any] = {"prompt": prompt}
    if parameters:
        body["parameters"] = dict(parameters)

    def read(answer: Mapping[str, Any]) -> Job:
        urls = {key: answer[key] for key in ("status_url", "response_url") if isinstance(answer.get(key), str)}
        return Job.of({"request_id": _text(answer, "request_id"), "model": model, **urls})

    return Call("POST", f"/v1/queue/{_segment('model', model)}", read, json=body)


def status(job: Job) -> Call[JobStatus]:
    """``GET …/status``. Free of charge."""

    def read(answer: Mapping[str, Any]) -> JobStatus:
        return JobStatus(_same_job(answer, job), _text(answer, "status")[:_MAX_NAME], _reason(answer))

    return Call("GET", job.status_url, read)


def result(job: Job) -> Call[Result]:
    """``GET …/requests/{request_id}``. BILLS when the job is COMPLETED: call it once and keep the answer.

    Only the URLs are insisted on: the answer is paid for, and losing it over the rest would cost it again.
    """

    def read(answer: Mapping[str, Any]) -> Result:
        named, state = answer.get("request_id"), answer.get("status")
        if isinstance(named, str) and named not in {"", job.request_id}:
            raise _unusable(f"for another job than {job.request_id!r}", answer)
        if state == FAILED:
            raise JobFailedError(job.request_id, _reason(answer) or "no reason given")
        if state in (IN_QUEUE, IN_PROGRESS):  # no set: what came may have no hash
            raise TooEarlyError(f"with {state} for a job that was COMPLETED: {excerpt(answer)}")
        urls, usage = _video_urls(answer), answer.get("usage")
        if state != COMPLETED and not {"data", "usage"} & answer.keys():
            raise AnswerError(f"neither with {COMPLETED} nor with videos: {excerpt(answer)}", garbled=True)
        if not any(urls):
            raise _unusable("without a usable 'data'", answer)
        said = "" if all(urls) else _said(answer)
        return Result(job.request_id, job.model, urls, usage if isinstance(usage, dict) else {}, said)

    return Call("GET", job.response_url, read, replayable=False)


def content(url: str) -> Call[None]:
    """``GET {data[i].url}``: the raw MP4, streamed by the hook. Free of charge."""
    return Call("GET", url, lambda _: None)


def read_response(call: Call[T], status_code: int, headers: Mapping[str, str], body: bytes) -> T:
    """Turn an HTTP answer into the value that ``call`` promises.

    :raises ServiceError: for an error answer
    :raises AnswerError: for anything that the contract does not know
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


_NOT_THERE = (
    NotFoundError,
    "ModelMax does not know this (any more). Check the id, and the host of the ModelMax connection.",
)
_NEXT_STEP: Mapping[int, tuple[type[ServiceError], str]] = {
    400: (BadRequestError, "Correct the request; asking again cannot help."),
    401: (UnauthorizedError, "Put a valid API key into the password of the ModelMax connection."),
    402: (InsufficientBalanceError, "This call was not charged. Top up the ModelMax balance, then clear the task."),
    404: _NOT_THERE,
    410: _NOT_THERE,
}
_OTHER: Mapping[int, str] = {
    403: "Look at the rights of the API key, and for a firewall or gateway between Airflow and ModelMax.",
    413: "Make the image smaller, or raise the limit of the gateway between Airflow and ModelMax.",
}
_DOCUMENTED_TYPE: Mapping[int, str] = {
    400: "bad_request",
    401: "unauthorized",
    402: "insufficient_balance",
    500: "internal_error",
    502: "bad_gateway",
}
_NOT_PASSED_ON = {401, 402, 407, 421, 425, 429}
"""What refuses a call before anyone carries it out, whoever says so (contract, RFC 9110, RFC 8470, RFC 6585)."""

_ASK_LATER = (TemporaryError, "Retry later.")
_REFUSED_ON_THE_WAY = (TemporaryError, "Retry later; if it persists, check the host of the ModelMax connection.")


def error_of(call: Call[Any], status_code: int, headers: Mapping[str, str], body: bytes) -> ModelMaxError:
    """Return the error for an answer whose status is not the expected one."""
    if 300 <= status_code < 400:
        return ForeignUrlError(
            f"{call} answered {status_code} and redirects {_way(headers.get('Location', ''))}. Redirects are not "
            "followed, so that the key is sent nowhere else. If it lasts, check the host of the ModelMax connection; "
            "if that is right, ask whoever runs the service or the gateway in front of it.",
            reached=True,
        )
    if status_code < 300:
        return AnswerError(f"{call} answered {status_code}, which is not expected here.")
    kind, sentence = _service_sentence(body)
    cls, advice = _next_step(status_code, kind)
    message = f"{call} answered {status_code} {kind}".rstrip() + f": {sentence.rstrip('.')}. {advice}"
    documented = kind == _DOCUMENTED_TYPE.get(status_code)
    return cls(message, status=status_code, type=kind, retry_after=_retry_after(headers), documented=documented)


def refusal(message: str, status_code: int) -> ModelMaxError:
    """Return the error of a call that another process has made and that a retry cannot fix.

    :param message: of the error there
    :param status_code: of the answer, 0 where the error is not about its status
    """
    if status_code not in _NEXT_STEP:
        return RefusedError(message)
    return _NEXT_STEP[status_code][0](message, status=status_code)


class Attempt:
    """One attempt of a call: ``with attempt:`` keeps an error after which the next attempt follows, and logs it.

    :param call: the call
    :param number: from 1
    :param log: gets the warnings
    """

    def __init__(self, call: Call[Any], number: int, log: Any) -> None:
        self.call, self.number, self.log = call, number, log
        self.error: ModelMaxError | None = None
        self.delay = 0.0

    def __enter__(self) -> Attempt:
        return self

    def __exit__(self, kind: object, error: BaseException | None, traceback: object) -> bool:
        if not isinstance(error, ModelMaxError):
            return False
        delay = retry_delay(self.call, error, self.number)
        if delay is None:
            return False
        self.error, self.delay = error, delay
        most = max_attempts(self.call, error)
        tell(self.log.warning, str(error))
        self.log.warning("Attempt %s of %s; the next one is in %.1f s.", self.number, most, delay)
        if may_have_billed(self.call, error):
            tell(
                self.log.warning,
                "This call bills, and its answer was lost: asking again may be billed a second time. If it is, "
                "the ModelMax console shows two charges for this request.",
            )
        return True


def attempts(call: Call[Any], *, pause: Callable[[float], object], log: Any) -> Iterator[Attempt]:
    """Yield the attempts of a call, with a pause before each but the first; the last one raises its error.

    :param call: the call
    :param pause: waits for that many seconds; may raise to end the attempts
    :param log: gets the warnings
    """
    for number in itertools.count(1):
        yield (attempt := Attempt(call, number, log))
        if attempt.error is None:
            return
        pause(attempt.delay)


def retry_delay(call: Call[Any], error: ModelMaxError, attempt: int) -> float | None:
    """Return after how many seconds to send ``call`` again, or None when it must not be sent again.

    :param error: what the last attempt ended in
    :param attempt: how many attempts were made, from 1
    """
    if not can_pass(call, error) or attempt >= max_attempts(call, error):
        return None
    return backoff(attempt, error.retry_after)


def max_attempts(call: Call[Any], error: ModelMaxError) -> int:
    """Return how often ``call`` is sent at most, if its last attempt ended in ``error``."""
    return ATTEMPTS_WHEN_IT_MAY_BILL if may_have_billed(call, error) else _ATTEMPTS


def is_of_modelmax(error: ServiceError) -> bool:
    """Return whether an error answer has the form and a type of ModelMax: other services use the same form."""
    return error.documented or (error.status in {404, 410} and error.type == "not_found")


def backoff(attempt: int, asked: float | None) -> float | None:
    """Return how many seconds to pause after an attempt, or None where that is too long to be slept through.

    :param attempt: how many attempts were made, from 1
    :param asked: seconds that the service asked for, None where it did not
    """
    if asked is not None:
        return None if asked > MAX_RETRY_AFTER else max(asked, 0.1)
    return 2.0 ** (attempt - 1) * random.uniform(0.5, 1.0)  # noqa: S311 - spreads retries, keeps no secret


TIMED_OUT = "timed out"
CLOSED = "the connection was closed"
CUT_OFF = "the answer was cut off"
NO_HTTP = "not an HTTP answer"
"""Why no whole answer came, in the words of both transports."""


def os_words(error: BaseException) -> str:
    """Return the text of an error of the operating system, without its number and address."""
    text = error.strerror if isinstance(error, OSError) else ""
    return text or str(error) or type(error).__name__


def no_answer(call: Call[Any], said: str, *, reached: bool = True) -> TransportError:
    """Return the error of a call that got no whole answer.

    :param said: why, without secrets
    :param reached: whether it may have reached the service
    """
    advice = "" if reached else " Check the host and the proxy of the ModelMax connection, and the network."
    return TransportError(f"{call}: no whole answer ({said}).{advice}", reached=reached)


def may_have_billed(call: Call[Any], error: ModelMaxError) -> bool:
    """Return whether ``call`` may have been billed although it ended in ``error``.

    Only the service's own form proves that it refused. Whoever stands in front of it can answer in its place also after
    it has answered, but for the statuses in ``_NOT_PASSED_ON``.
    """
    if call.replayable or isinstance(error, TooEarlyError):
        return False
    if isinstance(error, TransportError | ForeignUrlError):
        return error.reached
    if isinstance(error, ServiceError):
        refused = error.type and error.status < 500
        return not refused and error.status not in _NOT_PASSED_ON
    return isinstance(error, AnswerError)


def resolve(base_url: str, url: str) -> str:
    """Return the absolute URL of a relative path of the service, on the connection's own origin.

    :param base_url: the connection's, without a trailing slash; may have a path of its own
    :param url: a path as the service gave it; absolute URLs are accepted on the same origin only
    :raises ForeignUrlError: when it leads to another scheme, host or port, is no URL, or one that HTTP clients read in
        different ways
    """
    # With a backslash, https://evil\\@api.modelmax.io is at api.modelmax.io for urlsplit, and at evil for urllib3.
    if not url.isprintable() or "\\" in url:
        raise ForeignUrlError(f"The service gave an invalid URL: {excerpt(url)}. Nothing was sent.")
    url = quote(url, safe=_AS_IT_CAME)
    prefix = urlsplit(base_url).path
    try:
        if not url.startswith("/") and not urlsplit(url).scheme:
            url = f"/{url}"  # or urljoin makes one slash of two: those of an id stay as they came
        in_prefix = url.startswith("/") and not url.startswith("//") and not url.startswith(f"{prefix}/")
        absolute = urljoin(f"{base_url}/", f"{prefix}{url}" if in_prefix else url)
        same = _origin(absolute) == _origin(base_url) and "@" not in urlsplit(absolute).netloc
    except ValueError:  # an impossible port, half an IPv6 address
        raise ForeignUrlError(f"The service gave an invalid URL: {excerpt(url)}. Nothing was sent.") from None
    if not same:
        raise ForeignUrlError(
            f"The service gave a URL on another host ({_netloc(absolute)}); the connection's is "
            f"{_netloc(base_url)}. The key is not sent there and nothing was fetched."
        )
    return absolute


def _next_step(status_code: int, kind: str) -> tuple[type[ServiceError], str]:
    """Return the class of an error answer and what to do; ``kind`` is empty when it is not in the service's form."""
    if status_code in {400, 404, 410} and not kind:
        return _REFUSED_ON_THE_WAY
    if status_code in {408, 425, 429} or status_code >= 500:
        return _ASK_LATER
    other = _OTHER.get(status_code, "Look for a proxy or gateway between Airflow and ModelMax.")
    return _NEXT_STEP.get(status_code, (ServiceError, other))


def can_pass(call: Call[Any], error: ModelMaxError) -> bool:
    """Return whether another attempt of ``call`` may succeed after ``error``."""
    if isinstance(error, ForeignUrlError | UnusableResultError):
        return False
    if isinstance(error, AnswerError):
        return call.replayable or error.garbled or isinstance(error, TooEarlyError)
    return isinstance(error, TransportError | TemporaryError)


def _way(location: str) -> str:
    """Say where a redirect leads, without its path and query: they can hold a secret."""
    try:
        host = urlsplit(location).hostname
    except ValueError:
        host = None
    return f"to {host}" if host else "within the same host" if location.startswith("/") else "to no URL"


def _netloc(url: str) -> str:
    return urlsplit(url).netloc.rpartition("@")[2]


def _origin(url: str) -> tuple[str, str | None, int | None]:
    parts = urlsplit(url)
    return parts.scheme, parts.hostname, parts.port or {"http": 80, "https": 443}.get(parts.scheme)


def _job_path(model: str, request_id: str) -> str:
    return f"/v1/queue/{_segment('model', model)}/requests/{_segment('request_id', request_id)}"


def _segment(name: str, value: str) -> str:
    """Quote an opaque id into one path segment; HTTP clients would resolve ``.`` and ``..`` away."""
    if value in {".", ".."}:
        raise InvalidInputError(f"{name} {value!r} is no id: it would change the path of the call.")
    return quote(value, safe="")


def _text(answer: Mapping[str, Any], key: str) -> str:
    value = answer.get(key)
    if not isinstance(value, str) or not value.strip():
        raise AnswerError(f"without a usable {key!r}: {excerpt(answer)}")
    return value


def _same_job(answer: Mapping[str, Any], job: Job) -> str:
    request_id = _text(answer, "request_id")
    if request_id != job.request_id:
        raise AnswerError(f"for another job than {job.request_id!r}: {excerpt(answer)}")
    return request_id


def _video_urls(answer: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the URL of each entry of ``data``, empty where it has none that can be used."""
    data = answer.get("data")
    urls = [entry.get("url") if isinstance(entry, dict) else None for entry in data] if isinstance(data, list) else []
    return tuple(url if isinstance(url, str) else "" for url in urls)


def _unusable(why: str, answer: Mapping[str, Any]) -> UnusableResultError:
    usage = answer.get("usage")
    return UnusableResultError(
        f"{why}. The result came, was paid for and cannot be used; asking again may bill again. "
        f"What came: {excerpt(answer, _MAX_PAID)}",
        said=_said(answer),
        usage=usage if isinstance(usage, dict) else {},
    )


def said_and_billed(said: str, usage: Mapping[str, Any]) -> str:
    """Return the two sentences with which the error of a paid result begins.

    :param said: the service's reason; may be empty
    """
    reason = f"ModelMax said: {said.rstrip('.')}." if said else "ModelMax gave no reason."
    return f"{reason} Billed: {usage_text(usage)}."


def usage_text(usage: Mapping[str, Any]) -> str:
    """Return what was billed, for a message."""
    return cut(", ".join(f"{name}={value}" for name, value in usage.items()), 200) or "the service did not say"


def _said(answer: Mapping[str, Any]) -> str:
    """Return the service's words about videos that did not come: of the answer, then of each entry of ``data``."""
    data = answer.get("data")
    words: list[str] = []
    for source in (answer, *(data if isinstance(data, list) else ())):
        if isinstance(source, dict):
            for name in _REASONS:
                held = source.get(name)
                held = held.get("message") if isinstance(held, dict) else held
                if isinstance(held, str) and held.strip():
                    words.append(" ".join(held.split()))
    return cut("; ".join(dict.fromkeys(words)), _MAX_REASON)


def _reason(answer: Mapping[str, Any]) -> str | None:
    """Return why a job FAILED: a text by the contract, and any JSON of any size by experience."""
    error = answer.get("error")
    text = error if isinstance(error, str) else json_text(error) if error else ""
    return cut(text, _MAX_REASON) or None


def _service_sentence(body: bytes) -> tuple[str, str]:
    try:
        error = read_json(body)["error"]
        kind, sentence = error["type"], str(error["message"])
    except (KeyError, TypeError):
        kind = sentence = ""
    if not isinstance(kind, str) or not kind.strip():
        return "", f"no error object of the service, but {excerpt(body)}"
    return cut(kind, _MAX_NAME), cut(sentence, _MAX_REASON)


def _retry_after(headers: Mapping[str, str]) -> float | None:
    """Read ``Retry-After``: seconds or an HTTP date (RFC 9110, section 10.2.3)."""
    value = headers.get("Retry-After", "").strip()
    if value.isascii() and value.isdigit():
        return min(float(value), _MOST_PATIENCE)
    try:
        seconds = (parsedate_to_datetime(value) - pendulum.now("UTC")).total_seconds()
    except (ValueError, TypeError, OverflowError):
        return None
    return min(max(seconds, 0.0), _MOST_PATIENCE)


def _shown(value: object) -> str:
    return "None" if value is None else f"{type_name(value)} ({excerpt(value, 60)})"
