"""How soon after a commit its events reach the clients of the live stream, and what NOTIFY costs whoever writes."""

import asyncio
import os
import random
import statistics
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
from beside import HERE, analyze, answers, free_port, program
from jobs import RECOUP
from paced import Due, commit
from payments import START_TIMEOUT_S, body
from place import a_database, cpu_s, environment, postgres_place, processes, settings_from, until
from raw import Statement, packed
from report import Result, Table, number, ratio, tell

from recoup_cli.compose import build_service
from recoup_core.flows.recover import open_case
from recoup_core.storage.calls import Call
from recoup_core.storage.listening import CHANNEL
from recoup_core.storage.merchants import Role, mint_key
from recoup_core.wiring import Service
from recoup_server.schemas_in import PaymentIn

MERCHANTS: Final = ("default", "north", "south", "west")
CLIENTS: Final = 5
"""Streams of each merchant."""
WRITERS: Final = 4
CONNECTIONS: Final = 2
"""Of each writer."""
EVENTS_S: Final = 200
SECONDS: Final = 12
BURST_S: Final = 0.1
"""A burst: what is spread over a second otherwise."""
LONG_S: Final = 2.0
WITHIN_S: Final = 1.0
SETTLE_S: Final = 2.0
REST_S: Final = 4.0
"""How long after the last commit the clients still listen; what has not come by then fails the benchmark."""
ROUNDS: Final = 6
ROUND: Final = 300
WARM_UP: Final = 100
RAW_CONNECTIONS: Final = 10
PATH: Final = "/api/billing/refund-retry-workflows/events/stream"

Said = tuple[Statement, ...]


class Heard(msgspec.Struct, frozen=True):
    """What one run gave."""

    told: list[tuple[float, float]]
    """Of each event at each client: when it was committed, and how many seconds later it was there."""
    events: int
    api_cpu: float
    """Share of a core that the API process took while the writers wrote."""
    long: tuple[float, float]
    """When the long transaction began and had ended."""


class Recorder:
    """Reports failed payments of several merchants in a database of its own, and keeps the statements of each."""

    def __init__(self, service: Service) -> None:
        self._service = service
        self._count = 0

    async def take(self, count: int) -> list[Said]:
        """Return the next transactions; the correlation id of each has its number."""
        said: list[Statement] = []

        def note(query: Any) -> None:
            if not query.query.startswith(("BEGIN", "COMMIT")):
                said.append(Statement(query.query, tuple(packed(value) for value in query.args)))

        async with self._service.database.connection() as connection:
            connection.add_query_logger(note)  # the pool hands the same connection out again: only one is ever in use
        taken = []
        for _ in range(count):
            said.clear()
            await self._report(self._count)
            assert said, "the recorder's connection was not the flow's"
            taken.append(tuple(said))
            self._count += 1
        async with self._service.database.connection() as connection:
            connection.remove_query_logger(note)
        return taken

    async def _report(self, index: int) -> None:
        merchant = MERCHANTS[index % len(MERCHANTS)]
        told = body("stream", index)
        told |= {"gateway": merchant, "credentials": [one | {"gateway": merchant} for one in told["credentials"]]}
        sent = msgspec.json.encode(told)
        report = msgspec.json.decode(sent, type=PaymentIn).report(merchant)
        await open_case(self._service.context, report, "key:bench", f"bench-{index}", Call(f"key-{index}", sent))


def run(*, quick: bool) -> Result:
    """Measure delays, evenly and in bursts beside a long transaction; then writers with the trigger and without."""
    return asyncio.run(_run(5 if quick else SECONDS, 2 if quick else ROUNDS))


async def _run(seconds: int, rounds: int) -> Result:
    with tempfile.TemporaryDirectory(prefix="recoup-bench-") as name:
        folder = Path(name)
        async with a_database() as recorded, a_database() as url, a_database() as told, a_database() as silent:
            tell("stream: recording transactions")
            async with _service(_environment(folder, recorded), folder) as service:
                recorder = Recorder(service)
                costly = await recorder.take(WARM_UP + rounds * ROUND)
                each = await _one(recorded, "SELECT count(*) FROM event WHERE correlation_id LIKE 'bench-%'")
                count = round(seconds * EVENTS_S * len(costly) / each)
                even, bursts = await recorder.take(count), await recorder.take(count)
            spread = random.Random(7)
            at_even = sorted(spread.uniform(0, seconds) for _ in even)
            at_bursts = sorted(spread.randrange(seconds) + spread.uniform(0, BURST_S) for _ in bursts)
            runs = await _streamed(folder, url, (_plan("even", even, at_even), _plan("burst", bursts, at_bursts)))
            cost = await _cost(folder, told, silent, costly, rounds)
            place = await postgres_place(url)
    return Result(tables=(_delays(runs[0], runs[1], seconds, each / len(costly)), _costs(cost)), places=(place,))


