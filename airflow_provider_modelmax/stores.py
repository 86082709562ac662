"""The errors of stores, under the name that they had in 0.1.0."""

from airflow_provider_modelmax.api.errors import DestinationError, StorageError

__all__ = ["DestinationError", "StorageError"]
