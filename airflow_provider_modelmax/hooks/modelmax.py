"""The hook: one method for each call of the service, retried by the rule in ``api``."""

from __future__ import annotations

import asyncio
import importlib
import itertools
import threading
import time
from collections.abc import Callable, Hashable, Iterator, Mapping
from contextlib import AbstractContextManager, ExitStack
from datetime import datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any, TypeVar

from airflow.providers.common.compat.sdk import BaseHook

from airflow_provider_modelmax import api, polling
from airflow_provider_modelmax.api import InvalidInputError
from airflow_provider_modelmax.api import parameters as inputs
from airflow_provider_modelmax.api.errors import DestinationError
from airflow_provider_modelmax.api.image import check_encoded_image
from airflow_provider_modelmax.api.text import log_lines, stem_of
from airflow_provider_modelmax.get_provider_info import CONNECTION_FORM
from airflow_provider_modelmax.hooks import shared_session
from airflow_provider_modelmax.hooks.connection import alook_up, look_up
from airflow_provider_modelmax.hooks.shared_session import SharedSession

if TYPE_CHECKING:
    import requests

    from airflow_provider_modelmax.hooks.aiohttp_transport import AsyncTransport
    from airflow_provider_modelmax.hooks.connection import Endpoint
    from airflow_provider_modelmax.hooks.requests_transport import Content, SyncTransport

T = TypeVar("T")

_LOOK_UP_LOCK = threading.Lock()
"""Several videos are downloaded at once, and Airflow 3.1 looks up connections over one socket without a lock."""

_GOOD_CONNECTION = "ModelMax answered and accepted the API key."

Pause = Callable[[float], object]
"""Waits for that many seconds. An exception that it raises ends the call or the wait."""


def _sleep(seconds: float) -> None:
    time.sleep(seconds)


class ContentStream(AbstractContextManager["Content"]):
    """A video, which is requested when this is entered or iterated over.

    ``with`` returns the :class:`~airflow_provider_modelmax.hooks.requests_transport.Content`, which has size and bytes.
    ``for`` iterates over the bytes.

    :param hook: sends the call
    :param url: of the video
    """

    def __init__(self, hook: ModelMaxHook, url: str) -> None:
        self._hook, self._call = hook, api.content(url)
        self._opened = ExitStack()

    def __enter__(self) -> Content:
        transport = self._hook._open()
        try:
            return self._opened.enter_context(transport.stream(self._call))
        except api.UnauthorizedError:
            current = self._hook._with_new_key(transport)
            if current is None:
                raise
            return self._opened.enter_context(current.stream(self._call))

    def __exit__(self, *exception: Any) -> bool | None:
        return self._opened.__exit__(*exception)

    def __iter__(self) -> Iterator[bytes]:
        with self as content:
            yield from content.chunks


