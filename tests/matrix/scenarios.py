"""The rows of the matrix: what is played before every gateway, and what both sides must say in the end."""

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from datetime import timedelta
from typing import Final
from uuid import UUID, uuid4

import msgspec
from tests.matrix.provider import Behaviour, Trouble
from tests.matrix.shop import OWED, Shop

from recoup_core.domain.payment import Method
from recoup_core.domain.refund import RefundState
from recoup_core.flows.guard import charge_guarded
from recoup_core.ports import ChargeRequest, Declined, Succeeded
from recoup_plugins import Money
from recoup_plugins.conformance import SignedWebhook

Play = Callable[[Shop], Awaitable[None]]

SEED: Final = 2026
MINUTE: Final = timedelta(minutes=1)


class Scenario(msgspec.Struct, frozen=True):
    """One row."""

    name: str
    ends: str
    """What both sides say in the end, in the document's words."""
    play: Play


async def approve(shop: Shop) -> None:
    await shop.expect_collected(await shop.paid(), tries=1)


def declined(family: Behaviour, *, again: bool) -> Play:
    """Return the play of a decline: tried again and collected, or left to the customer after one try."""

    async def play(shop: Shop) -> None:
        payment_id = await shop.fails(family, Behaviour.APPROVE)
        await shop.live(timedelta(days=20))
        if again:
            await shop.expect_collected(payment_id, tries=2)
        else:
            await shop.expect_not_collected(payment_id, tries=1)

    return play


def troubled(trouble: Trouble, lasts: timedelta) -> Play:
    """Return the play of a try that meets trouble on the line for so long; the debt is collected once all the same."""

    async def play(shop: Shop) -> None:
        shop.post = _lost  # no webhook helps: look-ups or the same key have to find out
        payment_id = await shop.fails(Behaviour.APPROVE)
        await shop.live(timedelta(days=1) - MINUTE)
        shop.provider.trouble(trouble)
        await shop.live(MINUTE + lasts)
        shop.provider.trouble(Trouble.NONE)
        await shop.live()
        if shop.provider.method is Method.CARD:
            await shop.expect_collected(payment_id, tries=1)

        shop.post = list
        await shop.deliver_all_again()
        await shop.live()
        await shop.expect_collected(payment_id, tries=1)

    return play


async def duplicate_webhooks(shop: Shop) -> None:
    shop.post = lambda told: [each for each in told for _ in range(3)]
    payment_id = await shop.fails(Behaviour.INSUFFICIENT_FUNDS, Behaviour.APPROVE)
    await shop.live(timedelta(days=20))
    await shop.deliver_all_again()
    await shop.expect_collected(payment_id, tries=2)


async def shuffled_webhooks(shop: Shop) -> None:
    shop.post = _lost
    payment_id = await shop.fails(Behaviour.INSUFFICIENT_FUNDS, Behaviour.APPROVE)
    await shop.live(timedelta(days=20))
    shop.post = _shuffled
    await shop.deliver_all_again()
    await shop.live()
    await shop.expect_collected(payment_id, tries=2)


def _lost(told: Sequence[SignedWebhook]) -> Sequence[SignedWebhook]:
    return []


def _shuffled(told: Sequence[SignedWebhook]) -> Sequence[SignedWebhook]:
    return random.Random(SEED).sample(list(told) * 2, 2 * len(told))


async def refund_then_failure(shop: Shop) -> None:
    payment_id = await shop.paid()
    reference = (await shop.file(payment_id)).payment.reference
    refund = (await shop.refund(payment_id)).refund
    await shop.live()
    assert await shop.refund_state(refund.id) is RefundState.SUCCEEDED
    assert shop.provider.returned(reference) == OWED

    shop.provider.fail_refunds(reference)
    await shop.live()

    assert await shop.refund_state(refund.id) is RefundState.FAILED
    assert shop.provider.returned(reference) == 0
    assert (await shop.account(payment_id)).captures[0].free_minor == OWED
    await shop.expect_books()


