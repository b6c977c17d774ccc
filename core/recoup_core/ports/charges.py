"""Collecting: what a gateway is asked, and what it may answer."""

from datetime import datetime
from uuid import UUID

import msgspec

from recoup_core.domain.decline import Decline
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method


class ChargeRequest(msgspec.Struct, frozen=True, kw_only=True):
    """Everything a gateway needs to collect once; the same key always comes with the same request."""

    idempotency_key: str
    """Made once per attempt and stored before the first send; at most 64 characters."""
    attempt_id: UUID
    payment_reference: str
    amount: Money
    method: Method
    token: str
    gateway_customer: str | None = None
    first_sent_at: datetime
    """When the key was first used; the search for a lost answer starts there."""
    gateway_ref: str | None = None
    """The gateway's own id of this attempt where an earlier answer told it."""
    debt_ref: str | None = None
    """The gateway's own object of the debt, where it has one (Stripe: an invoice or an intent; GoCardless: a payment).
    A gateway that can collect on it does so, and makes no second object that could be paid as well."""
    number: int = 1
    """Which try of the payment this is, everybody's tries counted."""
    subscription: bool = False
    """Whether the debt renews a subscription: networks want charges without the customer told apart."""
    correlation_id: str | None = None


class Succeeded(msgspec.Struct, frozen=True, kw_only=True, tag="succeeded"):
    """The money was collected."""

    gateway_ref: str
    amount: Money
    """What was really collected, in the gateway's words turned into minor units."""
    try_ref: str | None = None
    """The gateway's id of this one try, where an object of it is tried many times (Stripe: the charge of an intent)."""


class Declined(msgspec.Struct, frozen=True, kw_only=True, tag="declined"):
    """A definite no; no money moved."""

    decline: Decline
    gateway_ref: str | None = None
    try_ref: str | None = None


class Pending(msgspec.Struct, frozen=True, kw_only=True, tag="pending"):
    """Taken for processing; the result comes by webhook or look-up."""

    gateway_ref: str
    try_ref: str | None = None


class NotSent(msgspec.Struct, frozen=True, kw_only=True, tag="not_sent"):
    """Certain that nothing left, or that the gateway did nothing: the same key may be sent again."""

    reason: str
    retry_after_s: float | None = None


class Owned(msgspec.Struct, frozen=True, kw_only=True, tag="owned"):
    """Nothing was sent: the gateway (or a biller at it) is going to collect this debt by itself.

    Two who retry one debt break network rules that each of them keeps. A person decides who goes on.
    """

    reason: str
    next_attempt_at: datetime | None = None


class NotFound(msgspec.Struct, frozen=True, kw_only=True, tag="not_found"):
    """The gateway knows no charge of this attempt (as far as its look-up can tell)."""


ChargeOutcome = Succeeded | Declined | Pending | NotSent | Owned
FoundCharge = Succeeded | Declined | Pending | NotFound
