"""A gateway's own page for a customer: one while it works, asked for with one key, and told nowhere."""

import asyncio
from datetime import timedelta
from typing import Any

import pytest

from recoup_core.domain.ids import new_id
from recoup_core.flows.credentials.links import (
    ASKED_AGAIN,
    LEFT,
    LIFETIME,
    GatewayUnavailable,
    NoUpdateLink,
    update_link,
)
from recoup_core.flows.operate import By, NotAllowedNow, NotFound, cancel
from recoup_core.flows.reports import UnknownGateway
from recoup_core.flows.sweep import LINK_AGE
from recoup_core.storage.calls import Call, IdempotencyKeyReused

SOFT = {"code": "insufficient_funds"}


async def made(teller: Any, opened: Any, key: str | None = None, **more: Any) -> Any:
    call = None if key is None else Call(key, b"POST link")
    return await update_link(teller.shop.context, opened.case.id, teller.shop.by(call=call), **more)


async def test_a_working_page_is_handed_out_again(teller: Any) -> None:
    """Two pages that both take money could both be paid: one debt has one page at a time."""
    opened = await teller.open("tok_approve", **SOFT)

    first = await made(teller, opened)
    teller.shop.clock.advance(LIFETIME - LEFT - timedelta(minutes=1))
    again = await made(teller, opened)
    teller.shop.clock.advance(timedelta(minutes=2))
    another = await made(teller, opened)

    assert first.url == again.url != another.url
    assert (first.gateway, first.pays, first.expires_at) == ("sandbox", True, opened.case.opened_at + LIFETIME)
    assert (await teller.shop.events(opened.payment.id)).count("update_link.created") == 2


async def test_the_address_stands_nowhere_but_in_its_table(teller: Any) -> None:
    """Whoever has it may act for the customer: no event, no remembered answer, no job, no task and no log holds it."""
    opened = await teller.open("tok_approve", **SOFT)

    link = await made(teller, opened, "key-1")

    for table in ("event", "idempotent_call", "human_task", "job", "decision", "inbound_event", "event_seal"):
        rows = await teller.shop.rows(f"SELECT row_to_json(t)::text AS row FROM {table} t")
        assert not any(link.url in row["row"] for row in rows), table
    assert link.url not in repr(link)


async def test_the_same_call_gets_the_same_page(teller: Any) -> None:
    """Even where others were made since; another request under the key is refused, and a deleted page is gone."""
    opened = await teller.open("tok_approve", **SOFT)
    first = await made(teller, opened, "key-1")
    teller.shop.clock.advance(LIFETIME)
    second = await made(teller, opened, "key-2")

    assert (await made(teller, opened, "key-1")).url == first.url != second.url
    with pytest.raises(IdempotencyKeyReused):
        await update_link(teller.shop.context, opened.case.id, teller.shop.by(call=Call("key-1", b"other")))
    teller.shop.clock.advance(LINK_AGE + timedelta(minutes=1))
    await teller.shop.service.sweep(teller.shop.clock.now())
    with pytest.raises(NotAllowedNow, match="expired"):
        await made(teller, opened, "key-1")


async def test_a_lost_answer_is_asked_for_again_with_the_same_key(teller: Any) -> None:
    """The gateway makes the page once; asking long after starts anew, since its memory of keys may be over."""
    opened = await teller.open("tok_approve", known_as="cus_anna~lose*2", **SOFT)

    for _ in range(2):
        with pytest.raises(GatewayUnavailable):
            await made(teller, opened, "key-1")
    link = await made(teller, opened, "key-1")

    pages = await teller.shop.rows("SELECT id FROM update_link")
    assert [page["id"] for page in pages] == [link.id]
    assert (await made(teller, opened, "key-1")).url == link.url


async def test_an_unanswered_page_is_not_asked_for_with_an_old_key(teller: Any) -> None:
    """Past the gateways' memory of keys the same one would make a second page unnoticed."""
    opened = await teller.open("tok_approve", known_as="cus_anna~lose", **SOFT)
    with pytest.raises(GatewayUnavailable):
        await made(teller, opened)

    teller.shop.clock.advance(ASKED_AGAIN)
    await made(teller, opened)

    assert len(await teller.shop.rows("SELECT id FROM update_link")) == 2


async def test_two_who_ask_at_once_get_one_page(teller: Any) -> None:
    """The page is written down under the payment's lock before the gateway is asked."""
    opened = await teller.open("tok_approve", **SOFT)

    links = await asyncio.gather(*(made(teller, opened, f"key-{number}") for number in range(5)))

    assert len({link.url for link in links}) == 1
    assert (await teller.shop.events(opened.payment.id)).count("update_link.created") == 1


async def test_another_amount_is_another_page(teller: Any) -> None:
    """A page that asks for what is no longer owed is not handed out."""
    opened = await teller.open("tok_approve", **SOFT)
    first = await made(teller, opened)
    await teller.shop.rows("UPDATE payment SET captured_minor = 500")

    second = await made(teller, opened)

    assert first.url != second.url
    assert (first.amount_minor, second.amount_minor) == (1999, 1499)


async def test_a_page_may_only_renew(teller: Any) -> None:
    """Whoever sends it must know whether the debt is paid there."""
    opened = await teller.open("tok_approve", known_as="cus_anna~renews_only", **SOFT)

    assert (await made(teller, opened)).pays is False


async def test_no_page_is_an_answer_with_its_reason(teller: Any) -> None:
    """The gateway has none for this customer, or makes none at all."""
    opened = await teller.open("tok_approve", known_as="cus_anna~no_page", **SOFT)

    with pytest.raises(NoUpdateLink, match="no account at the sandbox"):
        await made(teller, opened)


async def test_nobody_gets_anothers_page(teller: Any) -> None:
    """Not for another merchant's case, a case that is not there, or a gateway that is not the merchant's."""
    opened = await teller.open("tok_approve", **SOFT)
    context = teller.shop.context

    with pytest.raises(NotFound):
        await update_link(context, opened.case.id, By(merchant_id="other", actor="key:eve"))
    with pytest.raises(NotFound):
        await update_link(context, new_id(), teller.shop.by())
    with pytest.raises(UnknownGateway):
        await made(teller, opened, gateway="elsewhere")
    assert await teller.shop.rows("SELECT id FROM update_link") == []


async def test_a_debt_nobody_asks_for_has_no_page(teller: Any) -> None:
    """A customer is not asked to pay what was waived."""
    opened = await teller.open("tok_approve", **SOFT)
    await cancel(teller.shop.context, opened.case.id, teller.shop.by(), "waived")

    with pytest.raises(NotAllowedNow):
        await made(teller, opened)
