"""Nothing of ours is deprecated. Run last, when the logs are full."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from tests.stack.airflow_stack import AirflowStack


def test_no_process_warns_of_our_code(stack: AirflowStack) -> None:
    warnings = [line for line in stack.all_log_text().splitlines() if "DeprecationWarning" in line]
    assert [line for line in warnings if "airflow_provider_modelmax" in line or "example_dags" in line] == []
