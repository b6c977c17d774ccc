"""How parts whose answer was lost are found out: one key with growing waits, within its life, sooner where one asks."""

import itertools
from datetime import datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.refund import PartState, RefundState
from recoup_core.flows.outcomes import MAX_SENDS
from recoup_core.flows.refunds.settle import hurry_refund
from recoup_core.flows.settle import HURRY_EVERY, LOOK_AGAIN

LOST = ConnectionResetError("the answer was lost")


@pytest.fixture
def sends(till: Any) -> list[datetime]:
    """When parts left for the bank."""
    times: list[datetime] = []

    async def note(_: Any) -> None:
        times.append(till.clock.now())

    till.bank.before_refund = note
    return times


@pytest.mark.parametrize("finds", [True, False])
async def test_a_key_is_sent_again_with_growing_waits(till: Any, sends: list[datetime], finds: bool) -> None:
    """A bank that is away for hours must not use up all sends within minutes."""
    till.bank.can(finds_refunds=finds)
    till.bank.answers = [LOST] * 50
    refund_id = await till.approved(await till.payment())

    await till.live(timedelta(days=3))

    waits = [later - earlier for earlier, later in itertools.pairwise(sends)]
    assert len(sends) == MAX_SENDS
    assert all(waited >= wait for waited, wait in zip(waits[1:], LOOK_AGAIN, strict=False))
    assert len({request.idempotency_key for request in till.bank.requests}) == 1
    assert (await till.refund(refund_id)).parts[0].state is PartState.UNKNOWN
    assert await till.tasks() == ["refund_unknown"]


@pytest.mark.parametrize("lifetime", [timedelta(hours=4), timedelta(days=7)])
async def test_no_key_is_used_past_its_life(till: Any, sends: list[datetime], lifetime: timedelta) -> None:
    """Each gateway's own, with a margin; then a person is asked."""
    till.bank.can(finds_refunds=False, key_lifetime=lifetime)
    till.bank.answers = [LOST] * 50
    await till.approved(await till.payment())

    await till.live(timedelta(days=9))

    assert sends[-1] - sends[0] < lifetime
    assert await till.tasks() == ["refund_unknown"]


async def test_whoever_reads_an_open_refund_has_it_looked_up(till: Any) -> None:
    """At most once a minute, by its job; a settled one costs nothing."""
    till.bank.answers = [LOST] * 50
    till.bank.found = [LOST] * 100
    refund_id = await till.approved(await till.payment())
    await till.live(timedelta(hours=10))
    parts = (await till.refund(refund_id)).parts
    asked = till.bank.lookups

    for _ in range(3):
        await hurry_refund(till.context, parts)
        await till.run_due()
    assert till.bank.lookups == asked + 1

    till.clock.advance(HURRY_EVERY)
    till.bank.found, till.bank.books = [], {part.idempotency_key: till.bank.requests[0] for part in parts}
    await hurry_refund(till.context, parts)
    await till.run_due()
    file = await till.refund(refund_id)
    assert file.refund.state is RefundState.SUCCEEDED

    jobs = await till.rows("SELECT xmin::text, * FROM job")
    await hurry_refund(till.context, file.parts)
    assert await till.rows("SELECT xmin::text, * FROM job") == jobs
