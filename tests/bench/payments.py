"""Failed payments reported per second through HTTP, beside the same SQL sent raw by asyncpg in the same run."""

import asyncio
import os
import statistics
import tempfile
from collections.abc import Mapping
from contextlib import ExitStack
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final

import msgspec
from beside import analyze, answers, free_port, program, sent
from jobs import RECOUP
from place import a_database, cpu_s, environment, postgres_place, processes, settings_from, until
from raw import Statement, packed
from report import Result, Table, number, ratio, tell

from recoup_cli.compose import build_service
from recoup_core.flows.recover import open_case
from recoup_core.storage.calls import Call
from recoup_core.storage.merchants import Role, mint_key
from recoup_core.wiring import Service
from recoup_server.schemas_in import PaymentIn

PAYMENTS: Final = 4_000
ROUNDS: Final = 3
CLIENT_CONNECTIONS: Final = 32
DATABASE_CONNECTIONS: Final = 10
"""The API's default pool, and as many connections for the raw statements."""
WARM_UP: Final = 300
START_TIMEOUT_S: Final = 60.0
PATH: Final = "/api/billing/refund-retry-workflows/payments"
DECLINES: Final = ("insufficient_funds", "generic_decline", "processing_error", "expired_card", "do_not_honor")


class Round(msgspec.Struct, frozen=True):
    """One round's rates and the API's CPU time per payment."""

    http: float
    raw: float
    api_cpu_ms: float


def body(name: str, index: int) -> dict[str, Any]:
    """Return one report as a billing system sends it."""
    now = datetime.now(UTC)
    return {
        "reference": f"{name}-{index}",
        "amount_minor": 1000 + index % 5000,
        "currency": "EUR",
        "customer": {"ref": f"cus-{name}-{index}", "country": "DE", "timezone": "Europe/Berlin", "segment": "consumer"},
        "gateway": "sandbox",
        "gateway_ref": f"pi_{name}_{index}",
        "method": "card",
        "subscription": {"plan": "pro", "interval": "month"},
        "credentials": [
            {
                "gateway": "sandbox",
                "token": "tok_approve",
                "fingerprint": f"fp-{name}-{index}",
                "method": "card",
                "network": "visa",
            }
        ],
        "attempts": [
            {
                "at": (now - timedelta(minutes=5)).isoformat(),
                "decline": {"source": "stripe", "code": DECLINES[index % len(DECLINES)]},
            }
        ],
    }


def run(*, quick: bool) -> Result:
    """Measure in rounds: HTTP, raw, HTTP, raw."""
    payments, rounds = (400, 1) if quick else (PAYMENTS, ROUNDS)
    measured, places = zip(*(asyncio.run(_round(payments)) for _ in range(rounds)), strict=True)
    http = statistics.median(each.http for each in measured)
    raw = statistics.median(each.raw for each in measured)
    cpu_ms = statistics.median(each.api_cpu_ms for each in measured)
    shares = [each.http / each.raw for each in measured]
    table = Table(
        title="Failed payments reported per second",
        method=(
            f"`POST {PATH}` at one `recoup api` process (default settings), {CLIENT_CONNECTIONS} keep-alive"
            f" connections from a client process, {payments:,} payments a round of new customers with one card each,"
            " every one with its own Idempotency-Key; each opens a case, is decided by the shipped policies and"
            " planned. Beside it, the very statements and parameters of as many other reports, recorded from the same"
            f" flow, sent by a process with nothing but asyncpg on {DATABASE_CONNECTIONS} connections, the API's own"
            f" number, to a database in the same state (analyzed after the warm-up, as autovacuum would). {rounds}"
            " interleaved rounds, median."
        ),
        head=("way", "payments/s", "of raw", "of raw, by round", "CPU ms a payment, API process"),
        rows=(
            ("HTTP", number(http), ratio(http, raw), ", ".join(f"{each:.2f}" for each in shares), number(cpu_ms)),
            ("the same SQL, raw asyncpg", number(raw), "1.00", "", ""),
        ),
    )
    return Result(tables=(table,), places=tuple(dict.fromkeys(places)))


async def _round(payments: int) -> tuple[Round, str]:
    tell(f"payments: {payments:,} reports")
    with tempfile.TemporaryDirectory(prefix="recoup-bench-") as name:
        folder = Path(name)
        async with a_database() as recorded, a_database() as url:
            env = environment(folder, recorded)
            await _record(env, folder, payments)
            http, cpu_ms = await _through_http(folder, url, payments)
            raw = await _raw(folder, url, payments)
            return Round(http, raw, cpu_ms), await postgres_place(url)


async def _record(env: Mapping[str, str], folder: Path, payments: int) -> None:
    """Open cases in a database of their own and keep the statements of each, in two files: warm-up and measured."""
    service = await build_service(settings_from(env, folder)).open()
    said: list[Statement] = []

    def note(query: Any) -> None:
        if not query.query.startswith(("BEGIN", "COMMIT")):
            said.append(Statement(query.query, tuple(packed(value) for value in query.args)))

    try:
        async with service.database.connection() as connection:
            connection.add_query_logger(note)  # the pool hands the same connection out again: only one is ever in use
        with (folder / "raw.jsonl").open("wb") as file:
            for index in range(payments + WARM_UP):
                said.clear()
                await _report(service, index)
                assert said, "the recorder's connection was not the flow's"
                file.write(msgspec.json.encode(said) + b"\n")
    finally:
        await service.close()


async def _report(service: Service, index: int) -> None:
    sent = msgspec.json.encode(body("raw", index))
    report = msgspec.json.decode(sent, type=PaymentIn).report("default")
    await open_case(service.context, report, "key:bench", f"bench-{index}", Call(f"key-raw-{index}", sent))


async def _through_http(folder: Path, url: str, payments: int) -> tuple[float, float]:
    port = free_port()
    env = environment(folder, url, RECOUP_API_PORT=str(port))
    service = await build_service(settings_from(env, folder)).open()
    key = await mint_key(service.database, "default", "bench", [Role.AGENT], service.clock.now(), actor="bench")
    await service.close()
    env["RECOUP_BENCH_KEY"] = key.secret
    with ExitStack() as stack:
        (pid,) = stack.enter_context(processes([(*RECOUP, "api")], env, folder))
        await until(lambda: asyncio.to_thread(answers, port), START_TIMEOUT_S)
        await _send(env, port, folder, "warm", WARM_UP)
        await analyze(url)
        before = cpu_s(pid)
        spent = await _send(env, port, folder, "http", payments)
        return payments / spent, (cpu_s(pid) - before) / payments * 1000


async def _send(env: Mapping[str, str], port: int, folder: Path, name: str, count: int) -> float:
    lines = folder / f"{name}.jsonl"
    with lines.open("wb") as file:
        for index in range(count):
            file.write(msgspec.json.encode([f"key-{name}-{index}", body(name, index)]) + b"\n")
    arguments = ["127.0.0.1", str(port), PATH, str(CLIENT_CONNECTIONS), str(lines)]
    return await sent(arguments, env)


async def _raw(folder: Path, url: str, payments: int) -> float:
    lines = (folder / "raw.jsonl").read_bytes().splitlines(keepends=True)
    parts = {"warm": lines[:WARM_UP], "measured": lines[WARM_UP:]}
    spent = 0.0
    for name, part in parts.items():
        path = folder / f"raw-{name}.jsonl"
        path.write_bytes(b"".join(part))
        spent = float(await program("raw.py", [url, str(DATABASE_CONNECTIONS), str(path)], os.environ))
    return payments / spent
