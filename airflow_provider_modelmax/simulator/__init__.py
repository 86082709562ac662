"""The ModelMax video service on localhost: real MP4s, faults on request, a ledger. Imports nothing of ours.

Nothing is imported before it is used, so that the package can be installed without the extra.
"""

from __future__ import annotations

import importlib
import importlib.util
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .faults import Fault
    from .server import Simulator
    from .settings import Settings

__all__ = ["Fault", "Settings", "Simulator"]

HOMES = {"Fault": ".faults", "Settings": ".settings", "Simulator": ".server"}
EXTRA = ("av", "PIL", "uvicorn")
INSTALL = "pip install 'airflow-provider-modelmax[simulator]'"


def __getattr__(name: str) -> object:
    """Import what was asked for, or say which extra to install."""
    if name not in HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra()
    return getattr(importlib.import_module(HOMES[name], __name__), name)


def require_extra() -> None:
    """Raise one clear error when the `simulator` extra is not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        message = f"the simulator needs {', '.join(missing)}, which is not installed: {INSTALL}"
        raise ModuleNotFoundError(message, name=missing[0])
