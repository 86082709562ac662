"""What others see of a task's data: assets and OpenLineage."""
