"""The ModelMax video service on localhost: real MP4s, faults on request, a ledger of all calls and bills.

Imports nothing from the rest of the provider. Names are imported on first use, so that the package can be installed
without the `simulator` extra.
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

MODULES = {"Fault": ".faults", "Settings": ".settings", "Simulator": ".server"}
EXTRA = ("av", "PIL", "uvicorn")
INSTALL = "pip install 'airflow-provider-modelmax[simulator]'"


def __getattr__(name: str) -> object:
    """Import a public name.

    :raises ModuleNotFoundError: if the `simulator` extra is not installed
    """
    if name not in MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    require_extra()
    return getattr(importlib.import_module(MODULES[name], __name__), name)


def require_extra() -> None:
    """Raise `ModuleNotFoundError` if the `simulator` extra is not installed."""
    missing = [name for name in EXTRA if importlib.util.find_spec(name) is None]
    if missing:
        message = f"the simulator needs {', '.join(missing)}, which is not installed: {INSTALL}"
        raise ModuleNotFoundError(message, name=missing[0])
