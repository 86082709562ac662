"""A minimal trigger: what Airflow itself costs for each trigger. Imports only what a trigger needs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

from airflow.triggers.base import BaseTrigger, TriggerEvent

A_DAY = 86_400.0


class AfterSeconds(BaseTrigger):
    """Sleep, and fire once."""

    def __init__(self, seconds: float = A_DAY) -> None:
        super().__init__()
        self.seconds = seconds

    def serialize(self) -> tuple[str, dict[str, Any]]:
        """Return the class path and the arguments."""
        return f"{__name__}.{type(self).__qualname__}", {"seconds": self.seconds}

    async def run(self) -> AsyncIterator[TriggerEvent]:
        """Sleep."""
        await asyncio.sleep(self.seconds)
        yield TriggerEvent(True)
