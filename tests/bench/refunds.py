"""Refunds asked for per second through HTTP, all of one payment and each of its own, beside the same SQL raw."""

import asyncio
import os
import statistics
import tempfile
from collections.abc import Callable, Mapping
from contextlib import ExitStack
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final
from uuid import UUID

import msgspec
from beside import analyze, answers, free_port, program, sent
from jobs import RECOUP
from payments import CLIENT_CONNECTIONS, DATABASE_CONNECTIONS, START_TIMEOUT_S
from place import a_database, environment, postgres_place, processes, settings_from, until
from raw import Statement, packed
from report import Result, Table, number, ratio, tell

from recoup_cli.compose import build_service
from recoup_core.domain.payment import Customer, Method
from recoup_core.flows.captured import CaptureReport, report_captured
from recoup_core.flows.operate import By
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.storage.calls import Call
from recoup_core.storage.merchants import Role, mint_key
from recoup_core.wiring import Service

REFUNDS: Final = 450
"""A round, below the most that one payment may have."""
ROUNDS: Final = 3
WARM_UP: Final = 100
PATH: Final = "/api/billing/refund-retry-workflows/refunds"
AMOUNT_MINOR: Final = 100_000_000


class Round(msgspec.Struct, frozen=True):
    """Refunds a second, by way."""

    http_many: float
    raw_many: float
    http_one: float
    raw_one: float


def run(*, quick: bool) -> Result:
    """Measure in rounds: many payments and one, each through HTTP and raw."""
    count, rounds = (60, 1) if quick else (REFUNDS, ROUNDS)
    measured, places = zip(*(asyncio.run(_round(count)) for _ in range(rounds)), strict=True)

    def median(of: Callable[[Round], float]) -> float:
        return statistics.median(of(each) for each in measured)

    many, raw_many = median(lambda each: each.http_many), median(lambda each: each.raw_many)
    one, raw_one = median(lambda each: each.http_one), median(lambda each: each.raw_one)
    table = Table(
        title="Refunds asked for per second",
        method=(
            f"`POST {PATH}` at one `recoup api` process (default settings), {CLIENT_CONNECTIONS} keep-alive"
            f" connections, {count} refunds a round of one or two euros, each with its own Idempotency-Key, decided by"
            " the shipped policies (bounds per agent, day and customer are counted under the merchant's lock) and"
            " reserved. *Many*: each refund has a payment of its own; *one*: all of them have the same, so that they"
            " queue for its lock. Beside it the statements of as many other refunds, recorded from the same flow, sent"
            f" by a process with nothing but asyncpg on {DATABASE_CONNECTIONS} connections. {rounds} interleaved"
            " rounds, median."
        ),
        head=("payments", "HTTP, refunds/s", "the same SQL raw, refunds/s", "HTTP of raw"),
        rows=(
            ("many", number(many), number(raw_many), ratio(many, raw_many)),
            ("one", number(one), number(raw_one), ratio(one, raw_one)),
        ),
    )
    return Result(tables=(table,), places=tuple(dict.fromkeys(places)))


async def _round(count: int) -> tuple[Round, str]:
    tell(f"refunds: {count} against many payments, {count} against one")
    with tempfile.TemporaryDirectory(prefix="recoup-bench-") as name:
        folder = Path(name)
        async with a_database() as recorded, a_database() as url:
            env = environment(folder, recorded)
            await _record(env, folder, count)
            http_many, http_one = await _through_http(folder, url, count)
            await _replay(url, folder / "raw-setup.jsonl", 1)
            raw_many = count / await _replay(url, folder / "raw-many.jsonl", DATABASE_CONNECTIONS)
            raw_one = count / await _replay(url, folder / "raw-one.jsonl", DATABASE_CONNECTIONS)
            return Round(http_many, raw_many, http_one, raw_one), await postgres_place(url)


def body(payment_id: UUID, index: int) -> dict[str, Any]:
    """Return one request as a support tool sends it."""
    return {
        "payment_id": str(payment_id),
        "amount_minor": 100 + index % 100,
        "currency": "EUR",
        "reason": "requested_by_customer",
    }


