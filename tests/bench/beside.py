"""What benchmarks of HTTP beside raw SQL share: programs to run, a free port, tables as autovacuum leaves them."""

import asyncio
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Final

import asyncpg
import msgspec

TIMEOUT_S: Final = 600.0
HERE: Final = Path(__file__).parent
TAKEN: Final = frozenset({"200", "201", "202"})


async def analyze(url: str) -> None:
    """Do what autovacuum does within a minute where it is on: without it the API's plans are those of empty tables."""
    connection = await asyncpg.connect(url)
    await connection.execute("ANALYZE")
    await connection.close()


async def program(name: str, arguments: list[str], env: Mapping[str, str]) -> bytes:
    """Run one of the programs beside this module to its end and return what it printed."""
    command = [sys.executable, str(HERE / name), *arguments]
    done = await asyncio.to_thread(
        subprocess.run, command, env=dict(env), check=True, stdout=subprocess.PIPE, timeout=TIMEOUT_S
    )
    return done.stdout


async def sent(arguments: list[str], env: Mapping[str, str]) -> float:
    """Run the HTTP client and return the seconds it took; an answer that is no success fails the benchmark."""
    seconds, seen = msgspec.json.decode(await program("client.py", arguments, env))
    if set(seen) - TAKEN:
        raise AssertionError(f"the API answered {seen}")
    return float(seconds)


def answers(port: int) -> bool:
    """Whether an API answers on this port."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/health/live", timeout=1):
            return True
    except (OSError, urllib.error.URLError):
        return False


def free_port() -> int:
    """Return a port of the loopback that nobody listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])
