"""Where each version of Airflow keeps what the tests look into, and what a version lacks."""

from __future__ import annotations

import airflow

AIRFLOW = tuple(int(part) for part in airflow.__version__.split(".")[:2])
KEEPS_TASK_STATE = AIRFLOW >= (3, 3)

try:
    from airflow.sdk.exceptions import AirflowRescheduleException, AirflowTaskTimeout
except ImportError:  # Airflow 3.1
    from airflow.exceptions import AirflowRescheduleException, AirflowTaskTimeout

if AIRFLOW >= (3, 2):
    from airflow.sdk.providers_manager_runtime import ProvidersManagerTaskRuntime as ProvidersManager
    from airflow.sdk.serde import deserialize, serialize
    from airflow.serialization.decoders import smart_decode_trigger_kwargs
    from airflow.serialization.encoders import encode_trigger
else:
    from airflow.providers_manager import ProvidersManager
    from airflow.serialization.serde import deserialize, serialize
    from airflow.serialization.serialized_objects import _encode_trigger as encode_trigger
    from airflow.serialization.serialized_objects import smart_decode_trigger_kwargs

__all__ = [
    "AIRFLOW",
    "KEEPS_TASK_STATE",
    "AirflowRescheduleException",
    "AirflowTaskTimeout",
    "ProvidersManager",
    "deserialize",
    "encode_trigger",
    "serialize",
    "smart_decode_trigger_kwargs",
]
