"""The error of a broken video, under the name that it had in 0.1.0."""

from airflow_provider_modelmax.api.errors import BrokenVideoError

__all__ = ["BrokenVideoError"]
