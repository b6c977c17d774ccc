"""A process of stream clients: `python hearing.py URL CLIENTS`, so many for each key in RECOUP_BENCH_KEYS (JSON list).

Prints a line once all are open, listens until its standard input is closed, and prints JSON: for each client, in the
order of the keys, the ids of its events and when each was whole on this side (the machine's monotonic clock). Nothing
is parsed before: it shares the machine with what is measured.
"""

import asyncio
import os
import sys
import time

import httpx
import msgspec
import uvloop


class _Data(msgspec.Struct):
    id: int


class Client:
    """One stream: what came, piece by piece."""

    def __init__(self) -> None:
        self.opened = asyncio.Event()
        self._pieces: list[tuple[float, bytes]] = []

    async def read(self, client: httpx.AsyncClient, url: str, key: str) -> None:
        """Keep the stream open, and note when each piece of it came; raise if it ends."""
        async with client.stream("GET", url, headers={"Authorization": f"Bearer {key}"}) as answer:
            answer.raise_for_status()
            async for piece in answer.aiter_raw():
                self._pieces.append((time.monotonic(), piece))
                self.opened.set()
        raise ConnectionResetError("the stream ended")

    def heard(self) -> list[tuple[int, float]]:
        """Return each event with the time of the piece that holds its end."""
        found, rest = [], b""
        for at, piece in self._pieces:
            *frames, rest = (rest + piece).split(b"\n\n")
            for frame in frames:
                _, _, data = frame.partition(b"\ndata: ")
                if data:
                    found.append((msgspec.json.decode(data, type=_Data).id, at))
        return found


async def main(url: str, clients: str) -> None:
    """Listen, and say what was heard."""
    keys = msgspec.json.decode(os.environ["RECOUP_BENCH_KEYS"], type=list[str])
    streams = [(Client(), key) for key in keys for _ in range(int(clients))]
    async with httpx.AsyncClient(timeout=None) as client, asyncio.TaskGroup() as group:
        tasks = [group.create_task(stream.read(client, url, key)) for stream, key in streams]
        for stream, _ in streams:
            await stream.opened.wait()
        print("open", flush=True)
        await asyncio.to_thread(sys.stdin.read)
        for task in tasks:
            task.cancel()
    print(msgspec.json.encode([stream.heard() for stream, _ in streams]).decode())


if __name__ == "__main__":
    uvloop.run(main(*sys.argv[1:]))
