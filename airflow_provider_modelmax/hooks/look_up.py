"""Looks up a connection and returns its endpoint; masks its secrets."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from airflow.providers.common.compat.sdk import AirflowNotFoundException, BaseHook
from airflow.sdk.log import mask_secret

from airflow_provider_modelmax import api
from airflow_provider_modelmax.hooks.connection import CONN_TYPE, Endpoint, read_connection

if TYPE_CHECKING:
    from airflow.sdk import Connection


def look_up(hook: BaseHook, conn_id: str, *, conn_type: str = CONN_TYPE, name: str = "") -> Endpoint:
    """Return the endpoint of a connection. ``hook`` looks it up, as a subclass may have its own way.

    :param conn_type: the type of connections that the hook takes
    :param name: what error messages call the connection; default ``connection`` and its id
    :raises ConnectionSetupError: if Airflow does not find it, or it cannot be used
    :raises TransportError: if the look-up failed
    """
    name = name or f"connection {conn_id!r}"
    with _translated(conn_id, name):
        return _masked(hook.get_connection(conn_id), conn_type, name)


async def alook_up(hook: BaseHook, conn_id: str, *, conn_type: str = CONN_TYPE) -> Endpoint:
    """Do the same from an event loop."""
    name = f"connection {conn_id!r}"
    with _translated(conn_id, name):
        from asgiref.sync import sync_to_async  # noqa: PLC0415 - not at DAG parse

        connection = await _connection(hook, conn_id)
        # Masking talks to Airflow's supervisor and blocks: in the loop it could meet a call of another task.
        return await sync_to_async(_masked)(connection, conn_type, name)


async def _connection(hook: BaseHook, conn_id: str) -> Connection:
    try:
        return await hook.aget_connection(conn_id)
    except AirflowNotFoundException:
        # dag.test() finds connections of the database only from outside the loop (3.1.8 to 3.3.2).
        from asgiref.sync import sync_to_async  # noqa: PLC0415 - not at DAG parse

        return await sync_to_async(hook.get_connection)(conn_id)


def _masked(connection: Connection, conn_type: str, name: str) -> Endpoint:
    endpoint = read_connection(connection, conn_type=conn_type, name=name)
    for secret in endpoint.secrets:
        mask_secret(secret)
    return endpoint


@contextmanager
def _translated(conn_id: str, name: str) -> Iterator[None]:
    try:
        yield
    except AirflowNotFoundException:
        # Airflow's SDK raises it for every failure of a look-up and hides the cause (seen on 3.3.2).
        raise api.ConnectionSetupError(
            f"Airflow did not find {name}: it does not exist, or Airflow's API server did not answer. If it is in an "
            "environment variable (AIRFLOW_CONN_…) or a secrets backend, check that its JSON or URI is valid. If it "
            f"does not exist, create it: airflow connections add {conn_id} --conn-type modelmax --conn-password sk-…"
        ) from None
    except api.ModelMaxError:
        raise
    except Exception as error:
        raise api.TransportError(
            f"Airflow could not look up {name}: {type(error).__name__}: {error}", reached=False
        ) from error