async def _pay(service: Service, name: str) -> UUID:
    """Report a payment that was collected, and return its id."""
    report = CaptureReport(
        merchant_id="default",
        reference=name,
        customer=Customer(ref=f"cus-{name}", country="DE"),
        amount_minor=AMOUNT_MINOR,
        currency="EUR",
        gateway="sandbox",
        gateway_ref=f"sbx_reported_{name.replace('-', '_')}",
        method=Method.CARD,
        captured_at=datetime.now(UTC),
    )
    return (await report_captured(service.context, report, "key:bench", None, None)).payment.id


async def _record(env: Mapping[str, str], folder: Path, count: int) -> None:
    """Ask in a database of its own and keep the statements: of the payments, of refunds of many, and of one."""
    service = await build_service(settings_from(env, folder)).open()
    said: list[Statement] = []

    def note(query: Any) -> None:
        if not query.query.startswith(("BEGIN", "COMMIT")):
            said.append(Statement(query.query, tuple(packed(value) for value in query.args)))

    try:
        async with service.database.connection() as connection:
            connection.add_query_logger(note)  # the pool hands the same connection out again: only one is ever in use
        with (folder / "raw-setup.jsonl").open("wb") as setup:
            paid = []
            for index in range(count + 1):
                said.clear()
                paid.append(await _pay(service, f"raw-{_word(index)}"))
                setup.write(msgspec.json.encode(said) + b"\n")
        for name, targets in (("many", paid[:count]), ("one", paid[count:] * count)):
            with (folder / f"raw-{name}.jsonl").open("wb") as lines:
                for index, payment_id in enumerate(targets):
                    said.clear()
                    await _ask(service, name, payment_id, index)
                    assert said, "the recorder's connection was not the flow's"
                    lines.write(msgspec.json.encode(said) + b"\n")
    finally:
        await service.close()


async def _ask(service: Service, name: str, payment_id: UUID, index: int) -> None:
    sent_body = msgspec.json.encode(body(payment_id, index))
    call = Call(f"key-raw-{name}-{index}", sent_body)
    by = By(merchant_id="default", actor="key:bench", principal="bench", correlation_id=f"bench-{index}", call=call)
    await request_refund(service.context, msgspec.json.decode(sent_body, type=RefundAsk), by)


async def _through_http(folder: Path, url: str, count: int) -> tuple[float, float]:
    port = free_port()
    env = environment(folder, url, RECOUP_API_PORT=str(port))
    service = await build_service(settings_from(env, folder)).open()
    key = await mint_key(service.database, "default", "bench", [Role.AGENT], service.clock.now(), actor="bench")
    paid = [await _pay(service, f"http-{_word(index)}") for index in range(count + WARM_UP + 1)]
    await service.close()
    env["RECOUP_BENCH_KEY"] = key.secret
    with ExitStack() as stack:
        stack.enter_context(processes([(*RECOUP, "api")], env, folder))
        await until(lambda: asyncio.to_thread(answers, port), START_TIMEOUT_S)
        await _send(env, port, folder, "warm", paid[count + 1 :])
        await analyze(url)
        many = count / await _send(env, port, folder, "many", paid[:count])
        one = count / await _send(env, port, folder, "one", paid[count : count + 1] * count)
        return many, one


async def _send(env: Mapping[str, str], port: int, folder: Path, name: str, targets: list[UUID]) -> float:
    lines = folder / f"{name}.jsonl"
    with lines.open("wb") as file:
        for index, payment_id in enumerate(targets):
            file.write(msgspec.json.encode([f"key-{name}-{index}", body(payment_id, index)]) + b"\n")
    return await sent(["127.0.0.1", str(port), PATH, str(CLIENT_CONNECTIONS), str(lines)], env)


async def _replay(url: str, lines: Path, connections: int) -> float:
    return float(await program("raw.py", [url, str(connections), str(lines)], os.environ))


def _word(index: int) -> str:
    """A number in letters: a reference with a long run of digits may look like a card number."""
    return "".join(chr(ord("a") + int(digit)) for digit in str(index))
