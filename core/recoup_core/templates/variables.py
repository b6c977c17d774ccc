"""What a template may say: every variable is declared here, with its meaning; anything else is refused by the check."""

from datetime import date, datetime

import msgspec

from recoup_core.domain.decline import DeclineCategory
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Method
from recoup_core.domain.subscription_request import Wish


class Brand(msgspec.Struct, frozen=True, kw_only=True):
    """How a merchant's customers know it."""

    merchant: str
    name: str
    colour: str = "#1f4fd8"
    logo_url: str | None = None
    support_email: str | None = None
    support_url: str | None = None
    website: str | None = None
    postal_address: str | None = None
    locale: str | None = None


class Debt(msgspec.Struct, frozen=True, kw_only=True):
    """What is owed, and why it is not paid yet."""

    reference: str
    """The merchant's own name for it (an invoice number)."""
    amount: Money
    """What is still owed."""
    method: Method
    failed_at: datetime
    reason: DeclineCategory | None = None
    """Why the last try failed, as far as it is known; templates say it in words a customer understands."""
    plan: str | None = None


class Upcoming(msgspec.Struct, frozen=True, kw_only=True):
    """A charge that is to come."""

    reference: str
    amount: Money
    charge_at: datetime
    method: Method
    plan: str | None = None
    card_expires: date | None = None
    """The last day on which the card is good; None: not known, or no card."""


class NextChange(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of the subscription unless the debt is paid."""

    wish: Wish
    at: datetime
    plan: str | None = None


class MessageData(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a template is given."""

    brand: Brand
    customer_name: str | None = None
    zone: str = "UTC"
    """The customer's (IANA): dates and times are told in it."""
    now: datetime
    debt: Debt | None = None
    upcoming: Upcoming | None = None
    """One of the two is there."""
    next_retry: datetime | None = None
    """When the next try is planned; None: none is."""
    next_change: NextChange | None = None
    update_url: str | None = None
    unsubscribe_url: str | None = None
