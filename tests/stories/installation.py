"""One installation of Recoup as its operator runs it: real processes of the `recoup` command, with settings of its own.

Each process writes a log that is kept; whatever still runs when the test ends is killed. Time is not faked: a timer is
made due at once (`hurry`) and a lease is ended (`end_leases`) in the database, since a policy's shortest wait is a
minute and a lease lasts 45 seconds at least.
"""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import asyncpg
import httpx
import pika
from tests.counterparts.launch import free_port

from recoup_cli.compose import build_service
from recoup_core.settings import load_settings
from recoup_core.wiring import Service
from recoup_plugins.gateways.sandbox_bank import SandboxBank
from recoup_workers.actors import queue_name

START_LIMIT_S = 60.0
"""Python, uvloop and durable_rules load in about two seconds; the rest is for a machine with other work."""
STOP_LIMIT_S = 15.0
POLL_S = 0.1
LOG_TAIL = 30
LEASE_S = 45

SANDBOX = "sandbox"
SECRET = "whsec_c3Rvcnk="
STARTED = {"worker": "the worker runs", "scheduler": "the scheduler runs"}
"""What a process logs once it works."""

POLICY = """\
kind: retry
name: story
note: Short waits, for tests that can't wait for payday.
applies_to: {method: card}
rules:
  - name: the backup card where the first one can't work
    when: {decline: [expired_or_invalid_credentials, unknown]}
    retry: {after: [1m, 1m], credential: backup}
    otherwise: {stop: needs_customer}
  - name: never again where the issuer said never
    when: {retryable: no}
    stop: not_retryable
  - name: every minute
    when: {attempt: {lte: 5}}
    retry: {after: [1m, 1m, 1m, 1m, 1m]}
  - name: give up
    stop: exhausted
examples:
  - given: {decline: expired_or_invalid_credentials, has_backup: true}
    expect: the backup card where the first one can't work
  - {given: {decline: lost_or_stolen, retryable: no}, expect: never again where the issuer said never}
  - {given: {decline: insufficient_funds}, expect: every minute}
  - {given: {decline: insufficient_funds, attempt: 6}, expect: give up}
"""


class Process:
    """One `recoup` process and its log."""

    def __init__(self, role: str, process: "subprocess.Popen[bytes]", log: Path) -> None:
        self.role, self.process, self._log = role, process, log

    def log(self) -> list[str]:
        """Everything it wrote."""
        return self._log.read_text("utf-8", "replace").splitlines()

    def said(self, words: str) -> bool:
        """Whether a line of its log holds the words."""
        return any(words in line for line in self.log())

    def kill(self) -> None:
        """Kill -9: it gets no chance to say goodbye."""
        self.process.kill()
        self.process.wait(STOP_LIMIT_S)

    def stop(self) -> int:
        """Ask it to end and return its exit code."""
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(STOP_LIMIT_S)

    @property
    def tail(self) -> str:
        """The end of its log."""
        return "\n".join(self.log()[-LOG_TAIL:])


