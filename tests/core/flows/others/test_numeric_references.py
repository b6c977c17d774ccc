"""Gateways that name things by digits alone: their references pass, card numbers do not."""

from typing import Any

import msgspec
import pytest

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.flows.scrubbing import scrubbed
from recoup_core.ports import CaptureNews, Declined, GatewayEvent, ReportedFailure

PSP = "8815658961765255"
"""Shaped as Adyen's payment references are, and Luhn-valid."""

CARD = "4242424242424242"


async def test_a_report_may_name_its_charge_by_digits(market: Any) -> None:
    """Both the payment's and the attempt's reference are kept as they came."""
    opened = await market.open(gateway_ref=PSP)

    assert opened.payment.gateway_ref == PSP


@pytest.mark.parametrize(("field", "value"), [("gateway_ref", CARD), ("reference", PSP), ("order_ref", PSP)])
async def test_what_may_be_a_card_number_is_still_refused(market: Any, field: str, value: str) -> None:
    """A card's number in a reference field, or digits in any other field."""
    with pytest.raises(CardNumberRefused):
        await market.open(**{field: value})


def told(clock: Any, decline: Any, **payload: Any) -> GatewayEvent:
    """A failure on a charge whose name is all digits."""
    failure = ReportedFailure(
        payment_reference="inv-1", amount=Money(100, "EUR"), method=Method.CARD, customer_ref="c", debt_ref=PSP
    )
    return GatewayEvent(
        external_id=f"AUTHORISATION:{PSP}:false",
        kind="AUTHORISATION",
        occurred_at=clock.now(),
        gateway_ref=PSP,
        outcome=Declined(decline=decline(), gateway_ref=PSP),
        failure=failure,
        payload=payload,
    )


def test_a_verified_event_keeps_its_references_and_its_payload(clock: Any, decline: Any) -> None:
    """The payload repeats, under the provider's own names, what the gateway told as its reference."""
    event = told(clock, decline, pspReference=PSP, operations=["REFUND"])

    assert msgspec.json.decode(scrubbed(event), type=GatewayEvent) == event


@pytest.mark.parametrize("payload", [{"note": CARD}, {"pspReference": "8815658961765263"}, {"note": f"paid {PSP}"}])
def test_a_payload_with_other_digits_goes(clock: Any, decline: Any, payload: dict[str, Any]) -> None:
    """Only the very references that the event names stay; the failure and its references are read all the same."""
    kept = msgspec.json.decode(scrubbed(told(clock, decline, **payload)), type=GatewayEvent)

    assert kept.payload == {"removed": "it held a card number"}
    assert kept.gateway_ref == PSP
    assert kept.failure is not None


def test_why_a_charge_came_back_and_whose_it_was_hold_no_card_number(clock: Any, decline: Any) -> None:
    """A provider's words about a returned debit are redacted as those about a decline are; a name for a debt that may
    be a card's number is no payment's here."""
    why = msgspec.structs.replace(decline(), message=f"card {CARD}, key sk_live_abcdefgh12345678")
    returned = CaptureNews(charge_ref="ch_1", amount=Money(100, "EUR"), standing=CaptureState.RETURNED, decline=why)
    event = msgspec.structs.replace(told(clock, decline), failure=None, capture=returned, payment_reference=CARD)

    kept = scrubbed(event).decode()

    assert CARD not in kept
    assert "sk_live" not in kept