async def dispute_then_refund(shop: Shop) -> None:
    payment_id = await shop.paid()
    reference = (await shop.file(payment_id)).payment.reference
    shop.provider.open_dispute(reference)
    await shop.live(timedelta(hours=1))

    refused = await _refused_or_denied(shop, payment_id)
    await shop.live()

    assert refused
    assert shop.provider.returned(reference) == 0
    [capture] = (await shop.account(payment_id)).captures
    assert (capture.disputed_minor, capture.held_minor) == (OWED, 0)
    await shop.expect_books()


async def _refused_or_denied(shop: Shop, payment_id: UUID) -> bool:
    """Money under dispute is not left: the request does not even fit."""
    try:
        asked = await shop.refund(payment_id)
    except Exception as refusal:
        return getattr(refusal, "code", "") == "refund_exceeds_refundable"
    return asked.refund.state is RefundState.DENIED


async def key_reuse(shop: Shop) -> None:
    """Ask the gateway itself, past the flows, which never do this: the same key with another amount."""
    token, customer = shop.provider.credential(Behaviour.APPROVE)
    attempt_id = uuid4()
    first = ChargeRequest(
        idempotency_key=f"recoup-{attempt_id}",
        attempt_id=attempt_id,
        payment_reference="inv-reused",
        amount=Money(OWED, "EUR"),
        method=shop.provider.method,
        token=token,
        gateway_customer=customer,
        first_sent_at=shop.clock.now(),
    )
    await charge_guarded(shop.provider.gateway, first)
    await asyncio.sleep(0)
    answer = await charge_guarded(shop.provider.gateway, msgspec.structs.replace(first, amount=Money(2 * OWED, "EUR")))

    shop.provider.settle()
    assert shop.provider.collected("inv-reused") == OWED
    assert shop.provider.tries("inv-reused") == 1
    assert not isinstance(answer, Declined), "the first charge stands: that is no decline"
    assert not (isinstance(answer, Succeeded) and answer.amount.amount_minor != OWED)


SCENARIOS: Final = (
    Scenario("approve", "collected by one try", approve),
    Scenario(
        "declined: insufficient funds",
        "tried again a day later, collected by the second try",
        declined(Behaviour.INSUFFICIENT_FUNDS, again=True),
    ),
    Scenario(
        "declined: processing error",
        "tried again a day later, collected by the second try",
        declined(Behaviour.PROCESSING_ERROR, again=True),
    ),
    Scenario(
        "declined: expired or closed",
        "one try; nothing more without the customer",
        declined(Behaviour.EXPIRED, again=False),
    ),
    Scenario("declined: do not try again", "one try, and never again", declined(Behaviour.DO_NOT_RETRY, again=False)),
    Scenario(
        "declined: a code nobody knows",
        "one try; nothing more unattended",
        declined(Behaviour.UNKNOWN_CODE, again=False),
    ),
    Scenario(
        "authentication needed",
        "one try; nothing more without the customer",
        declined(Behaviour.AUTHENTICATION, again=False),
    ),
    Scenario("answer lost", "collected once, by one key", troubled(Trouble.LOST_ANSWER, timedelta(hours=2))),
    Scenario("time-out after success", "collected once, by one key", troubled(Trouble.SLOW_ANSWER, timedelta(hours=2))),
    Scenario("provider down for an hour", "collected once, by one key", troubled(Trouble.DOWN, timedelta(hours=1))),
    Scenario("provider answers HTML", "collected once, by one key", troubled(Trouble.HTML, timedelta(hours=1))),
    Scenario("duplicate webhooks", "each counted once", duplicate_webhooks),
    Scenario("shuffled webhooks", "the same end as in order", shuffled_webhooks),
    Scenario("refund, then its failure", "the refund failed, the money is refundable again", refund_then_failure),
    Scenario("dispute, then refund", "the refund is refused, nothing goes back twice", dispute_then_refund),
    Scenario("key used with another body", "the first charge stands alone", key_reuse),
)