class Installation:
    """A folder with settings and a policy, a database, a queue, and the processes started on them."""

    def __init__(self, folder: Path, database_url: str, amqp_url: str, queue_prefix: str, gateways: str) -> None:
        self.folder = folder
        self.database_url, self.amqp_url, self.queue = database_url, amqp_url, queue_name(queue_prefix)
        self.processes: list[Process] = []
        policies = folder / "policies"
        policies.mkdir(parents=True)
        (policies / "story.yaml").write_text(POLICY)
        self._config = folder / "recoup.toml"
        self._config.write_text(
            f'environment = "development"\ndata_dir = "{folder}"\n'
            f'database = {{url = "{database_url}", pool_max = 8}}\n'
            f'amqp = {{url = "{amqp_url}", queue_prefix = "{queue_prefix}"}}\n'
            f"worker = {{lease_s = {LEASE_S}}}\nscheduler = {{poll_ms = 50}}\n"
            f'policies = {{dir = "{policies}"}}\n{gateways}'
        )

    # -- processes

    def environ(self, **settings: str) -> Mapping[str, str]:
        """The environment of our processes: the machine's own, without what a developer may have set for Recoup."""
        kept = {name: value for name, value in os.environ.items() if not name.startswith("RECOUP_")}
        return {**kept, "RECOUP_CONFIG": str(self._config), **settings}

    def launch(self, role: str, **settings: str) -> Process:
        """Start `recoup <role>` and return at once."""
        log = self.folder / f"{len(self.processes)}-{role}.log"
        with log.open("wb") as sink:
            process = subprocess.Popen(
                [sys.executable, "-c", "from recoup_cli.main import main; main()", role],
                stdin=subprocess.DEVNULL,
                stdout=sink,
                stderr=subprocess.STDOUT,
                cwd=self.folder,
                env=self.environ(**settings),
                start_new_session=True,
            )
        self.processes.append(Process(role, process, log))
        return self.processes[-1]

    def start(self, *roles: str, **settings: str) -> list[Process]:
        """Start workers and schedulers side by side and return when each of them works."""
        started = [self.launch(role, **settings) for role in roles]
        deadline = time.monotonic() + START_LIMIT_S
        for process in started:
            while not process.said(STARTED[process.role]):
                assert process.process.poll() is None, f"{process.role} ended at once:\n{process.tail}"
                assert time.monotonic() < deadline, f"{process.role} did not start:\n{process.tail}"
                time.sleep(POLL_S)
        return started

    def start_api(self) -> str:
        """Start the API on a free port and return its address once it is ready."""
        port = free_port()
        process = self.launch("api", RECOUP_API_PORT=str(port))
        deadline = time.monotonic() + START_LIMIT_S
        while not _ready(f"http://127.0.0.1:{port}/health/ready"):
            assert process.process.poll() is None, f"the API ended at once:\n{process.tail}"
            assert time.monotonic() < deadline, f"the API did not start:\n{process.tail}"
            time.sleep(POLL_S)
        return f"http://127.0.0.1:{port}"

    def make_key(self, *roles: str) -> str:
        """Make an API key with the command line, as an operator does."""
        chosen = [part for role in roles for part in ("--role", role)]
        return self.run("keys", "create", "--principal", "billing-system", *chosen).strip()

    def run(self, *arguments: str) -> str:
        """Run a command of the command line to its end and return what it printed; it must succeed."""
        done = subprocess.run(
            [sys.executable, "-c", "from recoup_cli.main import main; main()", *arguments],
            check=False,
            capture_output=True,
            text=True,
            timeout=START_LIMIT_S,
            cwd=self.folder,
            env=self.environ(),
        )
        assert done.returncode == 0, f"recoup {' '.join(arguments)}: {done.stderr or done.stdout}"
        return done.stdout

    def reap(self) -> None:
        """Kill what still runs, and print the end of every log: pytest shows it where the test failed."""
        for each in self.processes:
            if each.process.poll() is None:
                each.kill()
            sys.stdout.write(f"---- {each.role} (exit {each.process.returncode})\n{each.tail}\n")
        self.processes.clear()

    # -- parts of ours used in the test's own process

    def service(self) -> Service:
        """The wired service with these settings, not yet open."""
        return build_service(load_settings(self.environ(), self.folder))

    @property
    def bank(self) -> SandboxBank:
        """The sandbox's bank, whose books are no part of our database."""
        return SandboxBank(str(self.folder / "bank.sqlite"))

    # -- the database, as nobody but a test touches it

    async def fetch(self, sql: str, *values: Any) -> list[Any]:
        """Ask the database directly."""
        connection = await asyncpg.connect(self.database_url)
        try:
            return list(await connection.fetch(sql, *values))
        finally:
            await connection.close()

    async def value(self, sql: str, *values: Any) -> Any:
        """Ask the database for one value."""
        rows = await self.fetch(sql, *values)
        return rows[0][0] if rows else None

    async def hurry(self) -> None:
        """Make every timer due now; jobs that somebody holds a lease on stay theirs.

        What was sent in vain waits longer from send to send, by its own time: that passes as well.
        """
        await self.fetch(
            """UPDATE attempt SET last_sent_at = last_sent_at - interval '6 hours' WHERE id IN (SELECT id FROM attempt
               WHERE state = 'unknown' AND last_sent_at > now() - interval '6 hours' FOR UPDATE SKIP LOCKED)"""
        )
        await self.fetch(
            """UPDATE timeline_step SET due_at = now() WHERE id IN (SELECT id FROM timeline_step
               WHERE state = 'planned' AND due_at > now() FOR UPDATE SKIP LOCKED)"""
        )
        await self.fetch(
            """UPDATE job SET due_at = now(), visible_at = now() WHERE id IN (SELECT id FROM job
               WHERE claims = 0 AND visible_at > now() FOR UPDATE SKIP LOCKED)"""
        )

    async def end_leases(self) -> None:
        """Let every lease end now, as if its time had passed: whoever still works on such a job has lost it."""
        await self.fetch(
            """UPDATE job SET visible_at = now() WHERE id IN (SELECT id FROM job
               WHERE claims > 0 AND visible_at > now() FOR UPDATE SKIP LOCKED)"""
        )

    # -- the queue

    def messages(self) -> int:
        """Messages ready in the queue and in the one for the dead."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        try:
            channel = connection.channel()
            names = (self.queue, f"{self.queue}.XQ")
            return sum(channel.queue_declare(name, passive=True).method.message_count for name in names)
        finally:
            connection.close()

    def delete_queues(self) -> None:
        """Leave a shared broker as it was found."""
        connection = pika.BlockingConnection(pika.URLParameters(self.amqp_url))
        for name in (self.queue, f"{self.queue}.XQ"):
            connection.channel().queue_delete(name)
        connection.close()


def _ready(url: str) -> bool:
    try:
        return httpx.get(url, timeout=1).is_success
    except httpx.HTTPError:
        return False


def sandbox_gateway(folder: Path) -> str:
    """The settings of a sandbox gateway whose bank is a file in the folder."""
    options = json.dumps(str(folder / "bank.sqlite"))
    return (
        f'[[gateways]]\nname = "{SANDBOX}"\nplugin = "sandbox"\n'
        f'[gateways.options]\npath = {options}\nwebhook_secrets = ["{SECRET}"]\n'
    )
