"""The leanest deferrable operator: defers once, and returns."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator


class EmptyDeferrableOperator(BaseOperator):
    """Wait without a worker slot, as long as one of our jobs takes."""

    def execute(self, context: Any) -> None:
        from tests.benchmarks.after_seconds import AfterSeconds

        self.defer(trigger=AfterSeconds(9.0), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """Return."""
