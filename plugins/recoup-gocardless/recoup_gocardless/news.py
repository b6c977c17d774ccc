"""What an event of GoCardless's says by itself: what happened, to which object, and the metadata of that object.

It says neither amount nor customer. Of what Recoup made, the metadata say the rest. Of everything else the event is
kept without an outcome, and what it means is told once its object was looked at (`looked_at`).
"""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from recoup_gocardless.declines import decline_of
from recoup_gocardless.objects import (
    AMOUNT_KEY,
    ATTEMPT_KEY,
    CHARGE_KEY,
    METHODS,
    PART_KEY,
    GoEvent,
    money_of,
    uuid_of,
)
from recoup_gocardless.refunds import CAME_BACK, failure_of
from recoup_gocardless.tries import FAILED
from recoup_plugins import (
    Canceled,
    CredentialChange,
    CredentialNews,
    Declined,
    DisputeNews,
    DisputeState,
    GatewayEvent,
    Method,
    Money,
    Pending,
    Refunded,
    RefundNews,
    Refused,
    SettlementNews,
    Succeeded,
    TakenBack,
)

DISPUTES: Final[Mapping[str, DisputeState]] = {
    "charged_back": DisputeState.LOST,
    "chargeback_cancelled": DisputeState.WON,
}
"""A bank debit is charged back by right: there is no evidence and nothing to answer, the money is gone at once. The
customer may take it back all the same."""

GONE: Final = frozenset({"cancelled", "failed", "expired", "consumed", "blocked", "suspended_by_payer"})
"""Events after which a mandate takes no more payments."""


def event_of(raw: Mapping[str, Any], event: GoEvent) -> GatewayEvent:
    """Return an event with as much as it says by itself; one of a kind that we don't know says nothing."""
    bare = GatewayEvent(
        external_id=event.id,
        kind=event.kind,
        occurred_at=event.created_at,
        gateway_ref=event.links.payment if event.resource_type == "payments" else None,
        payload=raw,
    )
    match event.resource_type:
        case "payments":
            return _of_payment(bare, event)
        case "refunds":
            return _of_refund(bare, event)
        case "mandates" if event.action in GONE and event.links.mandate:
            return msgspec.structs.replace(bare, credential=removed(event))
        case "payouts" if event.action == "paid" and event.links.payout:
            return msgspec.structs.replace(bare, settlement=SettlementNews(report_ref=event.links.payout))
    return bare


def dispute_of(event: GoEvent, payment_id: str, amount: Money) -> DisputeNews | None:
    """Return the dispute that an event of a payment tells of; GoCardless has no object and no id for it."""
    standing = DISPUTES.get(event.action)
    if standing is None:
        return None
    return DisputeNews(
        dispute_ref=f"{payment_id}:chargeback",
        charge_ref=payment_id,
        amount=amount,
        standing=standing,
        reason=event.details.cause,
    )


def refund_of(event: GoEvent, refund_id: str, amount: Money) -> RefundNews | None:
    """Return what an event of a refund says, without its part and charge; None where it says nothing for us."""
    outcome = _refund_outcome(event, refund_id, amount)
    return None if outcome is None else RefundNews(refund_ref=refund_id, amount=amount, outcome=outcome)


def removed(event: GoEvent) -> CredentialNews:
    """Return that a mandate is gone, and why."""
    return CredentialNews(
        change=CredentialChange.REMOVED,
        token=event.links.mandate,
        gateway_customer=event.links.customer,
        reason=event.details.cause or event.action,
    )


def _of_payment(bare: GatewayEvent, event: GoEvent) -> GatewayEvent:
    attempt_id, amount = uuid_of(event.about(ATTEMPT_KEY)), money_of(event.about(AMOUNT_KEY))
    payment_id = event.links.payment
    if attempt_id is None or amount is None or payment_id is None:
        return bare  # not made by us
    if event.action == "confirmed":
        succeeded = Succeeded(gateway_ref=payment_id, amount=amount)
        return msgspec.structs.replace(bare, attempt_id=attempt_id, outcome=succeeded)
    if event.action in FAILED:
        method = METHODS.get(event.details.scheme or "", Method.SEPA_DEBIT)
        declined = Declined(decline=decline_of(event.details, method), gateway_ref=payment_id)
        return msgspec.structs.replace(bare, attempt_id=attempt_id, outcome=declined)
    return msgspec.structs.replace(bare, attempt_id=attempt_id, dispute=dispute_of(event, payment_id, amount))


def _of_refund(bare: GatewayEvent, event: GoEvent) -> GatewayEvent:
    part_id, amount = uuid_of(event.about(PART_KEY)), money_of(event.about(AMOUNT_KEY))
    refund_id, charge_ref = event.links.refund, event.about(CHARGE_KEY)
    if part_id is None or amount is None or refund_id is None or charge_ref is None:
        return bare
    news = refund_of(event, refund_id, amount)
    if news is None:
        return bare
    return msgspec.structs.replace(bare, refund=msgspec.structs.replace(news, part_id=part_id, charge_ref=charge_ref))


def _refund_outcome(
    event: GoEvent, refund_id: str, amount: Money
) -> Refunded | Refused | Pending | TakenBack | Canceled | None:
    if event.action in CAME_BACK:
        return TakenBack(gateway_ref=refund_id, failure=failure_of(event.action, event.details.description))
    match event.action:
        case "paid":
            return Refunded(gateway_ref=refund_id, amount=amount)
        case "failed":
            return Refused(failure=failure_of("failed", event.details.description), gateway_ref=refund_id)
        case "cancelled":
            return Canceled(gateway_ref=refund_id)
        case "created":
            return Pending(gateway_ref=refund_id)
    return None
