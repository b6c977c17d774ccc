"""A keep-alive HTTP client process: `python client.py HOST PORT PATH CONNECTIONS FILE` sends FILE's requests.

FILE holds JSON lines of [idempotency key, body]; the key to the API comes in RECOUP_BENCH_KEY. Prints seconds and how
many of each status came. Small on purpose: it shares the machine with what is measured.
"""

import asyncio
import os
import sys
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import msgspec
import uvloop

READ_MAX = 1 << 20


def requests(host: str, path: str, lines: Path) -> Iterator[bytes]:
    """Return the requests, ready to be written."""
    head = f"POST {path} HTTP/1.1\r\nHost: {host}\r\nAuthorization: Bearer {os.environ['RECOUP_BENCH_KEY']}\r\n"
    for line in lines.read_bytes().splitlines():
        key, body = msgspec.json.decode(line, type=tuple[str, msgspec.Raw])
        fields = f"Idempotency-Key: {key}\r\nContent-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        yield (head + fields).encode() + bytes(body)


async def connection(host: str, port: int, todo: Iterator[bytes], seen: Counter[int]) -> None:
    """Send requests on one connection, one after another, until none is left."""
    reader, writer = await asyncio.open_connection(host, port, limit=READ_MAX)
    for request in todo:
        writer.write(request)
        head = await reader.readuntil(b"\r\n\r\n")
        fields = dict(line.lower().split(b":", 1) for line in head.split(b"\r\n")[1:-2])
        await reader.readexactly(int(fields[b"content-length"]))
        seen[int(head[9:12])] += 1
    writer.close()


async def main() -> None:
    """Send everything and say how it went."""
    host, port, path, connections, lines = sys.argv[1:]
    todo = iter(list(requests(host, path, Path(lines))))
    seen: Counter[int] = Counter()
    started = time.perf_counter()
    async with asyncio.TaskGroup() as group:
        for _ in range(int(connections)):
            group.create_task(connection(host, int(port), todo, seen))
    print(msgspec.json.encode([time.perf_counter() - started, {str(k): v for k, v in seen.items()}]).decode())


if __name__ == "__main__":
    uvloop.run(main())
