"""Several messages of one customer at once: in one batch, over several cases, with news between queue and sending."""

import asyncio
from datetime import timedelta

import msgspec
import pytest
from tests.core.flows.conftest import Shop
from tests.core.flows.test_messages import Postbox, failed, pass_time, post, shop, states, tasks

from recoup_core.flows.customers.blocking import unsubscribe
from recoup_core.flows.customers.changing import CustomerChange, change_customer, erase
from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.draft import DUE_STEP
from recoup_core.flows.messages.feedback import apply_feedback
from recoup_core.ports import Accepted, NotAccepted, NotNow, OutgoingMessage
from recoup_core.ports.notifier import Feedback, FeedbackKind

__all__ = ["post", "shop"]


async def test_a_step_that_fails_by_every_channel_at_once_is_put_before_a_person(shop: Shop, post: Postbox) -> None:
    """Mail and text message are refused in one batch: each knows what became of the other, and one task is opened."""
    await failed(shop)
    await pass_time(shop, timedelta(days=2))
    post.answers = lambda message: NotAccepted(reason="no")

    await pass_time(shop, timedelta(days=2))

    assert (await states(shop))[1:] == [("reminder", "email", "failed"), ("reminder", "sms", "failed")]
    assert await tasks(shop) == ["message_undeliverable"]


async def test_while_a_message_waits_for_its_mail_server_no_other_is_written(shop: Shop, post: Postbox) -> None:
    """A second case of the customer's is held back meanwhile, so that the two never leave together."""
    post.answers = lambda message: NotNow(reason="away")
    await failed(shop)
    await pass_time(shop, timedelta(hours=1))
    await failed(shop)
    await pass_time(shop, timedelta(hours=26))
    post.answers = lambda message: Accepted()
    await pass_time(shop, timedelta(hours=40))

    sent = [row[0] for row in await shop.rows("SELECT sent_at FROM message WHERE sent_at IS NOT NULL ORDER BY sent_at")]
    assert len(sent) == 2
    assert sent[1] - sent[0] >= timedelta(hours=12)


async def test_an_address_that_is_taken_away_gets_nothing_any_more(shop: Shop, post: Postbox) -> None:
    """What waits for its mail server is canceled: the merchant says that it is not the customer's."""
    post.answers = lambda message: NotNow(reason="away")
    await failed(shop)
    await shop.run_due()
    await change_customer(shop.context, "anna", shop.by(), CustomerChange(addresses={"email": None}))
    post.answers = lambda message: Accepted()
    post.handed.clear()

    await pass_time(shop, timedelta(hours=3))

    assert post.handed == []
    assert (await states(shop))[0] == ("payment_failed", "email", "canceled")


async def test_not_now_after_a_lost_answer_says_nothing_of_the_first(shop: Shop, post: Postbox) -> None:
    """The first may have got through: whatever comes later, it never counts as certainly not sent."""
    post.capabilities = msgspec.structs.replace(post.capabilities, deduplicates=True)
    answers = iter([OSError("gone")])
    post.answers = lambda message: next(answers, NotNow(reason="busy"))
    await failed(shop)

    await pass_time(shop, timedelta(minutes=5))
    meanwhile = (await states(shop))[0]
    await pass_time(shop, timedelta(hours=30))

    assert meanwhile == ("payment_failed", "email", "sending")
    assert (await states(shop))[0] == ("payment_failed", "email", "unknown")


async def test_everything_at_once_about_the_same_customers_waits_in_no_circle(shop: Shop, post: Postbox) -> None:
    """Due steps, sending, feedback in any order, unsubscribing, changes, reports, erasing, over shared addresses:
    nobody is refused by a deadlock, and nothing that was erased is left."""
    names = [f"c{number}" for number in range(6)]
    shared = [
        ReportedContact(name=name, addresses={"email": f"{name[-1]}@example.com", "sms": "+4915123456789"})
        for name in names
    ]
    for name, contact in zip(names, shared, strict=True):
        await failed(shop, contact, ref=name)
    await pass_time(shop, timedelta(days=3, minutes=1))
    said = [row["id"] for row in await shop.rows("SELECT id FROM message ORDER BY id DESC")]
    ids = [row["id"] for row in await shop.rows("SELECT id FROM customer_address ORDER BY id DESC")]
    bounced = [Feedback(kind=FeedbackKind.BOUNCED, message_id=message) for message in said]
    tired = [Feedback(kind=FeedbackKind.COMPLAINED, message_id=message) for message in reversed(said)]
    for name, contact in zip(names, shared, strict=True):
        await failed(shop, contact, ref=name)

    async def change(name: str) -> None:
        for phone in ("+4915111111111", None, "+4915123456789"):
            await change_customer(shop.context, name, shop.by(), CustomerChange(addresses={"sms": phone}))

    await asyncio.gather(
        shop.run_due(),
        apply_feedback(shop.context, "post", bounced),
        apply_feedback(shop.context, "post", tired),
        *(unsubscribe(shop.context, address, "customer") for address in ids[:4]),
        *(change(name) for name in names),
        *(failed(shop, contact, ref=name) for name, contact in zip(names, shared, strict=True)),
        *(erase(shop.context, name, shop.by(), "asked for it") for name in names[:3]),
    )
    for name in names[:3]:
        await erase(shop.context, name, shop.by(), "asked for it again")

    left = await shop.rows(
        "SELECT (SELECT count(*) FROM customer_address WHERE customer_ref = ANY($1)) AS addresses,"
        " (SELECT count(*) FROM message WHERE customer_ref = ANY($1) AND (text IS NOT NULL OR to_address IS NOT NULL"
        " OR provider_ref IS NOT NULL)) AS words",
        names[:3],
    )
    assert [tuple(row) for row in left] == [(0, 0)]


class Erasing(Postbox):
    """Its customer is erased between the hand-over and the answer."""

    shop: Shop

    async def send(self, message: OutgoingMessage) -> Accepted | NotAccepted | NotNow:
        await erase(self.shop.context, "anna", self.shop.by(), "asked for it")
        return await super().send(message)


@pytest.mark.parametrize("post", [Erasing()])
async def test_who_is_erased_while_a_message_leaves_leaves_no_trace(shop: Shop, post: Erasing) -> None:
    """The answer that comes after it brings nothing back that names the customer."""
    post.shop = shop
    await failed(shop)
    await shop.run_due()

    [row] = await shop.rows("SELECT state, to_address, text, provider_ref FROM message")
    assert tuple(row) == ("sent", None, None, None)


async def test_two_workers_with_two_cases_of_one_customer_say_one_thing(shop: Shop, post: Postbox) -> None:
    """The second sees what the first wrote, whichever that is, and is held back by the distance between messages."""
    await failed(shop)
    await failed(shop)
    refs = [ref for ref in await shop.claim() if ref.kind == DUE_STEP]

    await asyncio.gather(*(shop.service.run_jobs([ref]) for ref in refs))

    assert len(refs) == 2
    assert len(await states(shop)) == 1
    held = await shop.rows("SELECT held_because FROM timeline_step WHERE held_because LIKE 'less than%'")
    assert len(held) == 1
