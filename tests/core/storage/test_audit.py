"""Promise 10: events are sealed in commit order, and whatever is altered by hand is named."""

import asyncio
from datetime import timedelta
from typing import Any

import asyncpg
import pytest

from recoup_core.storage import audit
from recoup_core.storage.audit import UNSEALED_AGE, seal_events, verify_audit
from recoup_core.storage.engine import Database

WRITERS, EVENTS_EACH = 6, 15
INSERT = (
    "INSERT INTO event (at, merchant_id, kind, actor, data)"
    " VALUES ('2026-11-23 09:00+00', 'default', 'step.planned', 'policy', '{}') RETURNING id"
)


async def sealed_ids(shelf: Any) -> list[int]:
    """The events in the chain, in its order."""
    return [each for row in await shelf.rows("SELECT event_ids FROM event_seal ORDER BY number") for each in row[0]]


async def commit_order(shelf: Any) -> list[int]:
    return [row[0] for row in await shelf.rows("SELECT id FROM event ORDER BY txid, id")]


@pytest.fixture
async def chain(shelf: Any, records: Any) -> Any:
    """Three seals over five events; returns the ids of the events."""
    for count in (2, 1, 2):
        await shelf.write(*(records.event(note=n) for n in range(count)))
        await shelf.seal(count)
    return await sealed_ids(shelf)


async def test_events_are_sealed_in_the_order_of_their_transactions(shelf: Any, records: Any, chain: Any) -> None:
    """Each event once; the chain holds; sealing again finds nothing to do."""
    assert chain == await commit_order(shelf)
    assert await seal_events(shelf.database, records.now) == 0

    verified = await verify_audit(shelf.database, records.now)

    assert (verified.seals, verified.events, verified.fault) == (3, 5, None)


async def test_an_open_transaction_holds_back_its_own_and_later_events(
    shelf: Any, records: Any, database_url: str
) -> None:
    """What could still slip in between is waited for; once it has ended, nothing is missing or out of order."""
    slow = await asyncpg.connect(database_url)
    transaction = slow.transaction()
    await shelf.write(records.event(note="before"))
    await transaction.start()
    await slow.fetchval(INSERT)
    await shelf.write(records.event(note="after"))

    while_open = await shelf.seal(1)
    while_open += await seal_events(shelf.database, records.now)
    fault_while_open = (await verify_audit(shelf.database, records.now)).fault
    await transaction.commit()
    await slow.close()
    afterwards = await shelf.seal(2)

    assert (while_open, afterwards) == (1, 2)
    assert fault_while_open is None
    assert await sealed_ids(shelf) == await commit_order(shelf)
    assert (await verify_audit(shelf.database, records.now)).fault is None


async def test_what_was_rolled_back_leaves_no_gap(shelf: Any, records: Any, database_url: str) -> None:
    """Numbers may be missing from the events; the chain doesn't mind."""
    slow = await asyncpg.connect(database_url)
    transaction = slow.transaction()
    await transaction.start()
    await slow.fetchval(INSERT)
    await shelf.write(records.event())
    await transaction.rollback()
    await slow.close()

    assert await shelf.seal(1) == 1
    assert (await verify_audit(shelf.database, records.now)).fault is None


async def test_many_writers_and_sealers_make_one_chain(shelf: Any, records: Any, database_url: str) -> None:
    """Everybody writes and seals at once: every event is sealed exactly once, in commit order."""
    databases = [Database(database_url, pool_max=2) for _ in range(2)]
    for each in databases:
        await each.open()
    writing = asyncio.Event()

    async def write() -> None:
        for n in range(EVENTS_EACH):
            await shelf.write(*(records.event(n=n) for _ in range(1 + n % 3)))

    async def seal(database: Database) -> None:
        while not writing.is_set():
            await seal_events(database, records.now)
            await asyncio.sleep(0)

    sealers = [asyncio.create_task(seal(each)) for each in databases]
    await asyncio.gather(*(write() for _ in range(WRITERS)))
    writing.set()
    await asyncio.gather(*sealers)
    for each in databases:
        await each.close()
    await shelf.seal(WRITERS * EVENTS_EACH * 2 - len(await sealed_ids(shelf)))

    assert await sealed_ids(shelf) == await commit_order(shelf)
    verified = await verify_audit(shelf.database, records.now)
    assert (verified.events, verified.fault) == (WRITERS * EVENTS_EACH * 2, None)


