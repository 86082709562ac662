"""The ModelMax video API as data: calls, answers, errors, the retry rule, and what a person may ask for."""

from airflow_provider_modelmax.api.calls import *  # noqa: F403
from airflow_provider_modelmax.api.errors import *  # noqa: F403
from airflow_provider_modelmax.api.parameters import VideoParameters as VideoParameters
