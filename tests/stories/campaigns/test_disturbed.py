"""The same campaigns on bad days: what the world sees is the same, at most later.

Work is done twice, workers die before and after a message is handed over, the mail server is down for two hours.
"""

from collections.abc import Callable
from datetime import timedelta
from typing import Any, Final
from uuid import UUID

import pytest
from tests.stories.campaigns.conftest import Begin, Campaign
from tests.stories.campaigns.diary import same_but_later

from recoup_core.domain.message import MessageState

BERLIN: Final = "Europe/Berlin"
DOWN: Final = timedelta(hours=2)
AN_HOUR: Final = timedelta(hours=1)
A_NIGHT: Final = timedelta(hours=13)
"""Who is late at 21:00 waits until 08:00: nobody is written to in the quiet hours."""
MESSAGES: Final = 7


async def open_one(campaign: Campaign) -> UUID:
    """A campaign with every kind of entry: tries, mail and SMS, requests to billing, an end."""
    return await campaign.open("tok_generic_decline", "2026-03-02T10:15", BERLIN, code="generic_decline")


def everything_twice(campaign: Campaign) -> None:
    """Every job is run twice at once."""
    campaign.twice = True


def dies_before(campaign: Campaign) -> None:
    """The worker dies with each message in its hands, before the server has it."""
    campaign.mailbox.crash_before = {1, 3, 5, 7, 9, 11, 13}


def dies_after(campaign: Campaign) -> None:
    """The worker dies after the server took each message, before that is written down."""
    campaign.mailbox.crash_after = set(range(1, 20, 2))


def dies_wherever(campaign: Campaign) -> None:
    """Some of both, and everything twice."""
    campaign.twice = True
    campaign.mailbox.crash_before, campaign.mailbox.crash_after = {2, 6, 8}, {4, 9, 12}


@pytest.mark.parametrize("disturb", [everything_twice, dies_before, dies_after, dies_wherever])
async def test_a_disturbed_campaign_says_and_does_the_same(begin: Begin, disturb: Callable[[Campaign], None]) -> None:
    """Each message lies in its mailbox once, in the same words; each charge and request happens once."""
    calm, troubled = await begin(), await begin()
    disturb(troubled)

    first = await calm.play(await open_one(calm))
    payment_id = await open_one(troubled)
    second = await troubled.play(payment_id)

    assert same_but_later(first, second, AN_HOUR) == {}
    assert [m.state for m in await troubled.messages(payment_id)] == [MessageState.SENT] * MESSAGES
    if disturb is not everything_twice:
        assert troubled.mailbox.handed_over > MESSAGES


@pytest.mark.parametrize("hours", [2, 12, 24 * 7 + 2])
async def test_a_mail_server_down_for_two_hours_changes_nothing_but_lateness(begin: Begin, hours: int) -> None:
    """Down as the first message is due, in the afternoon, or a week later; the retries go on meanwhile."""
    calm, troubled = await begin(), await begin()
    first = await calm.play(await open_one(calm))
    payment_id = await open_one(troubled)
    opened = troubled.clock.now()
    from_, to = opened + timedelta(hours=hours) - DOWN, opened + timedelta(hours=hours)
    troubled.mailbox.down = lambda now: from_ <= now < to

    second = await troubled.play(payment_id)

    assert same_but_later(first, second, A_NIGHT) == {}
    charges = [entry for entry in second if entry.what.startswith(("charge", "billing"))]
    assert charges == [entry for entry in first if entry.what.startswith(("charge", "billing"))]


async def test_the_comparison_tells_a_message_too_many(begin: Begin) -> None:
    """A proof that can't fail proves nothing."""
    calm = await begin()
    told = await calm.play(await open_one(calm))

    assert same_but_later(told, [*told, told[0]], A_NIGHT) != {}
    assert same_but_later(told, told[1:], A_NIGHT) != {}


@pytest.mark.parametrize("channel", ["email", "sms"])
async def test_what_cannot_be_told_apart_is_never_said_twice(begin: Begin, channel: Any) -> None:
    """A notifier that shows doubles to its reader gets no second call where nobody knows what became of the first."""
    campaign = await begin()
    campaign.mailbox.forgets_ids()
    campaign.mailbox.crash_after = {1, 2, 3, 4, 5, 6, 7}
    payment_id = await open_one(campaign)

    await campaign.play(payment_id)

    said = [m for m in await campaign.messages(payment_id) if m.channel == channel]
    assert {m.state for m in said} == {MessageState.UNKNOWN}
    assert campaign.mailbox.handed_over == MESSAGES
