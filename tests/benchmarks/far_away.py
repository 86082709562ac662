"""A proxy to a server on this machine that adds latency, but does not limit bandwidth."""

from __future__ import annotations

import argparse
import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.stack.processes import PROJECT, Service, child_environment, free_port, is_free, running, wait_until

MOST = 64 * 1024 * 1024
"""Bytes in transit in one direction of one connection."""


@contextmanager
def far_away(folder: Path, port: int, round_trip: float) -> Iterator[int]:
    """Yield a port that forwards to another one, `round_trip` seconds away."""
    own = free_port()
    command = [sys.executable, "-m", "tests.benchmarks.far_away", str(own), str(port), str(round_trip / 2)]
    service = Service("far away", command, child_environment({"PYTHONPATH": str(PROJECT)}), folder / f"far-{own}.log")
    with running(service):
        wait_until(lambda: not is_free(own), 20, "the way is open", service.tail)
        yield own


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, delay: float) -> None:
    loop = asyncio.get_running_loop()
    under_way: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue(MOST // 65536)

    async def deliver() -> None:
        while True:
            due, data = await under_way.get()
            await asyncio.sleep(due - loop.time())
            if not data:
                return writer.close()
            writer.write(data)
            await writer.drain()

    delivery = asyncio.create_task(deliver())
    try:
        while data := await reader.read(65536):
            await under_way.put((loop.time() + delay, data))
    except OSError:
        pass
    await under_way.put((loop.time() + delay, b""))
    await asyncio.gather(delivery, return_exceptions=True)


async def _serve(own: int, port: int, delay: float) -> None:
    async def meet(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection("127.0.0.1", port)
        await asyncio.gather(_carry(reader, back, delay), _carry(there, writer, delay))

    server = await asyncio.start_server(meet, "127.0.0.1", own)
    await server.serve_forever()


def main() -> None:
    """Forward until killed."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("own", type=int)
    parser.add_argument("port", type=int)
    parser.add_argument("delay", type=float, help="seconds, one way")
    chosen = parser.parse_args()
    asyncio.run(_serve(chosen.own, chosen.port, chosen.delay))


if __name__ == "__main__":
    main()
