"""What Adyen's events say about refunds, captures, disputes, stored methods and reports, in our words.

What of an event is not signed (`reason`, `additionalData`) only says why. A kind that is not listed says nothing: the
event is kept all the same.
"""

import re
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

import msgspec

from recoup_plugins import (
    Canceled,
    CaptureNews,
    CaptureState,
    CredentialChange,
    CredentialNews,
    DeclineCategory,
    DeclineSource,
    DisputeNews,
    DisputeState,
    FailureCategory,
    Method,
    Money,
    Pending,
    Refunded,
    RefundNews,
    Refused,
    SettlementNews,
    StoredCredential,
    TakenBack,
    classify,
)
from recoup_plugins.gateways.adyen_amounts import from_adyen
from recoup_plugins.gateways.adyen_objects import (
    ATTEMPT,
    PART,
    configuration_decline,
    decline_of,
    method_of,
    network_of,
    ours_in,
    text_in,
)
from recoup_plugins.gateways.adyen_refunds import failure_of
from recoup_plugins.gateways.adyen_webhooks import Item

News = RefundNews | DisputeNews | CaptureNews | CredentialNews | SettlementNews | None

STANDINGS: Final[Mapping[str, DisputeState]] = {
    "REQUEST_FOR_INFORMATION": DisputeState.INQUIRY,
    # the debit follows in days: a refund meanwhile would pay the customer twice
    "NOTIFICATION_OF_CHARGEBACK": DisputeState.OPEN,
    "CHARGEBACK": DisputeState.OPEN,
    "CHARGEBACK_REVERSED": DisputeState.WON,
    "SECOND_CHARGEBACK": DisputeState.LOST,
    "ISSUER_RESPONSE_TIMEFRAME_EXPIRED": DisputeState.WON,
    "PREARBITRATION_OPEN": DisputeState.OPEN,
    "PREARBITRATION_DECLINED": DisputeState.OPEN,
    "PREARBITRATION_ACCEPTED": DisputeState.LOST,
    "PREARBITRATION_ISSUER_WITHDRAWN": DisputeState.WON,
    "PREARBITRATION_WON": DisputeState.WON,
    "PREARBITRATION_LOST": DisputeState.LOST,
    "SCHEME_ARBITRATION": DisputeState.OPEN,
    "SCHEME_ARBITRATION_WON": DisputeState.WON,
    "SCHEME_ARBITRATION_LOST": DisputeState.LOST,
}
"""docs.adyen.com, dispute webhooks: all events of a dispute have its pspReference."""

_PERIOD_ENDED: Final = "DISPUTE_DEFENSE_PERIOD_ENDED"
_LOST_WORDS: Final = (None, "Lost", "Expired", "Undefended", "Accepted")
"""`disputeStatus` where the merchant did not defend; Brazil sends none. An inquiry that ended says something else."""

_DEBIT_TABLES: Final[Mapping[Method, DeclineSource]] = {
    Method.SEPA_DEBIT: DeclineSource.SEPA,
    Method.ACH_DEBIT: DeclineSource.ACH,
    Method.BACS_DEBIT: DeclineSource.BACS,
}
_CONTESTED: Final = frozenset({DeclineCategory.REVOKED_MANDATE, DeclineCategory.FRAUD, DeclineCategory.UNKNOWN})
"""Why a debit came back where the debtor says that it was not allowed, or nobody knows: a dispute."""

SETTLEMENT_REPORT: Final = re.compile(r"settlement_detail_report[\w.-]*\.csv", re.ASCII)

_TOKEN_CHANGES: Final[Mapping[str, CredentialChange]] = {
    "recurring.token.created": CredentialChange.ADDED,
    "recurring.token.updated": CredentialChange.UPDATED,
    "recurring.token.disabled": CredentialChange.REMOVED,
}


def news_of(item: Item) -> News:
    """Return what an item says of anything but the charge itself; raises `NotExpressible` for a foreign currency."""
    if item.eventCode in STANDINGS or item.eventCode == _PERIOD_ENDED:
        return _returned(item) or _dispute(item)
    reader = _READERS.get(item.eventCode)
    return reader(item) if reader is not None else None


