"""What is foretold of a campaign when it opens is what its customer then lives through, where nobody pays."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any, Final

import pytest
from tests.stories.campaigns.conftest import Begin, Campaign
from tests.stories.campaigns.diary import Entry, lines

from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.payment import Method
from recoup_core.domain.recovery import CaseState, StepKind
from recoup_core.flows.forecast import Certainty, Forecast, ForecastEntry, forecast
from recoup_core.flows.operate import pause

BERLIN: Final = "Europe/Berlin"
BUSINESS: Final = {"segment": "business"}
TO_THE_END: Final = timedelta(days=90)

CAMPAIGNS: Final[dict[str, tuple[str, str, str, dict[str, Any]]]] = {
    "no funds": ("tok_insufficient_funds", "2026-03-02T20:15", BERLIN, {}),
    "no reason given": ("tok_generic_decline", "2026-03-02T20:15", BERLIN, {"code": "generic_decline"}),
    "expired, at night": (
        "tok_expired_card",
        "2026-03-10T23:00",
        "America/New_York",
        {"code": "expired_card", "customer": {"country": "US"}},
    ),
    "bank debit": (
        "tok_insufficient_funds",
        "2026-03-10T08:00",
        BERLIN,
        {"method": Method.SEPA_DEBIT, "source": DeclineSource.SEPA, "code": "AM04"},
    ),
    "vulnerable": ("tok_insufficient_funds", "2026-03-10T08:00", BERLIN, {"customer": {"vulnerable": True}}),
    "company": (
        "tok_generic_decline",
        "2026-03-06T18:30",
        BERLIN,
        {"code": "generic_decline", "customer": BUSINESS},
    ),
    "large invoice": (
        "tok_generic_decline",
        "2026-03-09T10:00",
        BERLIN,
        {"code": "generic_decline", "customer": BUSINESS, "amount_minor": 1_200_000},
    ),
}


async def foretold(campaign: Campaign, payment_id: Any) -> Forecast:
    """The forecast at this moment."""
    file = await campaign.shop.file(payment_id)
    return await forecast(campaign.shop.context, file.payment.merchant_id, file.case.id)


def as_diary(told: Forecast) -> list[Entry]:
    """A forecast in the words of the diary."""
    entries = [Entry(entry.at, what) for entry in told.entries if entry.left_out is None for what in _words(entry)]
    if told.exhausted_at is not None:
        entries.append(Entry(told.exhausted_at, "exhausted"))
    return sorted(entries)


def _words(entry: ForecastEntry) -> Iterator[str]:
    if entry.kind is StepKind.RETRY:
        yield "charge: declined"
    elif entry.kind is StepKind.MESSAGE:
        yield from (f"{channel}: {entry.template}" for channel in entry.channels)
    elif entry.kind is StepKind.HUMAN_TASK:
        yield f"task: {entry.text}"
    else:
        yield f"billing: {entry.kind.value.split('_')[0]}"


@pytest.mark.parametrize("name", CAMPAIGNS)
async def test_what_is_foretold_at_the_start_is_what_happens(begin: Begin, name: str) -> None:
    """Each charge, message, request and task, to the minute; and foretelling it changes nothing."""
    token, at, zone, report = CAMPAIGNS[name]
    campaign = await begin()
    payment_id = await campaign.open(token, at, zone, **report)

    told = as_diary(await foretold(campaign, payment_id))
    happened = await campaign.play(payment_id, TO_THE_END)

    assert lines(told, zone) == lines(happened, zone)
    assert len(told) > 3


async def test_midway_what_is_left_is_foretold(begin: Begin) -> None:
    """What was said counts for the contact budget, what was tried for the ladder."""
    campaign = await begin()
    payment_id = await campaign.open("tok_generic_decline", "2026-03-02T20:15", BERLIN, code="generic_decline")
    before = await campaign.play(payment_id, timedelta(days=11))

    told = as_diary(await foretold(campaign, payment_id))
    happened = await campaign.play(payment_id)

    assert lines(sorted([*before, *told]), BERLIN) == lines(happened, BERLIN)


async def test_what_stands_is_told_apart_from_what_follows_a_decline(begin: Begin) -> None:
    """The next retry and the messages of the row are planned; what hangs on its decline is projected, and says so."""
    campaign = await begin()
    payment_id = await campaign.open("tok_generic_decline", "2026-03-02T20:15", BERLIN, code="generic_decline")

    told = await foretold(campaign, payment_id)

    retries = [entry.certainty for entry in told.entries if entry.kind is StepKind.RETRY]
    assert retries == [Certainty.PLANNED, *[Certainty.PROJECTED] * 3]
    assert told.entries[-1].certainty is Certainty.PROJECTED
    standing = {step.id for step in (await campaign.shop.file(payment_id)).steps}
    assert {entry.step_id for entry in told.entries if entry.certainty is Certainty.PLANNED} <= standing
    assert {entry.step_id for entry in told.entries if entry.certainty is Certainty.PROJECTED} == {None}
    assert "each retry is declined" in str(told.assumption)


async def test_of_a_paused_case_nothing_is_foretold(begin: Begin) -> None:
    """Nothing comes while it is, and the forecast says why."""
    campaign = await begin()
    payment_id = await campaign.open("tok_generic_decline", "2026-03-02T20:15", BERLIN, code="generic_decline")
    await pause(campaign.shop.context, (await campaign.shop.file(payment_id)).case.id, campaign.shop.by())

    told = await foretold(campaign, payment_id)

    assert (told.entries, told.state, told.assumption) == ((), CaseState.PAUSED, None)
    assert "paused" in str(told.note)
