"""Everything Airflow writes down, as text to be searched: every row of every table, every log file."""

from __future__ import annotations

import contextlib
import json
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from cryptography.fernet import Fernet

from tests.stack.airflow_settings import FERNET_KEY

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

    from tests.stack.airflow_stack import AirflowStack


@dataclass(frozen=True)
class Row:
    """One row of a table."""

    table: str
    columns: dict[str, Any]

    @property
    def text(self) -> str:
        """All values, readable: what is packed or encrypted as well."""
        return "\n".join(_readable(value) for value in self.columns.values())


def rows(stack: AirflowStack) -> Iterator[Row]:
    """Yield every row of every table of the metadata database."""
    for table in stack.database.tables():
        for columns in stack.rows(f'SELECT * FROM "{table}"'):
            yield Row(table, columns)


def logs(stack: AirflowStack) -> dict[Path, str]:
    """Return every file that Airflow has written: of tasks, of the trigger, of DAG parsing, of the components."""
    return {path: path.read_text(errors="replace") for path in sorted(stack.home.rglob("*.log*")) if path.is_file()}


def tables_with(secret: str | Iterable[str], found: Iterable[Row]) -> set[str]:
    """Name the tables that hold (one of) the secret(s)."""
    secrets = [secret] if isinstance(secret, str) else list(secret)
    return {row.table for row in found if any(each in row.text for each in secrets)}


def slices(text: str, length: int = 24) -> set[str]:
    """Cut a text so that any piece of it of twice the length holds a whole slice."""
    return {text[start : start + length] for start in range(0, len(text) - length, length)}


def _readable(value: Any) -> str:
    if isinstance(value, (bytes, memoryview)):
        data = bytes(value)
        with contextlib.suppress(zlib.error):
            data = zlib.decompress(data)
        return data.decode(errors="replace")
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    if text.startswith("gAAAA"):
        return Fernet(FERNET_KEY.encode()).decrypt(text.encode()).decode()
    return text
