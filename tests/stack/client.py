"""A client for Airflow's public REST API, for what a user does in the UI. Starts no process."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

import requests

from tests.stack.processes import wait_until

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator

Json = dict[str, Any]

# The same in every log line, or of no use to the reader.
LEFT_OUT = frozenset(
    {"timestamp", "event", "level", "logger", "filename", "lineno"}
    | {"dag_id", "run_id", "task_id", "ti_id", "try_number", "map_index"}
)
OVER = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


class AirflowClient:
    """The REST API v2 of one Airflow."""

    def __init__(self, url: str) -> None:
        """Take the URL of the api-server; the first call fetches the token."""
        self.url = url
        self._session = requests.Session()
        self._session.trust_env = False

    def call(self, method: str, path: str, *, base: str = "api/v2", **arguments: Any) -> Any:
        """Send one request and return the JSON; raise an error answer with its text."""
        if "Authorization" not in self._session.headers:
            token = self._session.get(f"{self.url}/auth/token", timeout=10).json()["access_token"]
            self._session.headers["Authorization"] = f"Bearer {token}"
        answer = self._session.request(method, f"{self.url}/{base}/{path}", timeout=30, **arguments)
        if not answer.ok:
            raise requests.HTTPError(f"{method} {path}: {answer.status_code} {answer.text}", response=answer)
        return answer.json() if answer.content else None

    def pages(self, path: str, key: str, **parameters: Any) -> Iterator[Json]:
        """Yield every item of a collection, page by page."""
        offset = 0
        while items := self.call("GET", path, params={"limit": 100, "offset": offset, **parameters})[key]:
            yield from items
            offset += len(items)

    def health(self) -> dict[str, str | None]:
        """Return the state of each component; empty while the api-server does not answer."""
        try:
            answer = self._session.get(f"{self.url}/api/v2/monitor/health", timeout=5)
            return {name: (about or {}).get("status") for name, about in answer.json().items()}
        except (requests.RequestException, ValueError):
            return {}

    # DAGs

    def import_errors(self) -> list[Json]:
        """Return what the dag-processor could not import: `filename`, `stack_trace`, ..."""
        return list(self.pages("importErrors", "import_errors"))

    def wait_for_dag(self, dag_id: str, timeout: float = 60) -> Json:
        """Wait until the DAG can be triggered; if that fails, show the import errors."""
        return wait_until(
            lambda: next((dag for dag in self.pages("dags", "dags") if dag["dag_id"] == dag_id), None),
            timeout,
            f"DAG {dag_id} parsed",
            lambda: "\n".join(f"{error['filename']}\n{error['stack_trace']}" for error in self.import_errors()),
        )

    # Runs

    def trigger(
        self,
        dag_id: str,
        conf: Json | None = None,
        run_id: str | None = None,
        logical_date: str | None = None,
    ) -> str:
        """Trigger a DAG run and return its id."""
        body = {"dag_run_id": run_id, "logical_date": logical_date, "conf": conf or {}}
        run_id = self.call("POST", f"dags/{dag_id}/dagRuns", json=body)["dag_run_id"]
        return str(run_id)

    def run(self, dag_id: str, run_id: str) -> Json:
        """Return one DAG run."""
        return dict(self.call("GET", f"dags/{dag_id}/dagRuns/{run_id}"))

    def runs(self, dag_id: str) -> list[Json]:
        """Return all DAG runs of a DAG."""
        return list(self.pages(f"dags/{dag_id}/dagRuns", "dag_runs"))

    def wait_for_run(self, dag_id: str, run_id: str, timeout: float = 120) -> str:
        """Wait until the DAG run is over and return `success` or `failed`."""
        return wait_until(
            lambda: state if (state := str(self.run(dag_id, run_id)["state"])) in OVER else None,
            timeout,
            f"{dag_id} {run_id} over",
            lambda: str([(each["task_id"], each["state"]) for each in self.task_instances(dag_id, run_id)]),
        )

    # Task instances

    def task_instances(self, dag_id: str, run_id: str) -> list[Json]:
        """Return all task instances of a DAG run, including each mapped one."""
        return list(self.pages(f"dags/{dag_id}/dagRuns/{run_id}/taskInstances", "task_instances"))

    def task_instance(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Json:
        """Return one task instance."""
        return dict(self.call("GET", _task(dag_id, run_id, task_id, map_index)))

    def wait_for_task_state(
        self,
        dag_id: str,
        run_id: str,
        task_id: str,
        state: str | Collection[str],
        *,
        map_index: int = -1,
        timeout: float = 60,
    ) -> Json:
        """Wait until a task instance is in (one of) the state(s); raise if it ends in another."""
        wanted = {state} if isinstance(state, str) else set(state)
        deadline = time.monotonic() + timeout
        while (instance := self.task_instance(dag_id, run_id, task_id, map_index))["state"] not in wanted:
            if instance["state"] in OVER or time.monotonic() > deadline:
                log = self.task_log(dag_id, run_id, task_id, map_index=map_index) if instance["try_number"] else ""
                raise TimeoutError(f"{task_id} is {instance['state']}, waited for {sorted(wanted)}\n{log}")
            time.sleep(0.1)
        return instance

    def task_log(
        self, dag_id: str, run_id: str, task_id: str, try_number: int | None = None, map_index: int = -1
    ) -> str:
        """Return the log of one try (by default the latest) as the UI shows it, with its extra fields."""
        if try_number is None:
            try_number = self.task_instance(dag_id, run_id, task_id, map_index)["try_number"]
        parameters = {"full_content": "true", "map_index": map_index}
        path = f"{_task(dag_id, run_id, task_id)}/logs/{try_number}"
        content = self.call("GET", path, params=parameters, headers={"Accept": "application/json"})["content"]
        return "\n".join(line if isinstance(line, str) else _plain(line) for line in content)

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str = "return_value", map_index: int = -1) -> Any:
        """Return the value of one XCom, deserialized; raise if there is none."""
        path = f"{_task(dag_id, run_id, task_id)}/xcomEntries/{key}"
        return self.call("GET", path, params={"map_index": map_index, "deserialize": "false"})["value"]

    def xcom_keys(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> list[str]:
        """Return the keys of the XComs of a task instance."""
        path = f"{_task(dag_id, run_id, task_id)}/xcomEntries"
        return [entry["key"] for entry in self.pages(path, "xcom_entries", map_index=map_index)]

    def extra_links(self, dag_id: str, run_id: str, task_id: str) -> dict[str, str | None]:
        """Return the extra links of a task instance: names and URLs."""
        return dict(self.call("GET", f"{_task(dag_id, run_id, task_id)}/links")["extra_links"])

    def rendered_fields(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> Json:
        """Return the rendered template fields of the task instance."""
        return dict(self.task_instance(dag_id, run_id, task_id, map_index)["rendered_fields"])

    def clear(
        self, dag_id: str, run_id: str, task_ids: list[str | list[Any]] | None = None, *, only_failed: bool = False
    ) -> None:
        """Clear tasks of a DAG run (`[task_id, map_index]` is one mapped task), or all of them if none is given."""
        body = {"dry_run": False, "dag_run_id": run_id, "task_ids": task_ids, "only_failed": only_failed}
        self.call("POST", f"dags/{dag_id}/clearTaskInstances", json=body)

    def set_state(self, dag_id: str, run_id: str, task_id: str, state: str, map_index: int = -1) -> None:
        """Mark a task instance as `success`, `failed` or `skipped`, as a user can while it runs."""
        self.call("PATCH", _task(dag_id, run_id, task_id, map_index), json={"new_state": state})

    def asset_events(self, **parameters: Any) -> list[Json]:
        """Return the asset events, oldest first, with `uri`, `extra` and the task that emitted them."""
        return list(self.pages("assets/events", "asset_events", order_by="timestamp", **parameters))


def _task(dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
    path = f"dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}"
    return path if map_index == -1 else f"{path}/{map_index}"


def _plain(line: Json) -> str:
    extra = " ".join(f"{name}={value}" for name, value in line.items() if name not in LEFT_OUT)
    return " ".join(str(part) for part in (line.get("timestamp") or "", line["event"], extra) if part)