FORGERIES = {
    "altered data": ("UPDATE event SET data = '{\"note\": 7}' WHERE id = {third}", "event {third} was altered"),
    "altered actor": ("UPDATE event SET actor = 'nobody' WHERE id = {third}", "event {third} was altered"),
    "altered time": ("UPDATE event SET at = at + interval '1 us' WHERE id = {third}", "event {third} was altered"),
    "altered merchant": ("UPDATE event SET merchant_id = 'other' WHERE id = {third}", "event {third} was altered"),
    "deleted event": ("DELETE FROM event WHERE id = {third}", "event {third} is gone"),
    "missing seal": ("DELETE FROM event_seal WHERE number = 2", "seal 2 is missing"),
    "missing first seal": ("DELETE FROM event_seal WHERE number = 1", "seal 1 is missing"),
    "altered hash": ("UPDATE event_seal SET hash = sha256('x') WHERE number = 2", "seal 2 was altered"),
    "altered predecessor": ("UPDATE event_seal SET previous = sha256('x') WHERE number = 3", "seal 3 was altered"),
    "altered digest": (
        "UPDATE event_seal SET digests = ARRAY[sha256('x')] WHERE number = 2",
        "event {third} was altered",
    ),
    "altered event with its digest": (
        "UPDATE event SET actor = 'nobody' WHERE id = {third};"
        " UPDATE event_seal SET digests = ARRAY[(SELECT event_digest(e) FROM event e WHERE id = {third})]"
        " WHERE number = 2",
        "seal 2 was altered",
    ),
    "altered event with its digest and hash": (
        "UPDATE event SET actor = 'nobody' WHERE id = {third};"
        " UPDATE event_seal SET digests = ARRAY[(SELECT event_digest(e) FROM event e WHERE id = {third})]"
        " WHERE number = 2;"
        " UPDATE event_seal SET hash = sha256(previous || digests[1]) WHERE number = 2",
        "seal 3 was altered",
    ),
    "event slipped in": (
        "INSERT INTO event (txid, at, merchant_id, kind, actor, data)"
        " SELECT txid, at, merchant_id, kind, 'forger', '{}' FROM event WHERE id = {third}",
        "event {new} was slipped in behind the chain",
    ),
}


@pytest.mark.parametrize("forgery", FORGERIES)
async def test_a_forgery_is_named(shelf: Any, records: Any, chain: Any, forgery: str) -> None:
    """Somebody with all rights switches the triggers off; the first thing that doesn't fit is told."""
    statement, told = FORGERIES[forgery]
    assert (await verify_audit(shelf.database, records.now)).fault is None

    await shelf.by_hand(*(each.replace("{third}", str(chain[2])) for each in statement.split(";")))

    fault = (await verify_audit(shelf.database, records.now)).fault
    newest = await shelf.one("SELECT max(id) FROM event")
    assert fault is not None
    assert fault.message.startswith(told.replace("{third}", str(chain[2])).replace("{new}", str(newest)))


async def test_a_slipped_in_event_is_named_though_another_was_taken_out(shelf: Any, records: Any, chain: Any) -> None:
    """Replacing one by another doesn't fool the count."""
    await shelf.by_hand(
        "INSERT INTO event (txid, at, merchant_id, kind, actor, data)"
        f" SELECT txid, at, merchant_id, kind, 'forger', '{{}}' FROM event WHERE id = {chain[2]}",
        f"DELETE FROM event WHERE id = {chain[2]}",
    )

    fault = (await verify_audit(shelf.database, records.now)).fault

    assert fault is not None
    assert fault.event_id == chain[2]


async def test_the_end_of_the_chain_can_not_be_cut_off_unseen_for_long(shelf: Any, records: Any, chain: Any) -> None:
    """Without its last seal the events it held are unsealed, and old."""
    await shelf.by_hand("DELETE FROM event_seal WHERE number = 3")

    now = records.now + UNSEALED_AGE + timedelta(seconds=1)
    fault = (await verify_audit(shelf.database, now)).fault

    assert fault is not None
    assert fault.event_id == chain[3]
    assert "has not been sealed" in fault.message


async def test_sealing_that_stands_still_is_told(shelf: Any, records: Any) -> None:
    """A young unsealed event is normal, an old one is a fault."""
    await shelf.write(records.event())

    young = await verify_audit(shelf.database, records.now + UNSEALED_AGE)
    old = await verify_audit(shelf.database, records.now + UNSEALED_AGE + timedelta(seconds=1))

    assert young.fault is None
    assert old.fault is not None


async def test_one_sweep_seals_batch_after_batch(shelf: Any, records: Any) -> None:
    """More than one batch waits after an outage: all of it is sealed, each seal within its limit."""
    await shelf.write(*(records.event(n=n) for n in range(audit.SEAL_BATCH + 5)))

    sealed = await shelf.seal(audit.SEAL_BATCH + 5)

    sizes = [row[0] for row in await shelf.rows("SELECT cardinality(event_ids) FROM event_seal ORDER BY number")]
    assert sealed == audit.SEAL_BATCH + 5
    assert sizes == [audit.SEAL_BATCH, 5]
    assert (await verify_audit(shelf.database, records.now)).fault is None


@pytest.mark.parametrize("zone", ["UTC", "America/New_York", "Asia/Kolkata"])
async def test_a_digest_does_not_depend_on_the_session(shelf: Any, records: Any, chain: Any, zone: str) -> None:
    """Whoever verifies, with whatever time zone or output style, gets the same digests."""
    async with shelf.database.transaction() as connection:
        await connection.execute(f"SET LOCAL timezone = '{zone}'")
        await connection.execute("SET LOCAL datestyle = 'German'")
        await connection.execute("SET LOCAL extra_float_digits = 0")
        found = await connection.fetch(
            "SELECT event_digest(e) AS now, s.digest AS then FROM event e JOIN"
            " (SELECT unnest(event_ids) AS id, unnest(digests) AS digest FROM event_seal) s ON s.id = e.id"
        )

    assert len(found) == len(chain)
    assert all(row["now"] == row["then"] for row in found)