def _delays(even: Heard, bursts: Heard, seconds: int, events_each: float) -> Table:
    began, ended = bursts.long
    beside = [delay for at, delay in bursts.told if began <= at <= ended]
    others = [delay for at, delay in bursts.told if not began <= at <= ended]
    return Table(
        title="From commit to client on the live stream",
        method=(
            f"`GET {PATH}` at one `recoup api` process (default settings), {len(MERCHANTS)} merchants with {CLIENTS}"
            f" streams each, all held by one httpx process. {WRITERS} writer processes with {CONNECTIONS} connections"
            f" each commit the very transactions of reported failures ({events_each:.1f} events each, recorded from the"
            f" flow, sent by asyncpg), together {EVENTS_S} events/s for {seconds} s. *Even*: at random moments."
            f" *Bursts*: each second's within {BURST_S:g} s, and once a transaction that writes its events and commits"
            f" {LONG_S:g} s later; nothing written after its events began can be told before it ends, as events come in"
            " the order of commits. Delay: from the moment at which COMMIT had returned at the writer to that at which"
            " the client had the whole event, same clock, every event at every client. Each client was checked to have"
            " every event of its merchant once, in order."
        ),
        head=("run", "events", "delays", "p50 ms", "p95 ms", "p99 ms", "max ms", f"within {WITHIN_S:g} s"),
        rows=(
            _row("even", f"{even.events:,}", [delay for _, delay in even.told]),
            _row("bursts and a long transaction", f"{bursts.events:,}", beside + others),
            _row("- committed while it was open", "", beside),
            _row("- all others", "", others),
        ),
        notes=(f"CPU of the API process, of one core: even {even.api_cpu:.0%}, bursts {bursts.api_cpu:.0%}.",),
    )


def _row(name: str, events: str, delays: list[float]) -> tuple[str, ...]:
    delays = sorted(delays)
    places = [delays[min(len(delays) - 1, int(len(delays) * part))] * 1000 for part in (0.5, 0.95, 0.99, 1.0)]
    within = sum(delay <= WITHIN_S for delay in delays) / len(delays)
    return (name, events, f"{len(delays):,}", *(number(value) for value in places), f"{within:.2%}")


def _costs(cost: Sequence[tuple[float, float]]) -> Table:
    with_it, without = (statistics.median(rates) for rates in zip(*cost, strict=True))
    shares = [told / silent for told, silent in cost]
    return Table(
        title="What waking readers costs writers",
        method=(
            f"The same transactions as fast as {RAW_CONNECTIONS} connections of one process take them, into two"
            " databases with a listener each: one as it is migrated, one whose trigger that notifies was dropped."
            f" {len(cost)} rounds of {ROUND} transactions each, in turns, after {WARM_UP} that don't count; median."
        ),
        head=("database", "transactions/s", "of without", "of without, by round"),
        rows=(
            (
                "with the trigger",
                number(with_it),
                ratio(with_it, without),
                ", ".join(f"{share:.2f}" for share in shares),
            ),
            ("without", number(without), ratio(without, without), ""),
        ),
    )


def _plan(name: str, said: Sequence[Said], moments: Sequence[float]) -> tuple[str, list[Due]]:
    return name, [Due(at, one) for at, one in zip(moments, said, strict=True)]


async def _streamed(folder: Path, url: str, plans: Sequence[tuple[str, list[Due]]]) -> list[Heard]:
    """Run each plan against one API process; in the last, a transaction of it stays open for long."""
    port = free_port()
    env = _environment(folder, url, RECOUP_API_PORT=str(port))
    async with _service(env, folder) as service:
        now, database = service.clock.now(), service.database
        keys = [(await mint_key(database, one, "bench", [Role.AGENT], now, actor="bench")).secret for one in MERCHANTS]
    env["RECOUP_BENCH_KEYS"] = msgspec.json.encode(keys).decode()
    with ExitStack() as stack:
        (pid,) = stack.enter_context(processes([(*RECOUP, "api")], env, folder))
        await until(lambda: asyncio.to_thread(answers, port), START_TIMEOUT_S)
        heard = []
        for name, plan in plans:
            tell(f"stream: {name}")
            heard.append(await _heard(folder, url, port, env, pid, plan, long=name == "burst"))
        return heard


