"""A process that commits recorded transactions when they are due: `python paced.py URL CONNECTIONS START FILE`.

START is on the machine's monotonic clock, which all processes share. FILE holds JSON lines (`Due`). What is late is
sent at once. Prints JSON: for each transaction its number (`event.txid`) and when its COMMIT had returned.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import msgspec
import uvloop
from raw import Statement, unpacked


class Due(msgspec.Struct, frozen=True):
    """A transaction, and when it is to be sent: seconds after the start."""

    at_s: float
    said: tuple[Statement, ...]


async def commit(connection: asyncpg.Connection, due: Due, hold_s: float = 0.0) -> tuple[str, float]:
    """Send a transaction and keep it open so long; return its number and when its COMMIT had returned."""
    async with connection.transaction():
        for each in due.said:
            await connection.fetch(each.sql, *(unpacked(*one) for one in each.args))
        await asyncio.sleep(hold_s)
        xid: str = await connection.fetchval("SELECT pg_current_xact_id()::text")
    return xid, time.monotonic()


async def send(
    connection: asyncpg.Connection, todo: Iterator[Due], start: float, seen: list[tuple[str, float]]
) -> None:
    """Commit what is due on one connection until nothing is left."""
    for due in todo:
        await asyncio.sleep(max(0.0, start + due.at_s - time.monotonic()))
        seen.append(await commit(connection, due))


def planned(lines: Path) -> Iterator[Due]:
    """Return what is to be committed, ready to be sent."""
    return iter([msgspec.json.decode(line, type=Due) for line in lines.read_bytes().splitlines()])


async def main(url: str, connections: str, start: str, lines: str) -> None:
    """Commit everything and say when."""
    todo = planned(Path(lines))
    opened = [await asyncpg.connect(url) for _ in range(int(connections))]
    seen: list[tuple[str, float]] = []
    async with asyncio.TaskGroup() as group:
        for connection in opened:
            group.create_task(send(connection, todo, float(start), seen))
    for connection in opened:
        await connection.close()
    print(msgspec.json.encode(seen).decode())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
