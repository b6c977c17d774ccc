"""Why an attempt failed, in our thirteen categories, with the provider's own words kept beside them."""

from enum import StrEnum

import msgspec


class DeclineCategory(StrEnum):
    """Our classification; no network publishes these groups (reference/README.md)."""

    INSUFFICIENT_FUNDS = "insufficient_funds"
    ISSUER_TEMPORARY = "issuer_temporary"
    ISSUER_GENERIC = "issuer_generic"
    EXPIRED_OR_INVALID_CREDENTIALS = "expired_or_invalid_credentials"
    LOST_OR_STOLEN = "lost_or_stolen"
    FRAUD = "fraud"
    AUTHENTICATION_REQUIRED = "authentication_required"
    VELOCITY_OR_LIMIT = "velocity_or_limit"
    NOT_PERMITTED = "not_permitted"
    REVOKED_MANDATE = "revoked_mandate"
    CONFIGURATION = "configuration"
    PROCESSING_ERROR = "processing_error"
    UNKNOWN = "unknown"
    """A code in no table: it gets no unattended retry (promise 6)."""


class Retryable(StrEnum):
    """Whether time alone may help."""

    YES = "yes"
    """An unattended, spaced retry inside the limits may help."""
    NO = "no"
    """Never again with the same credential."""
    AFTER_CUSTOMER_ACTION = "after_customer_action"
    """Only after the customer or the merchant changed something."""


class DeclineSource(StrEnum):
    """Whose code table a code belongs to."""

    STRIPE = "stripe"
    ADYEN = "adyen"
    ISO8583 = "iso8583"
    ACH = "ach"
    SEPA = "sepa"
    BACS = "bacs"


class Decline(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One decline: the provider's code, what the network said, and what we make of both."""

    code: str
    """The provider's own code, as sent (`insufficient_funds`, `51`, `R01`); at most 64 characters."""
    source: DeclineSource
    category: DeclineCategory
    retryable: Retryable
    network_code: str | None = None
    """The issuer's ISO 8583 response code or the scheme's reason code, where the provider passes it on."""
    advice_code: str | None = None
    """Mastercard merchant advice code, two digits (`03`, `24`), where the provider passes it on."""
    visa_category: int | None = None
    """Visa decline category 1 to 4; 4 for every Visa code that is in no list."""
    blocked_by_gateway: bool = False
    """The gateway itself refused to send it (Stripe `previously_declined_do_not_retry`, Adyen 46): stop."""
    message: str | None = None