async def _heard(
    folder: Path, url: str, port: int, env: Mapping[str, str], pid: int, plan: list[Due], *, long: bool
) -> Heard:
    after = await _one(url, "SELECT coalesce(max(id), 0) FROM event")
    async with _listeners(port, env) as listeners:
        await asyncio.sleep(SETTLE_S)  # a stream begins a moment after its first line
        start, before = time.monotonic() + SETTLE_S, cpu_s(pid)
        middle = plan.pop(len(plan) // 2) if long else None
        writers = [_writer(folder, url, start, index, plan[index::WRITERS]) for index in range(WRITERS)]
        beside = asyncio.create_task(_stay_open(url, start, middle))
        committed = [one for part in await asyncio.gather(*writers) for one in part]
        began, (xid, ended) = await beside
        share = (cpu_s(pid) - before) / (time.monotonic() - start)
        await asyncio.sleep(REST_S)
        out, _ = await listeners.communicate(b"")
    moments = dict(committed) | ({xid: ended} if middle else {})
    told, events = await _checked(url, after, moments, msgspec.json.decode(out, type=list[list[tuple[int, float]]]))
    return Heard(told, events, share, (began, ended))


async def _writer(folder: Path, url: str, start: float, index: int, part: list[Due]) -> list[tuple[str, float]]:
    lines = folder / f"paced-{index}.jsonl"
    lines.write_bytes(b"\n".join(msgspec.json.encode(due) for due in part))
    out = await program("paced.py", [url, str(CONNECTIONS), str(start), str(lines)], os.environ)
    return msgspec.json.decode(out, type=list[tuple[str, float]])


async def _stay_open(url: str, start: float, due: Due | None) -> tuple[float, tuple[str, float]]:
    if due is None:
        return 0.0, ("", 0.0)
    await asyncio.sleep(max(0.0, start + due.at_s - time.monotonic()))
    connection = await asyncpg.connect(url)
    began = time.monotonic()
    done = await commit(connection, due, LONG_S)
    await connection.close()
    return began, done


async def _checked(
    url: str, after: int, moments: Mapping[str, float], heard: Sequence[Sequence[tuple[int, float]]]
) -> tuple[list[tuple[float, float]], int]:
    """Return commit and delay of all that was heard, if every client has all of its merchant, once and in order."""
    connection = await asyncpg.connect(url)
    rows = await connection.fetch(
        "SELECT id, merchant_id, txid::text AS txid FROM event WHERE id > $1 ORDER BY event.txid, id", after
    )
    await connection.close()
    told = []
    for index, client in enumerate(heard):
        merchant = MERCHANTS[index // CLIENTS]
        mine = [row for row in rows if row["merchant_id"] == merchant]
        if [row["id"] for row in mine] != [event_id for event_id, _ in client]:
            raise AssertionError(f"client {index} has {len(client)} events of {len(mine)}, or not in order")
        for row, (_, at) in zip(mine, client, strict=True):
            told.append((moments[row["txid"]], at - moments[row["txid"]]))
    return told, len(rows)


@asynccontextmanager
async def _listeners(port: int, env: Mapping[str, str]) -> AsyncIterator[asyncio.subprocess.Process]:
    command = (sys.executable, str(HERE / "hearing.py"), f"http://127.0.0.1:{port}{PATH}", str(CLIENTS))
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(*command, env=dict(env), stdin=pipe, stdout=pipe)
    assert process.stdout is not None
    try:
        if not await process.stdout.readline():
            raise AssertionError("the clients could not open their streams")
        yield process
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


async def _cost(folder: Path, told: str, silent: str, said: Sequence[Said], rounds: int) -> list[tuple[float, float]]:
    """Return transactions a second with the trigger and without, by round."""
    tell("stream: writers with the trigger and without")
    for url in (told, silent):
        async with _service(_environment(folder, url), folder):
            pass
    await _do(silent, "DROP TRIGGER event_told ON event")
    listeners = [await asyncpg.connect(url) for url in (told, silent)]
    for listener in listeners:
        await listener.add_listener(CHANNEL, lambda *_: None)
    rates = []
    for index in range(rounds + 1):
        lines = folder / f"cost-{index}.jsonl"
        part = said[WARM_UP + (index - 1) * ROUND :][:ROUND] if index else said[:WARM_UP]
        lines.write_bytes(b"\n".join(msgspec.json.encode(one) for one in part))
        spent = {}
        for url in (told, silent) if index % 2 else (silent, told):
            spent[url] = float(await program("raw.py", [url, str(RAW_CONNECTIONS), str(lines)], os.environ))
        if index:
            rates.append((ROUND / spent[told], ROUND / spent[silent]))
        else:
            await analyze(told)
            await analyze(silent)
    for listener in listeners:
        await listener.close()
    return rates


def _environment(folder: Path, url: str, **more: str) -> dict[str, str]:
    """Return a product process's environment, with a sandbox gateway for each merchant."""
    env = environment(folder, url, **more)
    own = '[[gateways]]\nname = "{0}"\nplugin = "sandbox"\nmerchant = "{0}"\noptions = {{path = "{1}"}}\n'
    with Path(env["RECOUP_CONFIG"]).open("a") as config:
        config.writelines(own.format(merchant, folder / "bank.sqlite") for merchant in MERCHANTS)
    return env


@asynccontextmanager
async def _service(env: Mapping[str, str], folder: Path) -> AsyncIterator[Service]:
    service = await build_service(settings_from(env, folder)).open()
    try:
        yield service
    finally:
        await service.close()


async def _one(url: str, sql: str) -> int:
    connection = await asyncpg.connect(url)
    found = await connection.fetchval(sql)
    await connection.close()
    return int(found)


async def _do(url: str, sql: str) -> None:
    connection = await asyncpg.connect(url)
    await connection.execute(sql)
    await connection.close()
