"""What requests and answers about charges to come carry, and the notices that go before them."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.payment import Method, Network
from recoup_core.domain.recovery import StepKind
from recoup_core.domain.upcoming import ChargeFile, ChargeState, Notice, NoticeState, UpcomingCharge
from recoup_core.flows.upcoming.announcing import MAX_REASON, Announcement, ChargeEdit
from recoup_server.schemas_in import AmountMinor, Body, Currency, CustomerIn, Moment, Month, Name, Short, SubscriptionIn
from recoup_server.schemas_out import Out


class UpcomingChargeIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A charge that the billing system is going to make."""

    reference: Name
    """The merchant's own name for it: report it under the same one if it fails."""
    customer: CustomerIn
    amount_minor: AmountMinor
    currency: Currency
    charge_at: Moment
    method: Method
    network: Network | None = None
    gateway: Short
    expires_on: Month | None = None
    subscription: SubscriptionIn | None = None

    def announcement(self, merchant_id: str) -> Announcement:
        """Return the announcement as flows know it."""
        return Announcement(
            merchant_id=merchant_id,
            reference=self.reference,
            customer=self.customer.customer(),
            contact=self.customer.contact(),
            amount_minor=self.amount_minor,
            currency=self.currency,
            charge_at=self.charge_at,
            method=self.method,
            network=self.network,
            gateway=self.gateway,
            expires_on=self.expires_on,
            subscription={} if self.subscription is None else dict(self.subscription.known()),
        )


class ChargeEditIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is to be different; what is left out stays."""

    amount_minor: AmountMinor | None = None
    charge_at: Moment | None = None
    expires_on: Month | None = None
    """Of the card that will be charged; tell it whenever the card was renewed."""
    subscription: SubscriptionIn | None = None

    def edit(self) -> ChargeEdit:
        """Return the edit as flows know it."""
        return ChargeEdit(
            amount_minor=self.amount_minor,
            charge_at=self.charge_at,
            expires_on=self.expires_on,
            subscription=None if self.subscription is None else dict(self.subscription.known()),
        )


class CallOffIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a charge will not be made."""

    reason: Annotated[str, Meta(min_length=1, max_length=MAX_REASON)]


class NoticeOut(Out, frozen=True, kw_only=True):
    """One thing that is said before a charge, or done by a person."""

    id: UUID
    kind: StepKind
    state: NoticeState
    key: str
    due_at: datetime
    latest_at: datetime
    """It comes no later than this, or not at all."""
    rule: str
    decision_id: UUID
    detail: Mapping[str, Any]
    """`template` and `channels`, or `text`."""
    skipped_because: str | None
    held_until: datetime | None
    held_because: str | None
    """Why the contact budget lets it out no earlier."""
    finished_at: datetime | None


class UpcomingChargeOut(Out, frozen=True, kw_only=True):
    """A charge that is to come, or was."""

    id: UUID
    reference: str
    customer_ref: str
    amount_minor: int
    currency: str
    charge_at: datetime
    method: Method
    network: Network | None
    gateway: str
    expires_on: str | None
    subscription: Mapping[str, Any]
    state: ChargeState
    policy_name: str | None
    """The policy that says what is told before it; null: none covers it."""
    policy_digest: str | None
    announced_at: datetime
    changed_at: datetime
    finished_at: datetime | None


class UpcomingChargeFileOut(Out, frozen=True, kw_only=True):
    """A charge with its notices, past and to come, in the order of their times."""

    charge: UpcomingChargeOut
    notices: list[NoticeOut]


class UpcomingChargePage(Out, frozen=True, kw_only=True):
    """A page of charges, newest first."""

    items: list[UpcomingChargeOut]
    next_cursor: str | None


def charge_out(charge: UpcomingCharge) -> UpcomingChargeOut:
    """Return a charge as callers see it."""
    fields = {name: getattr(charge, name) for name in UpcomingChargeOut.__struct_fields__ if name != "customer_ref"}
    return UpcomingChargeOut(customer_ref=charge.customer.ref, **fields)


def file_out(file: ChargeFile) -> UpcomingChargeFileOut:
    """Return a charge with its notices as callers see them."""
    return UpcomingChargeFileOut(charge=charge_out(file.charge), notices=[_notice_out(each) for each in file.notices])


def _notice_out(notice: Notice) -> NoticeOut:
    return msgspec.convert(notice, NoticeOut, from_attributes=True)
