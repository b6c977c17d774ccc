"""The month on a card, as gateways tell it: kept with the card, and charges to come decide anew with it."""

import itertools
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.domain.upcoming import NoticeState
from recoup_core.flows.upcoming.announcing import Announcement, announce
from recoup_core.storage.upcoming import load_charges

EXPIRED = {"code": "expired_card"}

NOTICES = """
kind: notice
name: cards
applies_to: {method: card}
rules:
  - name: the card ends before the charge
    when: {card_expires_before_charge: true}
    notices:
      - {on: before_charge, ahead: 14d, task: ask for another card}
  - name: nothing is wrong
    notices:
      - {on: before_charge, ahead: 7d, task: look at it}
examples:
  - {given: {card_expires_before_charge: true}, expect: the card ends before the charge}
  - {given: {}, expect: nothing is wrong}
"""

RETRIES = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: give up, stop: exhausted}
examples:
  - {given: {}, expect: give up}
"""


async def months(teller: Any, token: str) -> list[str | None]:
    return [row.expires_on for row in await teller.stored(token)]


@pytest.mark.parametrize(
    ("change", "said", "kept"),
    [
        ("updated", "2031-05", "2031-05"),
        ("updated", None, None),
        ("added", "2031-05", "2031-05"),
        ("added", None, "2029-01"),
    ],
)
async def test_news_bring_the_month(teller: Any, change: str, said: str | None, kept: str | None) -> None:
    """A renewed card whose month is not told has none that is known: the old card's would be a false alarm."""
    await teller.open("tok_approve", **EXPIRED)
    await teller.tell("updated", "tok_approve", now={"token": "tok_approve", "expires_on": "2029-01"})
    teller.shop.clock.advance(timedelta(minutes=1))

    now = {"token": "tok_approve", "gateway_customer": "cus_anna", "expires_on": said}
    await teller.tell(change, "tok_approve", gateway_customer="cus_anna", now=now)

    assert await months(teller, "tok_approve") == [kept]


@pytest.mark.parametrize("change", ["added", "replaced"])
async def test_a_new_token_comes_with_its_month(teller: Any, change: str) -> None:
    """Whether it stands beside the old one or takes its place."""
    await teller.open("tok_do_not_honor", **EXPIRED)

    now = {"token": "tok_approve", "gateway_customer": "cus_anna", "expires_on": "2031-05"}
    token = "tok_approve" if change == "added" else "tok_do_not_honor"
    await teller.tell(change, token, gateway_customer="cus_anna", now=now)

    assert await months(teller, "tok_approve") == ["2031-05"]


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
async def test_the_month_is_the_same_in_any_order(teller: Any, order: tuple[int, ...]) -> None:
    """What happened last counts, also where it names no month."""
    await teller.open("tok_do_not_honor", **EXPIRED)
    start = teller.shop.clock.now()
    teller.shop.clock.advance(timedelta(hours=1))
    card = {"token": "tok_approve", "gateway_customer": "cus_anna"}
    news = [
        ("added", {**card, "expires_on": "2029-01"}),
        ("updated", {**card, "expires_on": "2030-01"}),
        ("updated", None),
    ]

    for each in order:
        change, now = news[each]
        at = start + timedelta(minutes=each + 1)
        await teller.tell(change, "tok_approve", at=at, gateway_customer="cus_anna", now=now)

    assert set(await months(teller, "tok_approve")) == {None}


@pytest.mark.parametrize("month", ["2031-13", "2031-5", "05/31", "0000-01", "2031-05\n"])
async def test_what_is_no_month_is_not_kept(teller: Any, month: str) -> None:
    """A plugin that is wrong about it stops nobody's case."""
    await teller.open("tok_approve", **EXPIRED)

    await teller.tell("updated", "tok_approve", now={"token": "tok_approve", "expires_on": month})

    assert await months(teller, "tok_approve") == [None]


class TestCharges:
    """A shop that looks at its charges before they are made."""

    @pytest.fixture
    async def shop(self, shop_under: Any, clock: Any) -> Any:
        """Under policies of its own."""
        clock.set(datetime(2026, 3, 2, 10, tzinfo=UTC))
        return await shop_under(RETRIES, NOTICES)

    @pytest.mark.parametrize(
        ("before", "month", "rule"),
        [
            ("2026-03", "2031-05", "nothing is wrong"),
            ("2026-03", None, "nothing is wrong"),
            ("2030-01", "2026-03", "the card ends before the charge"),
        ],
    )
    async def test_a_charge_to_come_decides_anew(self, teller: Any, before: str, month: str | None, rule: str) -> None:
        """The card updater's word is enough: nobody is asked for a card that was renewed."""
        shop, card = teller.shop, "tok_do_not_honor"
        await teller.open(card, **EXPIRED)
        shop.clock.advance(timedelta(minutes=1))
        file = await announce(shop.context, _charge(before), shop.by())
        shop.clock.advance(timedelta(minutes=1))

        await teller.tell("updated", card, now={"token": card, "expires_on": month})
        await shop.run_due()

        async with shop.service.database.connection() as connection:
            now = (await load_charges(connection, [file.charge.id]))[file.charge.id]
        assert [n.rule for n in file.notices] != [rule]
        assert [n.rule for n in now.notices if n.state is NoticeState.PLANNED] == [rule]


def _charge(month: str) -> Announcement:
    return Announcement(
        merchant_id="default",
        reference="sub-1-2026-04",
        customer=Customer(ref="cus-1", country="DE", timezone="Europe/Berlin"),
        amount_minor=4900,
        currency="EUR",
        charge_at=datetime(2026, 4, 1, 10, tzinfo=UTC),
        method=Method.CARD,
        network=Network.VISA,
        gateway="sandbox",
        expires_on=month,
        subscription={"plan": "pro"},
    )
