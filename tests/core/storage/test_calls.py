"""Idempotent calls: the same call gets the same answer, a key used for another request is refused."""

from datetime import timedelta
from typing import Any

import pytest

from recoup_core.storage.calls import Call, IdempotencyKeyReused, forget_before, recall, remember

CALL = Call("key-1", b'POST /payments {"a":1}')


async def test_the_same_call_gets_its_first_answer(shelf: Any, records: Any) -> None:
    """Byte for byte, as often as it is asked."""
    answer = '{"id":"ü","text":"a \\"quote\\""}'.encode()
    await shelf.write(remember(CALL, "default", answer, records.now, 202))

    async with shelf.database.connection() as connection:
        assert [await recall(connection, "default", CALL) for _ in range(2)] == [answer, answer]
        assert await recall(connection, "default", Call("key-2", CALL.request)) is None


async def test_a_key_with_another_request_is_refused(shelf: Any, records: Any) -> None:
    """One byte more is another request."""
    await shelf.write(remember(CALL, "default", b"{}", records.now))

    async with shelf.database.connection() as connection:
        with pytest.raises(IdempotencyKeyReused):
            await recall(connection, "default", Call("key-1", CALL.request + b" "))


async def test_merchants_do_not_share_keys(shelf: Any, records: Any) -> None:
    """Two merchants may choose the same key, each sees its own answer only."""
    await shelf.write(remember(CALL, "default", b"mine", records.now))

    async with shelf.database.connection() as connection:
        assert await recall(connection, "other", CALL) is None
    await shelf.write(remember(CALL, "other", b"theirs", records.now))
    async with shelf.database.connection() as connection:
        assert await recall(connection, "default", CALL) == b"mine"
        assert await recall(connection, "other", CALL) == b"theirs"


async def test_old_answers_are_forgotten_a_batch_at_a_time(shelf: Any, records: Any) -> None:
    """Only those before the moment, and no more than the limit."""
    ages = [timedelta(days=31), timedelta(days=31), timedelta(days=31), timedelta(days=29)]
    rows = [remember(Call(f"key-{n}", b"x"), "default", b"{}", records.now - age) for n, age in enumerate(ages)]
    await shelf.write(*rows)
    before = records.now - timedelta(days=30)

    async with shelf.database.connection() as connection:
        gone = [await forget_before(connection, before, 2) for _ in range(3)]

    assert gone == [2, 1, 0]
    assert [r[0] for r in await shelf.rows("SELECT key FROM idempotent_call")] == ["key-3"]
