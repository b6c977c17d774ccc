"""Starts third-party counterparts of the gateways, each in an environment of its own.

localstripe (GPL-3, never imported here) is installed by `make` into `.venv-localstripe`;
RECOUP_LOCALSTRIPE_PYTHON names another interpreter that has it.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx

START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
HOW = "run `make localstripe`, or set RECOUP_LOCALSTRIPE_PYTHON to a Python with localstripe 1.15.10"

_ROOT = Path(__file__).resolve().parents[2]
_LAUNCHER = Path(__file__).with_name("localstripe_loopback.py")


def localstripe_python() -> Path | None:
    """Return the interpreter that has localstripe; None where there is none."""
    named = os.environ.get("RECOUP_LOCALSTRIPE_PYTHON")
    python = Path(named) if named else _ROOT / ".venv-localstripe" / "bin" / "python"
    return python if python.exists() else None


def free_port() -> int:
    """Return a port nobody listens on just now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@contextmanager
def localstripe(port: int | None = None) -> Iterator[str]:
    """Run localstripe on loopback and give its address; any key that starts with `sk_` is taken."""
    python = localstripe_python()
    if python is None:
        raise FileNotFoundError(HOW)
    port = port or free_port()
    process = subprocess.Popen([python, _LAUNCHER, str(port)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        url = f"http://127.0.0.1:{port}"
        _wait_until_up(process, url)
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", url: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"localstripe ended with {process.returncode}")
        try:
            if httpx.get(f"{url}/v1/balance", headers={"Authorization": "Bearer sk_test_12345"}).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise TimeoutError(f"localstripe did not answer within {START_LIMIT_S:g} s")
