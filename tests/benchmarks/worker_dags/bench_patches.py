"""The calls of Airflow, the provider and the stores that the profile measures."""

from __future__ import annotations

from typing import Any
from urllib.parse import urlsplit

import bench_spans
from bench_spans import around, on_import


def watch() -> None:
    """Measure this process if it executes a task."""
    from airflow.sdk import get_parsing_context

    if not get_parsing_context().task_id:
        return
    bench_spans.start()
    on_import("airflow.sdk.execution_time.task_runner", _task_runner)
    on_import("airflow.sdk.execution_time.comms", lambda it: around(it.CommsDecoder, "send", "api", _message))
    on_import("requests.sessions", _requests)
    on_import("os", lambda it: around(it, "fsync", "disk"))
    on_import("airflow_provider_modelmax.storage.location", _stores)
    on_import("airflow_provider_modelmax.storage.objects", _storage)
    on_import("airflow_provider_modelmax.jobs.task_state", lambda it: _methods(it.TaskState, "state", "get", "put"))
    on_import("airflow_provider_modelmax.jobs.store", _store)
    on_import("airflow_provider_modelmax.jobs.download", _download)
    on_import("airflow_provider_modelmax.jobs.submission", _submission)
    on_import("airflow_provider_modelmax.jobs.fetch", _fetch)
    on_import("airflow_provider_modelmax.hooks.modelmax", _hook)
    on_import("botocore.client", _botocore)
    on_import("boto3.session", _boto3)


def _task_runner(module: Any) -> None:
    for name in ("_prepare", "_execute_task", "_push_xcom_if_needed", "_defer_task", "finalize"):
        around(module, name, "phase")
    execute_task = module._execute_task

    def outside(context: Any, ti: Any, log: Any) -> Any:
        resumed = bool(ti._ti_context_from_server.next_method)
        destination = (context["dag_run"].conf or {}).get("destination", "")
        kind = urlsplit(destination).scheme or "empty"
        bench_spans.about(task=kind, segment=2 if resumed else 1)
        return execute_task(context, ti, log)

    module._execute_task = outside


def _message(_: Any, msg: Any, *__: Any, **___: Any) -> str:
    key = getattr(msg, "key", None) or getattr(msg, "conn_id", None)
    return f"{type(msg).__name__} {key}" if key else type(msg).__name__


def _requests(module: Any) -> None:
    around(module.Session, "__init__", "http", lambda *_: "new requests.Session")
    around(module.Session, "request", "http", lambda _, method, url, **__: f"{method} {_path(url)}")


def _path(url: str) -> str:
    parts = [part for part in urlsplit(url).path.split("/") if part]
    return "/".join(part for part in parts if len(part) < 18)


def _storage(module: Any) -> None:
    def named(what: str) -> Any:
        return lambda uri, *_, **__: f"{what} {uri.rpartition('/')[2].partition('.')[2][-14:]}"

    for name in ("save_json", "create_json", "load_json", "save_video", "size_of"):
        around(module, name, "storage", named(name))
    around(module, "check_writable", "storage")


def _stores(module: Any) -> None:
    around(module, "locate", "storage")


def _store(module: Any) -> None:
    _methods(module.JobStore, "store", "recall", "check", "acquire", "keep", "put", "own", "publish")


def _download(module: Any) -> None:
    _methods(module.VideoDownload, "download", "run")


def _submission(module: Any) -> None:
    _methods(module.Submission, "submission", "submit", "continues_with")


def _fetch(module: Any) -> None:
    _methods(module.ResultFetcher, "fetch", "fetch")


def _hook(module: Any) -> None:
    _methods(module.ModelMaxHook, "hook", "call", "call_once", "look", "stream_content", "get_status")


def _botocore(module: Any) -> None:
    around(module.BaseClient, "_make_api_call", "s3", lambda _, operation, *__: operation)


def _boto3(module: Any) -> None:
    around(module.Session, "client", "s3", lambda *_, **__: "make the client")


def _methods(owner: Any, kind: str, *names: str) -> None:
    for name in names:
        around(owner, name, kind)
