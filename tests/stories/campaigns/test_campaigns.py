"""Six weeks of each shipped campaign, to the minute: every charge, message, request to billing and task.

The lists follow by hand from the policy files and the contact budget; where one changes, what customers live through
has changed. The billing system acknowledges at once, the policies are the shipped ones without jitter.
"""

from datetime import timedelta
from typing import Final

import pytest
from tests.stories.campaigns.conftest import Begin
from tests.stories.campaigns.diary import lines

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import Method

BERLIN: Final = "Europe/Berlin"
NEW_YORK: Final = "America/New_York"
BUSINESS: Final = {"segment": "business"}


async def played(begin: Begin, token: str, at: str, zone: str, **report: object) -> list[str]:
    """One campaign from the failure to its end, as a person writes it down in the customer's own time."""
    campaign = await begin()
    payment_id = await campaign.open(token, at, zone, **report)  # type: ignore[arg-type]  # what `Campaign.open` takes
    return lines(await campaign.play(payment_id), zone)


async def test_a_consumer_without_funds_who_never_pays(begin: Begin) -> None:
    """Five messages in a month, all by day, one try at payday; then the pause, and the end two weeks later."""
    assert await played(begin, "tok_insufficient_funds", "2026-03-02T20:15", BERLIN) == [
        "03-02 20:15 email: payment_failed",
        "03-06 09:00 email: reminder",
        "03-06 09:00 sms: reminder",
        "03-10 09:00 email: reminder_2",
        "03-17 09:00 email: last_reminder",
        "03-17 09:00 sms: last_reminder",
        "03-31 06:00 charge: declined",
        "03-31 06:00 exhausted",
        "03-31 09:00 email: final_notice",
        "04-03 06:00 billing: pause",
        "04-14 06:00 billing: cancel",
    ]


async def test_a_consumer_whose_bank_says_no_without_a_reason(begin: Begin) -> None:
    """Four tries in three weeks, through a change of the clocks (29 March)."""
    told = await played(begin, "tok_generic_decline", "2026-03-02T20:15", BERLIN, code="generic_decline")

    assert told == [
        "03-02 20:15 email: payment_failed",
        "03-05 20:15 charge: declined",
        "03-06 09:00 email: reminder",
        "03-06 09:00 sms: reminder",
        "03-10 09:00 email: reminder_2",
        "03-10 20:15 charge: declined",
        "03-17 09:00 email: last_reminder",
        "03-17 09:00 sms: last_reminder",
        "03-17 20:15 charge: declined",
        "03-24 20:15 charge: declined",
        "03-24 20:15 exhausted",
        "03-25 09:00 email: final_notice",
        "03-27 20:15 billing: pause",
        "04-07 21:15 billing: cancel",
    ]


async def test_an_expired_card_is_the_customers_to_renew(begin: Begin) -> None:
    """Nothing is charged again; the first message waits for the morning, since the card failed in the quiet hours."""
    told = await played(
        begin, "tok_expired_card", "2026-03-10T23:00", NEW_YORK, code="expired_card", customer={"country": "US"}
    )

    assert told == [
        "03-10 23:00 exhausted",
        "03-11 08:00 email: update_payment_method",
        "03-14 09:00 email: update_reminder",
        "03-14 09:00 sms: update_reminder",
        "03-18 09:00 email: update_reminder_2",
        "03-25 09:00 email: final_notice",
        "03-27 23:00 billing: pause",
        "04-09 23:00 billing: cancel",
    ]


async def test_a_bank_debit_is_announced_before_it_is_tried_again(begin: Begin) -> None:
    """The account must cover it on the day: the notice comes two days ahead, by day."""
    told = await played(
        begin,
        "tok_insufficient_funds",
        "2026-03-10T08:00",
        BERLIN,
        method=Method.SEPA_DEBIT,
        source=DeclineSource.SEPA,
        code="AM04",
    )

    assert told == [
        "03-10 08:00 email: payment_failed",
        "03-20 09:00 email: reminder",
        "03-28 09:00 email: debit_notice",
        "03-31 00:00 charge: declined",
        "03-31 00:00 exhausted",
        "03-31 09:00 email: final_notice",
        "04-03 00:00 billing: pause",
        "04-14 00:00 billing: cancel",
    ]


async def test_a_vulnerable_customer_is_called_and_never_written_to(begin: Begin) -> None:
    """People speak with people."""
    told = await played(begin, "tok_insufficient_funds", "2026-03-10T08:00", BERLIN, customer={"vulnerable": True})

    assert told == [
        "03-11 09:00 task: call the customer and agree how the debt is paid",
        "03-31 06:00 charge: declined",
        "03-31 06:00 exhausted",
        "03-31 06:00 task: decide how the debt of a vulnerable customer goes on",
    ]


