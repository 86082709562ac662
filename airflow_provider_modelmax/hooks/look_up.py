"""From the id of a connection to its endpoint, its secrets masked; or an error that says what to do."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks.endpoint import Endpoint, read_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection


def look_up(hook: BaseHook, conn_id: str) -> Endpoint:
    """Return the endpoint of a connection, which ``hook`` finds: it may be one's own.

    :raises ConnectionSetupError: when there is none of that id, or it cannot be used
    :raises TransportError: when it could not be looked up
    """
    with _named(conn_id):
        return _masked(hook.get_connection(conn_id))


async def alook_up(hook: BaseHook, conn_id: str) -> Endpoint:
    """Do the same from an event loop."""
    with _named(conn_id):
        from asgiref.sync import sync_to_async  # noqa: PLC0415 - not at DAG parse

        connection = await _connection(hook, conn_id)
        # Masking talks to Airflow's supervisor and blocks: in the loop it could meet a call of another task.
        return await sync_to_async(_masked)(connection)


async def _connection(hook: BaseHook, conn_id: str) -> Connection:
    try:
        return await hook.aget_connection(conn_id)
    except AirflowNotFoundException:
        if not _runs_inline():
            raise
        return hook.get_connection(conn_id)  # blocks a loop in which nobody else is


def _masked(connection: Connection) -> Endpoint:
    endpoint = read_connection(connection)
    for secret in endpoint.secrets:
        mask_secret(secret)
    return endpoint


@contextmanager
def _named(conn_id: str) -> Iterator[None]:
    try:
        yield
    except AirflowNotFoundException:
        raise api.ConnectionSetupError(
            f"There is no connection {conn_id!r}. Create one with the API key as its password: "
            f"airflow connections add {conn_id} --conn-type modelmax --conn-password sk-…"
        ) from None
    except api.ModelMaxError:
        raise
    except Exception as error:
        raise api.TransportError(
            f"Connection {conn_id!r} could not be looked up ({type(error).__name__}: {error}).", reached=False
        ) from error


def _runs_inline() -> bool:
    """Say whether this is the trigger of ``dag.test()``: connections of the database cannot be awaited there (3.3)."""
    try:
        from airflow.sdk.execution_time import task_runner  # noqa: PLC0415 - internal, and heavy
    except ImportError:
        return False
    comms = getattr(task_runner, "SUPERVISOR_COMMS", None)
    return comms is not None and not hasattr(comms, "asend")
