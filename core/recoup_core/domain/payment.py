"""A payment that is owed, and the credentials (gateway tokens, never card numbers) that may pay it."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money


class Method(StrEnum):
    """How the customer pays; decides which scheme's rules apply."""

    CARD = "card"
    SEPA_DEBIT = "sepa_debit"
    ACH_DEBIT = "ach_debit"
    BACS_DEBIT = "bacs_debit"


class Network(StrEnum):
    """The card network; bank debits have none."""

    VISA = "visa"
    MASTERCARD = "mastercard"
    AMERICAN_EXPRESS = "american_express"
    DISCOVER = "discover"
    ELO = "elo"
    OTHER = "other"


class Segment(StrEnum):
    """Who owes the money: policies treat consumers and businesses apart."""

    CONSUMER = "consumer"
    BUSINESS = "business"


class RetryOwner(StrEnum):
    """Who tries a failed payment again at a gateway; a debt has exactly one."""

    RECOUP = "recoup"
    GATEWAY = "gateway"
    """The provider itself (Stripe's Smart Retries, Adyen's Auto Rescue)."""
    BILLER = "biller"
    """A billing system that charges through the same gateway."""


class CredentialRole(StrEnum):
    """Which of a customer's credentials a policy means by `primary` and `backup`."""

    PRIMARY = "primary"
    BACKUP = "backup"


class BlockedBecause(StrEnum):
    """Why a credential is not tried any more."""

    REMOVED = "removed"
    """The customer or the bank took it back; the gateway may tell that it is there again."""
    REPLACED = "replaced"
    """Another token has taken its place."""
    SUSPECTED_FRAUD = "suspected_fraud"
    """The network warned of fraud."""
    DISPUTED = "disputed"
    """The customer's bank took back a charge that was made with it, whatever came of the dispute."""


OBJECTED: Final = frozenset({BlockedBecause.SUSPECTED_FRAUD, BlockedBecause.DISPUTED})
"""What customer or bank objected to: no gateway lifts it, only the customer or a person who gives it again."""


class PaymentState(StrEnum):
    """What is true of the debt, whatever was tried."""

    OWED = "owed"
    PAID = "paid"
    CLOSED = "closed"


class PaymentEvent(StrEnum):
    """What can happen to the debt."""

    SETTLE = "settle"
    CLOSE = "close"
    RETURN = "return"
    """Money that had come in was taken back by the customer's bank."""


PAYMENT: Final = Machine(
    "payment",
    {
        (PaymentState.OWED, PaymentEvent.SETTLE): PaymentState.PAID,
        (PaymentState.OWED, PaymentEvent.CLOSE): PaymentState.CLOSED,
        (PaymentState.CLOSED, PaymentEvent.SETTLE): PaymentState.PAID,  # a late success is the truth
        (PaymentState.PAID, PaymentEvent.RETURN): PaymentState.OWED,
    },
)


class Credential(msgspec.Struct, frozen=True, kw_only=True):
    """One stored means of payment at one gateway."""

    id: UUID
    merchant_id: str
    customer_ref: str
    """The merchant's own name for the customer."""
    gateway: str
    token: str
    """The gateway's token (`pm_...`); never a card number."""
    gateway_customer: str | None = None
    """The gateway's own customer id, where charging needs it (`cus_...`)."""
    account_key: str
    """Names the account behind the token: the gateway's fingerprint, else gateway and token.
    Network limits count per account, so all tokens of one card share a key."""
    method: Method
    network: Network | None = None
    role: CredentialRole = CredentialRole.PRIMARY
    issuer_country: str | None = None
    expires_on: str | None = None
    """The month on the card (`YYYY-MM`), where it is known."""
    par: str | None = None
    """The payment account reference (EMVCo), which names one card at all gateways, where it is known."""
    valid: bool = True
    """False once the gateway or the customer took it back, or its charge was disputed; never tried again."""
    blocked_because: BlockedBecause | None = None
    """Why it is not valid any more."""
    renewed_at: datetime | None = None
    """When the customer, the gateway or a person last gave or renewed it; None while only reports told of it."""
    created_at: datetime


_APART: Final = frozenset({Network.VISA, Network.MASTERCARD, Network.AMERICAN_EXPRESS})
"""Networks of which no card carries two; others share cards with them."""


def may_be_one_account(one: Credential, other: Credential) -> bool:
    """Whether two credentials may stand for one card or bank account, as far as anybody knows.

    Fingerprints compare within a gateway only. Over gateways an account is told apart by its reference (`par`), method,
    role, network or issuer's country; what nothing tells apart counts as one, so that no routing multiplies tries.
    """
    if one.account_key == other.account_key:
        return True
    if one.par is not None and other.par is not None:
        return one.par == other.par
    if one.gateway == other.gateway or (one.method, one.role) != (other.method, other.role):
        return False
    if one.network is not other.network and {one.network, other.network} <= _APART:
        return False
    return one.issuer_country == other.issuer_country or None in (one.issuer_country, other.issuer_country)


class Customer(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What is known of who owes; every field is optional and only sharpens decisions."""

    ref: str
    country: str | None = None
    """ISO 3166-1 alpha-2."""
    timezone: str | None = None
    """IANA name (`Europe/Berlin`); else the country's main zone, else UTC."""
    segment: Segment | None = None
    tier: str | None = None
    tenure_days: int | None = None
    paydays: tuple[int, ...] = ()
    """Days of the month on which this customer is paid; 31 means the last day."""
    vulnerable: bool = False


class Payment(msgspec.Struct, frozen=True, kw_only=True):
    """One debt: an amount owed once, however many attempts it takes."""

    id: UUID
    merchant_id: str
    reference: str
    """The merchant's own name for the debt (an invoice number); unique per merchant."""
    customer: Customer
    amount_minor: int
    currency: str
    captured_minor: int = 0
    gateway: str
    gateway_ref: str | None = None
    """The gateway's object of the first failure (`pi_...`), where known."""
    method: Method
    subscription: Mapping[str, Any] = {}
    """`plan` and `interval` (`month`, `year`) where the debt renews a subscription."""
    state: PaymentState = PaymentState.OWED
    order_ref: str | None = None
    """The merchant's order that it belongs to; a refund may go over all payments of one."""
    first_failed_at: datetime | None = None
    """None for a payment that was reported as collected: it never failed, and no case belongs to it."""
    paid_at: datetime | None = None
    """When it was collected in full."""
    goodwill_minor: int = 0
    """Goodwill given as store credit beyond it; never above what it came to. Kept by a trigger."""
    created_at: datetime

    @property
    def amount(self) -> Money:
        """What is owed in all."""
        return Money(self.amount_minor, self.currency)

    @property
    def failing_since(self) -> datetime:
        """When it first failed, as far as anybody told."""
        return self.first_failed_at or self.created_at

    @property
    def outstanding(self) -> Money:
        """What is still to be collected."""
        return Money(self.amount_minor - self.captured_minor, self.currency)
