"""Adyen's own ways, through every flow: no look-up, its own retries, and bank debits that come back as chargebacks."""

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from datetime import timedelta
from typing import Any

import pytest
from tests.matrix.adyen_provider import AdyenProvider
from tests.matrix.provider import Behaviour
from tests.matrix.shop import OWED, Shop
from tests.plugins.fake_adyen import FakeAdyen

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.happened import TaskKind
from recoup_core.domain.payment import Method, PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_plugins.gateways.adyen import KEY_LIFETIME

Open = Callable[..., Awaitable[tuple[Shop, FakeAdyen]]]


class DebitProvider(AdyenProvider):
    method = Method.SEPA_DEBIT


@pytest.fixture
async def shop_at(database_url: str, clock: Any) -> AsyncIterator[Open]:
    """`await shop_at(provider)` opens a merchant before our Adyen."""
    async with AsyncExitStack() as stack:

        async def at(kind: type[AdyenProvider] = AdyenProvider) -> tuple[Shop, FakeAdyen]:
            provider = kind(clock)
            stack.callback(provider.close)
            shop = Shop(provider, database_url, clock)
            await shop.service.open()
            stack.push_async_callback(shop.service.close)
            return shop, provider._fake

        yield at


async def test_an_answer_that_stays_lost_is_asked_for_while_the_key_lives_and_then_left_to_a_person(
    shop_at: Open,
) -> None:
    """No look-up exists: the same key goes again for days, never after its lifetime, and never a second payment."""
    shop, adyen = await shop_at()
    shop.post = lambda webhooks: []  # none arrives
    adyen.mode = "lose"
    payment_id = await shop.fails(Behaviour.APPROVE)

    await shop.live(KEY_LIFETIME + timedelta(days=3))

    file = await shop.file(payment_id)
    (attempt,) = [one for one in file.attempts if one.idempotency_key]
    sent = [post for post in adyen.posts if post["key"] == attempt.idempotency_key]
    assert attempt.state is AttemptState.UNKNOWN
    assert [task.kind for task in file.open_tasks] == [TaskKind.UNKNOWN_OUTCOME]
    assert len(sent) == len(adyen.posts) > 1
    assert adyen.moved(file.payment.reference) == [(OWED, "EUR")]


async def test_the_webhook_ends_what_no_answer_told(shop_at: Open) -> None:
    """It names our attempt by the reference that Adyen signs."""
    shop, adyen = await shop_at()
    adyen.mode = "lose"

    payment_id = await shop.fails(Behaviour.APPROVE)
    await shop.live()

    await shop.expect_collected(payment_id, tries=1)


async def test_a_payment_that_adyen_takes_over_rests_and_is_counted_once(shop_at: Open) -> None:
    """Auto Rescue is on and nobody said so: our retries stop, a person is asked, and Adyen's success ends the case."""
    shop, adyen = await shop_at()
    adyen.auto_rescue = True
    payment_id = await shop.fails(Behaviour.INSUFFICIENT_FUNDS)

    await shop.live(timedelta(days=5))
    resting = await shop.file(payment_id)
    (psp,) = adyen.payments
    adyen.rescue(psp, success=True)
    await shop.live(timedelta(hours=1))

    assert resting.case.state is CaseState.PAUSED
    assert TaskKind.TWO_OWNERS in {task.kind for task in resting.open_tasks}
    assert [post["path"] for post in adyen.posts] == ["/payments"]
    await shop.expect_collected(payment_id)


async def test_a_debit_that_the_bank_sends_back_is_owed_again(shop_at: Open) -> None:
    """Told as a chargeback, and no dispute: the case goes on with the bank's reason as its latest decline."""
    shop, adyen = await shop_at(DebitProvider)
    payment_id = await shop.fails(Behaviour.APPROVE)
    await shop.live(timedelta(days=2))
    (psp,) = adyen.payments

    adyen.open_dispute(psp, "CHARGEBACK", "AM04")
    await shop.live(timedelta(minutes=1))

    file = await shop.file(payment_id)
    assert file.payment.state is PaymentState.OWED
    assert file.case.state is CaseState.OPEN
    latest = max(file.attempts, key=lambda one: one.number)
    assert latest.decline is not None
    assert latest.decline.category is DeclineCategory.INSUFFICIENT_FUNDS
    await shop.expect_books()


async def test_a_debit_that_the_debtor_contests_is_a_dispute(shop_at: Open) -> None:
    """Nobody collects it again."""
    shop, adyen = await shop_at(DebitProvider)
    payment_id = await shop.fails(Behaviour.APPROVE)
    await shop.live(timedelta(days=2))
    (psp,) = adyen.payments

    adyen.open_dispute(psp, "CHARGEBACK", "MD06")
    await shop.live(timedelta(minutes=1))

    file, account = await shop.file(payment_id), await shop.account(payment_id)
    assert file.payment.state is PaymentState.PAID
    assert [capture.disputed_minor for capture in account.captures] == [OWED]
    await shop.expect_books()