async def test_trouble_at_the_bank_passes_without_a_word(begin: Begin) -> None:
    """What clears by itself in a day is never heard of."""
    told = await played(
        begin,
        "tok_issuer_not_available|issuer_not_available|approve",
        "2026-03-10T08:00",
        BERLIN,
        code="issuer_not_available",
    )

    assert told == [
        "03-10 09:00 charge: declined",
        "03-10 15:00 charge: declined",
        "03-11 15:00 charge: paid",
        "03-11 15:00 recovered",
    ]


async def test_an_unknown_refusal_is_a_persons_first(begin: Begin) -> None:
    """Nothing is tried unattended; the customer hears of it after the people had their days."""
    told = await played(begin, "tok_generic_decline", "2026-03-10T08:00", BERLIN, code="never_heard_of")

    assert told == [
        "03-10 08:00 exhausted",
        "03-10 08:00 task: rule 'unknown codes go to a person' asks for a person",
        "03-14 09:00 email: update_payment_method",
        "03-19 09:00 email: update_reminder",
        "03-28 09:00 email: final_notice",
        "03-31 09:00 billing: pause",
        "04-13 09:00 billing: cancel",
    ]


async def test_our_own_mistake_is_no_customers_business(begin: Begin) -> None:
    """A wrong setting of ours is a task, and the customer hears nothing."""
    told = await played(begin, "tok_generic_decline", "2026-03-10T08:00", BERLIN, code="invalid_amount")

    assert told == [
        "03-10 08:00 exhausted",
        "03-10 08:00 task: rule 'our own settings are wrong' asks for a person",
    ]


async def test_a_company_is_written_to_in_office_hours_and_called_before_the_pause(begin: Begin) -> None:
    """Failed on a Friday evening; the accounts department reads on Saturday at the earliest."""
    told = await played(
        begin, "tok_generic_decline", "2026-03-06T18:30", BERLIN, code="generic_decline", customer=BUSINESS
    )

    assert told == [
        "03-07 08:00 email: payment_failed",
        "03-10 09:00 charge: declined",
        "03-12 08:00 email: reminder",
        "03-16 09:00 charge: declined",
        "03-19 08:00 email: last_reminder",
        "03-23 09:00 charge: declined",
        "03-30 10:00 charge: declined",
        "03-30 10:00 email: final_notice",
        "03-30 10:00 exhausted",
        "04-02 10:00 task: call the customer before the subscription is paused",
        "04-09 10:00 billing: pause",
    ]


async def test_a_large_invoice_is_a_persons(begin: Begin) -> None:
    """A call the same day; a message only beside it, and nothing is taken away by itself."""
    told = await played(
        begin,
        "tok_generic_decline",
        "2026-03-09T10:00",
        BERLIN,
        code="generic_decline",
        customer=BUSINESS,
        amount_minor=1_200_000,
    )

    assert told == [
        "03-09 14:00 task: call the customer's accounts department",
        "03-10 10:00 email: payment_failed",
        "03-12 10:00 charge: declined",
        "03-17 10:00 charge: declined",
        "03-24 10:00 charge: declined",
        "03-31 11:00 charge: declined",
        "03-31 11:00 exhausted",
        "03-31 11:00 task: agree with the customer how the invoice is paid",
        "04-02 11:00 email: final_notice",
    ]


@pytest.mark.parametrize(
    ("days", "then"),
    [
        (1, ["charge: paid", "recovered"]),
        (23, ["charge: paid", "recovered"]),
        (26, ["billing: restore", "charge: paid", "recovered"]),
        (40, ["billing: restore", "charge: paid", "recovered"]),
    ],
)
async def test_who_pays_in_the_midst_hears_nothing_more(begin: Begin, days: int, then: list[str]) -> None:
    """A new card pays at once and ends the campaign, whenever that is; what was taken away is given back, once."""
    campaign = await begin()
    payment_id = await campaign.open("tok_generic_decline", "2026-03-02T20:15", BERLIN, code="generic_decline")
    before = await campaign.play(payment_id, timedelta(days=days))
    campaign.clock.advance(timedelta(minutes=1))

    await campaign.give_new_card(payment_id, "tok_approve")
    told = await campaign.play(payment_id)

    assert sorted(entry.what for entry in told if entry not in before) == then
