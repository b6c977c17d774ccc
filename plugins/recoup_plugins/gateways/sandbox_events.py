"""The sandbox's webhooks in our words: what each kind says of a charge, a refund, a dispute or an authorisation."""

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.capture import CaptureState
from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Network
from recoup_core.domain.refund import RefundFailure
from recoup_core.ports import (
    Canceled,
    CaptureNews,
    CredentialChange,
    CredentialNews,
    Declined,
    DisputeNews,
    GatewayEvent,
    Pending,
    Refunded,
    RefundNews,
    Refused,
    ReportedFailure,
    SettlementNews,
    Succeeded,
    TakenBack,
    WebhookRefused,
)
from recoup_core.reference import classify
from recoup_plugins.gateways.sandbox_script import ScriptedDecline


class _Data(msgspec.Struct):
    charge_id: str | None = None
    attempt_id: UUID | None = None
    amount_minor: int | None = None
    currency: str | None = None
    decline: ScriptedDecline | None = None
    failure: ReportedFailure | None = None
    refund_id: str | None = None
    part_id: UUID | None = None
    refund_failure: RefundFailure | None = None
    fee_minor: int = 0
    dispute_id: str | None = None
    standing: DisputeState | None = None
    reason: str | None = None
    evidence_due_at: datetime | None = None
    report_ref: str | None = None
    credential: CredentialNews | None = None

    @property
    def amount(self) -> Money | None:
        """The amount, where the event tells one."""
        if self.amount_minor is None or self.currency is None:
            return None
        return Money(self.amount_minor, self.currency)


class _Event(msgspec.Struct):
    id: str
    type: str
    created: datetime
    data: msgspec.Raw = msgspec.Raw(b"{}")


def read_event(body: bytes) -> GatewayEvent:
    """Translate a verified body; one that is no event of the sandbox raises `WebhookRefused`."""
    try:
        event = msgspec.json.decode(body, type=_Event)
        payload: Mapping[str, Any] = msgspec.json.decode(body, type=dict[str, Any])
        tell = _KINDS.get(event.type)
        told = tell(event.type, msgspec.json.decode(event.data, type=_Data)) if tell is not None else {}
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as unreadable:
        raise WebhookRefused(f"the body is no event ({type(unreadable).__name__})") from None
    return GatewayEvent(external_id=event.id, kind=event.type, occurred_at=event.created, payload=payload, **dict(told))


def as_decline(scripted: ScriptedDecline, network: Network | None = None) -> Decline:
    """Classify a scripted decline as one of Stripe's, whose codes the sandbox speaks."""
    return classify(
        DeclineSource.STRIPE,
        scripted.code,
        network=network,
        network_code=scripted.network_code,
        advice_code=scripted.advice_code,
    )


def _of_charge(kind: str, data: _Data) -> Mapping[str, Any]:
    outcome, failure = _meaning(kind, data)
    return {
        "attempt_id": data.attempt_id,
        "gateway_ref": data.charge_id,
        "outcome": outcome,
        "failure": failure,
    }


def _meaning(kind: str, data: _Data) -> tuple[Succeeded | Declined | Pending | None, ReportedFailure | None]:
    if data.charge_id is None:
        return None, None
    if kind == "charge.succeeded" and data.amount is not None:
        return Succeeded(gateway_ref=data.charge_id, amount=data.amount), None
    if kind == "charge.pending":
        return Pending(gateway_ref=data.charge_id), None
    if kind == "charge.declined" and data.decline is not None:
        return Declined(decline=as_decline(data.decline), gateway_ref=data.charge_id), None
    if kind == "charge.failed_elsewhere" and data.decline is not None and data.failure is not None:
        declined = Declined(decline=as_decline(data.decline, data.failure.network), gateway_ref=data.charge_id)
        return declined, data.failure
    return None, None


def _of_capture(kind: str, data: _Data) -> Mapping[str, Any]:
    if data.charge_id is None or data.amount is None:
        return {}
    standing = CaptureState(kind.removeprefix("charge."))
    return {"capture": CaptureNews(charge_ref=data.charge_id, amount=data.amount, standing=standing)}


def _of_refund(kind: str, data: _Data) -> Mapping[str, Any]:
    if data.refund_id is None or data.amount is None:
        return {}
    outcome = _refund_outcome(kind, data, data.refund_id, data.amount)
    if outcome is None:
        return {}
    news = RefundNews(
        refund_ref=data.refund_id,
        part_id=data.part_id,
        charge_ref=data.charge_id,
        amount=data.amount,
        outcome=outcome,
    )
    return {"refund": news}


def _refund_outcome(
    kind: str, data: _Data, ref: str, amount: Money
) -> Refunded | Refused | Pending | TakenBack | Canceled | None:
    failure = data.refund_failure
    match kind:
        case "refund.succeeded":
            fee = Money(data.fee_minor, amount.currency) if data.fee_minor else None
            return Refunded(gateway_ref=ref, amount=amount, fee=fee)
        case "refund.pending":
            return Pending(gateway_ref=ref)
        case "refund.canceled":
            return Canceled(gateway_ref=ref)
        case "refund.refused" if failure is not None:
            return Refused(failure=failure, gateway_ref=ref)
        case "refund.taken_back" if failure is not None:
            return TakenBack(failure=failure, gateway_ref=ref)
        case _:
            return None


def _of_dispute(_: str, data: _Data) -> Mapping[str, Any]:
    if data.dispute_id is None or data.charge_id is None or data.amount is None or data.standing is None:
        return {}
    news = DisputeNews(
        dispute_ref=data.dispute_id,
        charge_ref=data.charge_id,
        amount=data.amount,
        standing=data.standing,
        reason=data.reason,
        evidence_due_at=data.evidence_due_at,
        fee=Money(data.fee_minor, data.amount.currency) if data.fee_minor else None,
    )
    return {"dispute": news}


def _of_credential(_: str, data: _Data) -> Mapping[str, Any]:
    return {"credential": data.credential}


def _of_settlement(_: str, data: _Data) -> Mapping[str, Any]:
    return {} if data.report_ref is None else {"settlement": SettlementNews(report_ref=data.report_ref)}


_KINDS: Final[Mapping[str, Callable[[str, _Data], Mapping[str, Any]]]] = {
    **dict.fromkeys(
        ("charge.succeeded", "charge.pending", "charge.declined", "charge.failed_elsewhere"),
        _of_charge,
    ),
    **dict.fromkeys(("charge.captured", "charge.voided"), _of_capture),
    **{f"refund.{what}": _of_refund for what in ("succeeded", "pending", "refused", "canceled", "taken_back")},
    **{f"dispute.{standing}": _of_dispute for standing in DisputeState},
    "settlement.ready": _of_settlement,
    **{f"credential.{change}": _of_credential for change in CredentialChange},
}
"""Any other kind is kept and means nothing to us."""
