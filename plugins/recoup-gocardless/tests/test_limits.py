"""A retry at GoCardless is held to the limits of its scheme: declines come in the codes that those are written in."""

from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import uuid4

import pytest

from gocardless_fake import FakeGoCardless
from recoup_core.rules.deciding.limits import Allowed, Blocked, LimitQuestion, PastAttempt, check_limits
from recoup_gocardless.gateway import GoCardlessGateway
from recoup_gocardless.objects import METHODS
from recoup_plugins import Declined

SCHEMES = ("sepa_core", "bacs", "ach")
RULES = {"sepa_core": "sepa_retryable", "bacs": "bacs_refer_to_payer", "ach": "nacha_reinitiation"}
START = datetime(2026, 11, 2, 9, tzinfo=UTC)


async def asked_after(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Any, scheme: str, word: str, tries: int
) -> Allowed | Blocked:
    """Let a payment fail so often at GoCardless, and ask the limits whether it may be tried once more."""
    mandate = fake.books.mandate(word, scheme=scheme)
    debt = fake.books.failed_payment(mandate, 1999)
    payment_id, history = uuid4(), []
    for number in range(tries):
        request = a_request(mandate, debt_ref=debt["id"])
        await gateway.charge(request)
        fake.books.settle()
        outcome = await gateway.find_charge(request)
        assert isinstance(outcome, Declined)
        history.append(
            PastAttempt(
                at=START + timedelta(days=3 * number),
                amount_minor=1999,
                currency=request.amount.currency,
                payment_id=payment_id,
                succeeded=False,
                category=outcome.decline.category,
                source=outcome.decline.source,
                code=outcome.decline.code,
                network_code=outcome.decline.network_code,
            )
        )
    return check_limits(
        LimitQuestion(
            at=START + timedelta(days=3 * tries),
            method=METHODS[scheme],
            network=None,
            amount_minor=1999,
            currency=request.amount.currency,
            payment_id=payment_id,
            acquirer_country=None,
            history=tuple(history),
        )
    )


@pytest.mark.parametrize("scheme", SCHEMES)
async def test_missing_money_is_tried_as_often_as_the_scheme_allows(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Any, scheme: str
) -> None:
    """AM04, ARUDD-0 and R01 may be tried again, and not without end."""
    after_one = await asked_after(fake, gateway, a_request, scheme, "insufficient_funds", 1)
    after_three = await asked_after(fake, gateway, a_request, scheme, "insufficient_funds", 3)

    assert isinstance(after_one, Allowed)
    assert isinstance(after_three, Blocked)
    assert RULES[scheme] in {finding.rule for finding in after_three.findings}


@pytest.mark.parametrize("scheme", SCHEMES)
@pytest.mark.parametrize("word", ["account_closed", "disputed", "stopped", "unknown_code", "denied"])
async def test_anything_else_is_not_tried_again(
    fake: FakeGoCardless, gateway: GoCardlessGateway, a_request: Any, scheme: str, word: str
) -> None:
    """Closed accounts, disputed and stopped debits, codes that nobody knows: the scheme's own stops see them."""
    assert isinstance(await asked_after(fake, gateway, a_request, scheme, word, 1), Blocked)
