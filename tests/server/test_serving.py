"""`run_api` as a process: it opens its service, answers on loopback, and stops when told to."""

import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

SCRIPT = Path(__file__).with_name("api_process.py")
START_S = 60.0
"""Far more than a start takes, for a machine that is busy with other tests."""


def a_free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def wait_until_ready(url: str, process: "subprocess.Popen[str]") -> None:
    deadline = time.monotonic() + START_S
    while time.monotonic() < deadline and process.poll() is None:
        try:
            if httpx.get(f"{url}/health/ready", timeout=5).status_code == 200:
                return
        except httpx.TransportError:
            time.sleep(0.1)
    process.kill()
    pytest.fail(f"the API did not become ready: {process.communicate()[0]}")


@pytest.mark.parametrize("sent", [signal.SIGTERM, signal.SIGINT])
def test_the_process_serves_and_stops(shared_url: str, sent: signal.Signals) -> None:
    """Either signal ends it in order: what comes after `run_api` still happens, within the grace period."""
    port = a_free_port()
    process = subprocess.Popen(
        [sys.executable, str(SCRIPT), shared_url, str(port)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    try:
        wait_until_ready(f"http://127.0.0.1:{port}", process)
        process.send_signal(sent)
        told, _ = process.communicate(timeout=15)
    finally:
        process.kill()

    assert process.returncode == 0
    assert told.endswith("stopped\n")