def token_news(kind: str, data: Mapping[str, Any]) -> CredentialNews | None:
    """Return what a webhook about a token says."""
    change, token = _TOKEN_CHANGES.get(kind), text_in(data, "storedPaymentMethodId")
    if change is None or token is None:
        return None
    shopper = text_in(data, "shopperReference")
    stored = None if change is CredentialChange.REMOVED else _stored(token, shopper, text_in(data, "type"))
    return CredentialNews(change=change, token=token, gateway_customer=shopper, now=stored, reason=kind)


def _refund(item: Item) -> RefundNews:
    if item.succeeded:
        return _refund_news(item, Refunded(gateway_ref=item.pspReference, amount=_amount(item)))
    return _refund_news(item, Refused(failure=failure_of(item.why), gateway_ref=item.pspReference))


def _came_back(item: Item) -> RefundNews | None:
    """Both events are about a refund that had succeeded, and come with success "true"; their kind says why."""
    if not item.succeeded:
        return None
    failure = failure_of(item.eventCode, FailureCategory.REFUSED)
    told = msgspec.structs.replace(failure, message=item.why)
    return _refund_news(item, TakenBack(gateway_ref=item.pspReference, failure=told))


def _postponed(item: Item) -> RefundNews:
    return _refund_news(item, Pending(gateway_ref=item.pspReference))


def _voided_refund(item: Item) -> RefundNews | None:
    return _refund_news(item, Canceled(gateway_ref=item.pspReference)) if item.succeeded else None


def _canceled(item: Item) -> RefundNews | CaptureNews | None:
    """A void of ours is a part; any other says that nothing is left to capture."""
    if ours_in(PART, item.merchantReference) is not None:
        return _refund(item)
    return _voided(item) if item.succeeded else None


def _canceled_or_refunded(item: Item) -> RefundNews | CaptureNews | None:
    """Made elsewhere: we never ask for either of the two. Without the word which, nothing is guessed."""
    action = text_in(item.additionalData, "modification.action")
    if action == "refund":
        return _refund(item)
    return _voided(item) if action == "cancel" and item.succeeded else None


def _captured(item: Item) -> CaptureNews | None:
    return _capture_news(item, CaptureState.CAPTURED) if item.succeeded else None


def _expired(item: Item) -> CaptureNews | None:
    return _voided(item) if item.succeeded else None


def _voided(item: Item) -> CaptureNews:
    """Say that nothing is left to capture: of a payment of ours, which counts as collected, that no money came."""
    news = _capture_news(item, CaptureState.VOIDED)
    if ours_in(ATTEMPT, item.merchantReference) is None:
        return news
    why = configuration_decline(item.eventCode.lower(), "the authorisation ended before it was captured")
    return msgspec.structs.replace(news, standing=CaptureState.RETURNED, decline=why)


def _capture_failed(item: Item) -> CaptureNews | None:
    """The scheme took back a capture that had been told as done; comes with success "true"."""
    return _capture_news(item, CaptureState.RETURNED) if item.succeeded else None


def _returned(item: Item) -> CaptureNews | None:
    """A bank debit that the bank sent back is told as a chargeback: no dispute, unless the debtor contests it."""
    table = _DEBIT_TABLES.get(method_of(item.paid_with) or Method.CARD)
    if item.eventCode != "CHARGEBACK" or not item.succeeded or table is None:
        return None
    code = (text_in(item.additionalData, "chargebackReasonCode") or (item.why or "").partition(":")[0]).strip()
    decline = classify(table, code, message=item.why)
    if decline.category in _CONTESTED:
        return None
    return CaptureNews(
        charge_ref=item.payment_ref,
        other_charge_refs=_capture_refs(item),
        amount=_amount(item),
        standing=CaptureState.RETURNED,
        decline=decline,
    )


