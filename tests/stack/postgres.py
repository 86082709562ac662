"""A new metadata database for each run: PostgreSQL if there is a server, otherwise SQLite."""

from __future__ import annotations

import contextlib
import os
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

import sqlalchemy

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

SERVER = "postgresql+psycopg2://postgres@127.0.0.1:5432/postgres"


@dataclass(frozen=True)
class Database:
    """Where Airflow keeps its metadata."""

    url: str

    @property
    def kind(self) -> str:
        """`postgresql` or `sqlite`."""
        return urlsplit(self.url).scheme.partition("+")[0]

    def rows(self, query: str, **parameters: Any) -> list[dict[str, Any]]:
        """Run one SQL query and return its rows."""
        engine = sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)
        with engine.connect() as connection:
            result = connection.execute(sqlalchemy.text(query), parameters)
            return [dict(row) for row in result.mappings()]

    def tables(self) -> list[str]:
        """Return the names of the tables, for a test that searches all of them."""
        return sqlalchemy.inspect(sqlalchemy.create_engine(self.url, poolclass=sqlalchemy.NullPool)).get_table_names()


@contextlib.contextmanager
def database(home: Path) -> Iterator[Database]:
    """Create a database for one run and drop it afterwards; without PostgreSQL, a SQLite file in `home`.

    `MODELMAX_TEST_POSTGRES` is the server, as the URL of a database in which CREATE DATABASE is allowed;
    if it is empty, SQLite is used.
    """
    server = os.environ.get("MODELMAX_TEST_POSTGRES", SERVER)
    # Explicit, because SQLAlchemy and Airflow do not agree on the default driver.
    server = server.replace("postgresql://", "postgresql+psycopg2://", 1)
    if not (server and answers(server)):
        yield sqlite(home)
        return
    name = f"modelmax_{uuid.uuid4().hex[:12]}"
    _command(server, f"CREATE DATABASE {name}")
    try:
        yield Database(urlunsplit(urlsplit(server)._replace(path=f"/{name}")))
    finally:
        _command(server, f"DROP DATABASE {name} WITH (FORCE)")


def sqlite(home: Path) -> Database:
    """Return a SQLite file in `home`; the migration creates it."""
    return Database(f"sqlite:///{home.resolve()}/airflow.db")


def answers(server: str) -> bool:
    """Return whether a PostgreSQL server accepts us."""
    try:
        _command(server, "SELECT 1")
    except sqlalchemy.exc.OperationalError:
        return False
    return True


def _command(server: str, sql: str) -> None:
    arguments = {"connect_timeout": 3}
    engine = sqlalchemy.create_engine(
        server, isolation_level="AUTOCOMMIT", poolclass=sqlalchemy.NullPool, connect_args=arguments
    )
    with engine.connect() as connection:
        connection.execute(sqlalchemy.text(sql))