class ModelMaxHook(BaseHook):
    """Call ModelMax.

    The connection has the type ``modelmax``. Its password is the API key, its host the base URL (default
    ``https://api.modelmax.io``). Its extra may hold ``timeout`` (seconds, default 60), ``verify`` (true, false or the
    path of a CA bundle) and ``proxy`` (a URL). The key is sent to the connection's own host only.

    :param modelmax_conn_id: the connection
    """

    conn_name_attr = "modelmax_conn_id"
    default_conn_name = "modelmax_default"
    conn_type = "modelmax"
    hook_name = "ModelMax"

    def __init__(self, modelmax_conn_id: str = default_conn_name, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.modelmax_conn_id = modelmax_conn_id
        self._sync: SyncTransport | None = None
        self._session: SharedSession | None = None

    @classmethod
    def get_ui_field_behaviour(cls) -> dict[str, Any]:
        """Return the connection form for Airflow 3.1, which does not read it from the provider info."""
        return {key.replace("-", "_"): value for key, value in CONNECTION_FORM["ui-field-behaviour"].items()}

    def submit_video(
        self,
        model: str,
        prompt: str,
        parameters: Mapping[str, Any] | None = None,
        *,
        allow_unknown_parameters: bool = False,
        pause: Pause = _sleep,
    ) -> api.Job:
        """Submit a job. Free of charge: the bill comes with the result.

        :param model: a model id, for example ``veo-3.1``
        :param prompt: what to show
        :param parameters: the service's parameters (:class:`.VideoParameters`);
            ``image`` must be Base64 here
        :param allow_unknown_parameters: whether to send a parameter whose name looks like a mistake for a known one;
            default False. Other unknown names are sent as they are, with a warning
        :param pause: waits for that many seconds between two attempts; may raise to end them
        :raises InvalidInputError: if an argument is wrong; nothing was sent

        A request that is checked already is submitted by ``hook.call(api.submit(model, prompt, parameters))``.
        """
        model, prompt = inputs.check_model(model), inputs.check_prompt(prompt)
        unknown = inputs.check_parameter_names(parameters, allow_unknown=allow_unknown_parameters)
        wanted = inputs.check_parameters(parameters)
        if "image" in wanted:
            wanted["image"] = check_encoded_image(wanted["image"])
        if unknown:
            self.log.warning("%s", unknown)
        return self.call(api.submit(model, prompt, wanted), pause=pause)

    def get_status(self, job: api.Job | Mapping[str, str], *, pause: Pause = _sleep) -> api.JobStatus:
        """Get the status of a job. Free of charge.

        :param job: the job, or its dict
        :param pause: waits for that many seconds between two attempts; may raise to end them
        """
        return self.call(api.status(api.Job.of(job)), pause=pause)

    def get_result(self, job: api.Job | Mapping[str, str], *, pause: Pause = _sleep) -> api.Result:
        """Fetch the result of a COMPLETED job. THIS BILLS: call it once per job and keep the answer.

        If the answer is lost, the call is sent again, twice at most, with a warning of a possible second bill.

        :param job: the job, or its dict
        :param pause: waits for that many seconds between two attempts; may raise to end them
        """
        return self.call(api.result(api.Job.of(job)), pause=pause)

    def download_videos(
        self,
        result: api.Result | Mapping[str, Any],
        destination: str,
        *,
        overwrite: bool = False,
        pause: Pause = _sleep,
    ) -> list[str]:
        """Download the videos of a result to object storage, and return their URIs. Free of charge.

        At each URI is a whole, checked MP4 afterwards, or what was there before. A video that arrives cut off or
        damaged is downloaded again, up to four times in all. No manifest is written.

        :param result: what :meth:`get_result` returned, or its dict (:meth:`.Result.as_dict`)
        :param destination: folder URI such as ``s3://conn_id@bucket/videos/``, or the exact object if it ends in
            ``.mp4``. In a folder the name is that of the job, as with ``ModelMaxDownloadVideoOperator``. With several
            videos, ``-0``, ``-1`` … go before the suffix
        :param overwrite: whether to replace a file at an exact object; in a folder, the job's own videos are replaced
        :param pause: waits for that many seconds between two attempts; may raise to end them
        :raises InvalidInputError: if an argument is wrong; nothing was downloaded
        :raises DestinationError: if the destination cannot be used, or something is there already
        :raises UnusableResultError: if the result has no URL for some of the videos; the others were stored
        :raises ModelMaxError: if the service did not give a video
        :raises BrokenVideoError: if the bytes of all attempts were no whole MP4
        :raises StorageError: if the store failed
        """
        from airflow_provider_modelmax.hooks import video  # noqa: PLC0415 - the libraries of the stores

        result = api.Result.of(result)
        _check_callable("pause", pause)
        places = self._places(result, destination, overwrite=inputs.check_flag("overwrite", overwrite))
        errors: list[Exception] = []
        for url, uri in places:
            try:
                if url:
                    video.download(self, url, uri, log=self.log, pause=pause)
            except api.ModelMaxError as error:  # does not keep the others from being stored
                errors.append(error)
        if errors:
            raise errors[0]
        if missing := [uri for url, uri in places if not url]:
            raise api.UnusableResultError(
                f"{api.said_and_billed(result.said, result.usage)} The result of job {result.request_id} has no usable "
                f"URL for {', '.join(missing)}, and is paid for. Report it to ModelMax. To ask again, call get_result "
                "again; that may be billed again.",
                said=result.said,
                usage=result.usage,
            )
        return [uri for _, uri in places]

    @staticmethod
    def _places(result: api.Result, destination: object, *, overwrite: bool) -> list[tuple[str, str]]:
        """Return URL and URI of each video."""
        from airflow_provider_modelmax.jobs.destination import Destination  # noqa: PLC0415 - the libraries of the stores
        from airflow_provider_modelmax.storage.objects import size_of  # noqa: PLC0415

        to = Destination.parse(destination, stem_of(result.request_id))
        uris = to.videos(len(result.urls))
        taken = [uri for uri in uris if size_of(uri) is not None] if to.exact and not overwrite else []
        if taken:
            raise DestinationError(
                f"{', '.join(taken)} exists already, and was left as it is. Name another object, or set overwrite=True."
            )
        return list(zip(result.urls, uris, strict=True))

    def stream_content(self, url: str) -> ContentStream:
        """Return the bytes of a video as they arrive. Free of charge.

        ``with`` returns size and bytes, ``for`` iterates over the bytes. A failed download is not repeated, and the
        bytes are not checked: :meth:`download_videos` does both.

        :param url: one of ``Result.urls``
        :raises InvalidInputError: if it is not a text, or empty
        """
        if not isinstance(url, str) or not url.strip():
            raise InvalidInputError(f"url is {url!r}, but must be one of the result's urls, such as result.urls[0].")
        return ContentStream(self, url)

    def wait(
        self,
        job: api.Job | Mapping[str, str],
        *,
        deadline: timedelta | datetime = polling.DEFAULT_DEADLINE,
        poll_interval: float | timedelta = polling.DEFAULT_POLL_INTERVAL,
        pause: Pause = _sleep,
    ) -> polling.Wait:
        """Wait until a job is COMPLETED. Blocks the process; operators and sensor defer instead.

        :param job: the job, or its dict
        :param deadline: how long to wait (default one hour), or until when (aware datetime); the last status call is
            made at the deadline
        :param poll_interval: seconds between two status calls
        :param pause: waits for that many seconds between two status calls; may raise to end the wait
        :raises InvalidInputError: if an argument is wrong; nothing was sent
        :raises JobFailedError: if the job FAILED
        :raises JobNotOverError: at the deadline, or if the service gave no usable answer for 15 minutes
        """
        job, interval = api.Job.of(job), inputs.check_poll_interval(poll_interval)
        until = inputs.check_deadline_argument(deadline)
        _check_callable("pause", pause)
        now = _now()
        wait = polling.Wait.begin(
            job.request_id,
            deadline=now + until if isinstance(until, timedelta) else until,
            poll_interval=interval,
            now=now,
        )
        while True:
            wait = self.look(wait, job)
            step = wait.next_step(_now())
            if isinstance(step, polling.Over):
                if step.error:
                    raise step.error
                return wait
            pause(max((step.at - _now()).total_seconds(), 0))

    def look(self, wait: polling.Wait, job: api.Job | Mapping[str, str]) -> polling.Wait:
        """Get the status once, log what changed, and return the wait that includes it.

        :param wait: what is known so far
        :param job: the job, or its dict
        :raises ConnectionSetupError: if no status was seen before; other errors are in the wait that is returned
        """
        job = api.Job.of(job)
        try:
            answer = self.call_once(api.status(job))
            now = _now()
            known = wait.answered(answer, now)
        except api.InvalidInputError:
            raise
        except api.ModelMaxError as error:
            if isinstance(error, api.ConnectionSetupError) and wait.status is None:
                raise
            now = _now()
            known = wait.failed(error, now)
        if message := known.news(wait, now):
            log_lines(self.log.info, message)
        return known

    def test_connection(self) -> tuple[bool, str]:
        """Return whether the connection works, and why not. Free of charge: one status call for an impossible job."""
        try:
            # Behind the test button in the UI, the connection has a random id.
            transport = self._open(name="this connection")
            transport.send(api.status(api.Job.of({"model": "veo-3.1", "request_id": "connection-test"})))
        except api.ServiceError as error:
            if api.is_of_modelmax(error) and not isinstance(error, api.UnauthorizedError | api.TemporaryError):
                return True, _GOOD_CONNECTION  # the key was accepted, and there is no such job
            return False, _wrong_host(error, transport) or str(error)
        except api.AnswerError as error:
            return False, _wrong_host(error, transport) or str(error)
        except Exception as error:
            return False, str(error)
        return True, _GOOD_CONNECTION

    def get_conn(self) -> requests.Session:
        """Return the session with which calls are sent. It adds the key to each request."""
        return self._open().session

    async def aget_status(self, job: api.Job | Mapping[str, str]) -> api.JobStatus:
        """Get the status of a job, from an event loop. Free of charge. One attempt.

        :param job: the job, or its dict
        """
        return await self._asend(api.status(api.Job.of(job)))

    async def aclose(self) -> None:
        """Release the session that async calls share with other hooks; the last hook closes it."""
        session, self._session = self._session, None
        if session:
            await shared_session.release(self._session_key, session)

    @property
    def base_url(self) -> str:
        """The base URL of the service."""
        return self._open().endpoint.base_url

    @property
    def answer_seconds(self) -> float:
        """Seconds that one attempt of a call and the pause after it can take at most."""
        return self._open().endpoint.answer_seconds + api.MAX_RETRY_AFTER

    def call(self, call: api.Call[T], *, pause: Pause = _sleep) -> T:
        """Send a call of :mod:`~airflow_provider_modelmax.api`, retried as the service's contract allows.

        :param call: the call, which is sent unchecked
        :param pause: waits for that many seconds between two attempts; may raise to end them
        """
        _check_callable("pause", pause)
        for attempt in itertools.count(1):
            try:
                return self.call_once(call)
            except api.ModelMaxError as error:
                delay = api.delay_after(call, error, attempt, self.log)
                if delay is None:
                    raise
            pause(delay)
        raise AssertionError("the last attempt returns or raises")

    def call_once(self, call: api.Call[T]) -> T:
        """Send a call without retries.

        If the key is refused and the connection has another one now, the call is sent with that one.

        :param call: the call, which is sent unchecked
        """
        transport = self._open()
        try:
            return transport.send(call)
        except api.UnauthorizedError:
            current = self._with_new_key(transport)
            if current is None:
                raise
            return current.send(call)

    def _open(self, *, refused: SyncTransport | None = None, name: str = "") -> SyncTransport:
        """Return the transport, or if it is ``refused``, a new one for the connection as it is now.

        :param name: the connection's name in error messages
        """
        from airflow_provider_modelmax.hooks.requests_transport import SyncTransport  # noqa: PLC0415 - not at DAG parse

        with _LOOK_UP_LOCK:
            if self._sync is None or self._sync is refused:
                self._sync = SyncTransport(look_up(self, self.modelmax_conn_id, conn_type=self.conn_type, name=name))
            return self._sync

    def _with_new_key(self, refused: SyncTransport) -> SyncTransport | None:
        """Return a transport with the connection's host and key of now, None if they are those that were refused."""
        current = self._open(refused=refused)
        if current.endpoint == refused.endpoint:
            return None
        self.log.info("The connection has another host or key now: sending the call again.")
        return current

    async def _asend(self, call: api.Call[T]) -> T:
        """Send a call once, from an event loop: the async twin of :meth:`call_once`.

        All hooks of a loop share a session and the lookup of their connection, until :meth:`aclose`. If the key is
        refused and the connection has another one now, the call is sent with that one.
        """
        if self._session is None or self._session.loop is not asyncio.get_running_loop():
            self._session = shared_session.acquire(self._session_key, self._create_session)
        return await self._session.send(call)

    @property
    def _session_key(self) -> Hashable:
        """The class is part of it, as a subclass may look up its connections elsewhere."""
        return type(self), self.modelmax_conn_id

    def _create_session(self) -> SharedSession:
        return SharedSession(lambda: alook_up(self, self.modelmax_conn_id, conn_type=self.conn_type), _open_async)


async def _open_async(endpoint: Endpoint) -> AsyncTransport:
    # Importing aiohttp takes about 100 ms: in a thread, as all triggers share the loop.
    module = await asyncio.to_thread(importlib.import_module, "airflow_provider_modelmax.hooks.aiohttp_transport")
    transport: AsyncTransport = await module.AsyncTransport.open(endpoint)
    return transport


def _wrong_host(error: api.ServiceError | api.AnswerError, transport: SyncTransport) -> str:
    """Return the message if an answer does not look like one of ModelMax, otherwise an empty text."""
    may_be_modelmax = isinstance(error, api.ServiceError) and (
        api.is_of_modelmax(error) or error.status in {401, 403, 407, 408, 425, 429} or error.status >= 500
    )
    if may_be_modelmax:
        return ""
    return f"{transport.endpoint.base_url} does not look like ModelMax. Check the host of this connection. {error}"


def _check_callable(name: str, value: object) -> None:
    if not callable(value):
        raise InvalidInputError(f"{name} is {value!r}, but must be a function.")


def _now() -> datetime:
    return datetime.now(timezone.utc)
