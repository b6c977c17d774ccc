"""A process that sends recorded transactions by asyncpg: `python raw.py URL CONNECTIONS FILE`; prints the seconds.

FILE holds JSON lines: the statements of one transaction with their parameters, as `payments` recorded them. Nothing
else happens here: no HTTP, no policy, no value is looked at.
"""

import asyncio
import base64
import sys
import time
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import asyncpg
import msgspec
import uvloop


class Statement(msgspec.Struct, frozen=True):
    """One statement with its parameters, each with the name of its type."""

    sql: str
    args: tuple[tuple[str, Any], ...]


def packed(value: Any) -> tuple[str, Any]:
    """Return a parameter as it is recorded; the types are those our statements use."""
    if isinstance(value, bytes):
        return "bytes", base64.b64encode(value).decode()
    if isinstance(value, timedelta):
        return "timedelta", value.total_seconds()
    if isinstance(value, list | tuple):
        return "list", [packed(each) for each in value]
    if isinstance(value, UUID | date):
        return type(value).__name__.lower(), str(value)
    return "plain", value


def unpacked(kind: str, value: Any) -> Any:
    """Return a recorded parameter as asyncpg wants it."""
    match kind:
        case "bytes":
            return base64.b64decode(value)
        case "timedelta":
            return timedelta(seconds=value)
        case "list":
            return [unpacked(*each) for each in value]
        case "uuid":
            return UUID(value)
        case "date":
            return date.fromisoformat(value)
        case "datetime":
            return datetime.fromisoformat(value)
    return value


async def replay(url: str, todo: Iterator[list[tuple[str, list[Any]]]]) -> None:
    """Send transactions on one connection, one after another, until none is left."""
    connection = await asyncpg.connect(url)
    for transaction in todo:
        async with connection.transaction():
            for sql, args in transaction:
                await connection.fetch(sql, *args)
    await connection.close()


def transactions(lines: Path) -> list[list[tuple[str, list[Any]]]]:
    """Return what was recorded, ready to be sent."""
    recorded = [msgspec.json.decode(line, type=list[Statement]) for line in lines.read_bytes().splitlines()]
    return [[(each.sql, [unpacked(*one) for one in each.args]) for each in one] for one in recorded]


async def main(url: str, connections: str, lines: str) -> None:
    """Send everything and say how long it took."""
    todo = iter(transactions(Path(lines)))
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(int(connections)):
            group.create_task(replay(url, todo))
    print(time.perf_counter() - started)


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
