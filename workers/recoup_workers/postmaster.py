"""The PostgreSQL server as a process: started and watched, shut down in order, cleaned up after when it was killed."""

import contextlib
import logging
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

MAX_CONNECTIONS: Final = 200
START_WAIT_S: Final = 120.0
"""Crash recovery of a busy server takes its time; the process is watched meanwhile."""
START_TRIES: Final = 20
RESTART_PAUSE_S: Final = 0.3
"""After a crash, processes of the old server hold the folder for a moment; a start that ends early is repeated."""
STOP_WAIT_S: Final = 60.0
POLL_S: Final = 0.05
LOG_LIMIT_BYTES: Final = 10 * 1024 * 1024
LOG_TAIL_CHARS: Final = 800
LEFTOVERS: Final = ("postmaster.pid", "shared memory block")
"""What PostgreSQL complains about (in English: LC_ALL=C) while processes of a killed server are still there."""
CLEAN_ENV: Final = {"PATH": os.defpath, "LC_ALL": "C", "TZ": "UTC"}
"""Nothing of ours: a PGDATA or PGPORT meant for another server must not reach this one."""

log = logging.getLogger(__name__)


class EmbeddedPostgresError(Exception):
    """The embedded server can't be had; the message says why and what to do."""


class Cluster(NamedTuple):
    """What it takes to run the server: its programs, its files, where to listen, and as whom."""

    bin: Path
    data: Path
    port: int
    log: Path
    account: Mapping[str, Any]
    """`subprocess` arguments that change the user; empty for our own."""


def launch(cluster: Cluster) -> subprocess.Popen[bytes]:
    """Start the server and return when it takes connections; raise with the end of its log when it does not."""
    deadline = time.monotonic() + START_WAIT_S
    for _ in range(START_TRIES):
        _remove_stale_pid_file(cluster.data)
        process = _spawn(cluster)
        try:
            if _ready(cluster, process, deadline):
                return process
        except BaseException:
            shut_down(process)
            raise
        if process.poll() is None:
            shut_down(process)
        if not any(leftover in _tail(cluster.log) for leftover in LEFTOVERS):
            break
        time.sleep(RESTART_PAUSE_S)
    raise EmbeddedPostgresError(f"PostgreSQL did not start; the end of {cluster.log}: {_tail(cluster.log)}")


def _spawn(cluster: Cluster) -> subprocess.Popen[bytes]:
    if cluster.log.exists() and cluster.log.stat().st_size > LOG_LIMIT_BYTES:
        cluster.log.replace(cluster.log.with_suffix(".log.1"))
    settings = {
        "port": str(cluster.port),
        "listen_addresses": "127.0.0.1",
        "unix_socket_directories": "",
        "max_connections": str(MAX_CONNECTIONS),
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    # The log may quote statements, hence data: ours alone.
    with os.fdopen(os.open(cluster.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600), "ab") as sink:
        return subprocess.Popen(  # noqa: S603 # our own arguments
            [cluster.bin / "postgres", "-D", cluster.data, *options],
            stdin=subprocess.DEVNULL,
            stdout=sink,
            stderr=subprocess.STDOUT,
            cwd="/",
            env=CLEAN_ENV,
            start_new_session=True,  # Ctrl-C is for the owner, who then stops the server in order
            **cluster.account,
        )


def _ready(cluster: Cluster, process: subprocess.Popen[bytes], deadline: float) -> bool:
    """Wait for the first connection to be taken; False when the process ended or the time is over."""
    ask = [str(cluster.bin / "pg_isready"), "-q", "-h", "127.0.0.1", "-p", str(cluster.port)]
    while process.poll() is None and time.monotonic() < deadline:
        # Its own limit is 3 s; asked from outside any folder that the server's user can't enter.
        answer = subprocess.run(ask, check=False, env=CLEAN_ENV, cwd="/", timeout=START_WAIT_S, **cluster.account)  # noqa: S603 # our own arguments
        if answer.returncode == 0:
            return process.poll() is None  # not another server on the same port
        time.sleep(POLL_S)
    return False


def shut_down(process: subprocess.Popen[bytes]) -> None:
    """Fast shutdown: open transactions are rolled back, everything committed is written."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
    try:
        process.wait(STOP_WAIT_S)
    except subprocess.TimeoutExpired:
        raise EmbeddedPostgresError(f"PostgreSQL (pid {process.pid}) did not stop within {STOP_WAIT_S:.0f} s") from None


def stop_orphan(data: Path) -> None:
    """Stop a server that outlived its owner, so that ours runs with today's binaries and settings as our child."""
    pid = live_postmaster(data)
    if pid is not None:
        log.warning("stopping the PostgreSQL (pid %s) whose owner is gone", pid)
        os.kill(pid, signal.SIGINT)
        deadline = time.monotonic() + STOP_WAIT_S
        while live_postmaster(data) is not None:
            if time.monotonic() > deadline:
                raise EmbeddedPostgresError(f"PostgreSQL (pid {pid}) did not stop within {STOP_WAIT_S:.0f} s")
            time.sleep(POLL_S)
    _remove_stale_pid_file(data)


def _remove_stale_pid_file(data: Path) -> None:
    """Remove the pid file of a dead server.

    PostgreSQL would wait for ever on a zombie, or on a stranger that got the same number (usual in containers).
    It still refuses by itself while processes of the old server hold their shared memory.
    """
    if live_postmaster(data) is None:
        (data / "postmaster.pid").unlink(missing_ok=True)


def live_postmaster(data: Path) -> int | None:
    """Return the process that serves this folder now; a zombie or a reused number is none."""
    try:
        pid = int((data / "postmaster.pid").read_text().split("\n", 1)[0])
    except (FileNotFoundError, ValueError):
        return None
    return pid if str(data) in _command_line(pid) else None


def _command_line(pid: int) -> list[str]:
    """Return a process's arguments; none for a zombie or where there is no such process."""
    if sys.platform == "linux":
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            return Path(f"/proc/{pid}/cmdline").read_bytes().decode("utf-8", "replace").split("\0")
        return []
    ps = ["/bin/ps", "-ww", "-o", "args=", "-p", str(pid)]
    return subprocess.run(ps, check=False, capture_output=True, text=True, timeout=STOP_WAIT_S).stdout.split()  # noqa: S603 # a number


def _tail(log_path: Path) -> str:
    return log_path.read_text("utf-8", "replace")[-LOG_TAIL_CHARS:]
