"""The type of ``parameters``, under the name that it had in 0.1.0."""

from airflow_provider_modelmax.api.parameters import VideoParameters

__all__ = ["VideoParameters"]