def _dispute(item: Item) -> DisputeNews | None:
    standing = STANDINGS.get(item.eventCode)
    if item.eventCode == _PERIOD_ENDED and text_in(item.additionalData, "disputeStatus") in _LOST_WORDS:
        standing = DisputeState.LOST
    if standing is None or not item.succeeded:
        return None
    reason = text_in(item.additionalData, "chargebackReasonCode", "rfiReasonCode") or item.why
    return DisputeNews(
        dispute_ref=item.pspReference,
        charge_ref=item.payment_ref,
        other_charge_refs=_capture_refs(item),
        amount=_amount(item),
        standing=standing,
        reason=reason.strip() if reason else None,
        evidence_due_at=_due(text_in(item.additionalData, "defensePeriodEndsAt")),
    )


def _suspected(item: Item) -> CredentialNews:
    return CredentialNews(
        change=CredentialChange.SUSPECTED,
        gateway_customer=text_in(item.additionalData, "shopperReference"),
        charge_ref=item.payment_ref,
        reason=item.why or item.eventCode,
    )


def _contract(item: Item) -> CredentialNews | None:
    """The token is the event's own reference, which is signed."""
    if not item.succeeded:
        return None
    shopper = text_in(item.additionalData, "recurring.shopperReference", "shopperReference")
    return CredentialNews(
        change=CredentialChange.ADDED,
        token=item.pspReference,
        gateway_customer=shopper,
        now=_stored(item.pspReference, shopper, item.paid_with),
        reason=item.eventCode,
    )


def _report(item: Item) -> SettlementNews | None:
    """The report's file name is signed, the address beside it is not: only the name is taken."""
    known = item.succeeded and SETTLEMENT_REPORT.fullmatch(item.pspReference) is not None
    return SettlementNews(report_ref=item.pspReference) if known else None


_READERS: Final[Mapping[str, Callable[[Item], News]]] = {
    "REFUND": _refund,
    "REFUND_FAILED": _came_back,
    "REFUNDED_REVERSED": _came_back,
    "POSTPONED_REFUND": _postponed,
    "VOID_PENDING_REFUND": _voided_refund,
    "CANCELLATION": _canceled,
    "TECHNICAL_CANCEL": _canceled,
    "CANCEL_OR_REFUND": _canceled_or_refunded,
    "CAPTURE": _captured,
    "CAPTURE_FAILED": _capture_failed,
    "EXPIRE": _expired,
    "NOTIFICATION_OF_FRAUD": _suspected,
    "RECURRING_CONTRACT": _contract,
    "REPORT_AVAILABLE": _report,
}


def _refund_news(item: Item, outcome: Refunded | Refused | Pending | TakenBack | Canceled) -> RefundNews:
    return RefundNews(
        refund_ref=item.pspReference,
        part_id=ours_in(PART, item.merchantReference),
        charge_ref=item.originalReference,
        amount=_amount(item),
        outcome=outcome,
    )


def _capture_news(item: Item, standing: CaptureState) -> CaptureNews:
    back = standing is CaptureState.RETURNED
    return CaptureNews(
        charge_ref=item.payment_ref,
        other_charge_refs=_capture_refs(item),
        amount=_amount(item),
        standing=standing,
        decline=decline_of(None, item.why, {"paymentMethod": item.paid_with}) if back else None,
    )


def _stored(token: str, shopper: str | None, method: str | None) -> StoredCredential | None:
    known = method_of(method)
    if known is None:
        return None
    return StoredCredential(token=token, gateway_customer=shopper, method=known, network=network_of(method))


def _capture_refs(item: Item) -> tuple[str, ...]:
    capture = text_in(item.additionalData, "capturePspReference")
    return (capture,) if capture else ()


def _amount(item: Item) -> Money:
    return from_adyen(item.amount.value, item.amount.currency)


def _due(said: str | None) -> datetime | None:
    """Read a date that only people use; one without a zone is no moment."""
    try:
        at = datetime.fromisoformat(said) if said else None
    except ValueError:
        return None
    return at if at is not None and at.tzinfo is not None else None
