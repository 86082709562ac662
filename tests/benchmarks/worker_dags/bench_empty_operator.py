"""A minimal deferrable operator: defers once, then returns."""

from __future__ import annotations

from typing import Any

from airflow.sdk import BaseOperator


class EmptyDeferrableOperator(BaseOperator):
    """Defer for as long as one of our jobs takes."""

    def execute(self, context: Any) -> None:
        from tests.benchmarks.after_seconds import AfterSeconds

        self.defer(trigger=AfterSeconds(9.0), method_name="execute_complete")

    def execute_complete(self, context: Any, event: Any = None) -> None:
        """Return."""
