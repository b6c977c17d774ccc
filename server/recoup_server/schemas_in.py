"""What requests carry. Unknown fields are refused, texts have limits, times carry their zone; money is minor units."""

from datetime import date, datetime
from functools import cache
from typing import Annotated, Final, Literal
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from recoup_core.domain.decline import Decline, DeclineSource
from recoup_core.domain.money import MAX_AMOUNT_MINOR
from recoup_core.domain.payment import CredentialRole, Customer, Method, Network, Segment
from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.operate import HUMAN_EVIDENCE, Resolution
from recoup_core.flows.reports import FailureReport, PriorAttempt, ReportedCredential
from recoup_core.flows.tasks import RESOLUTION_MAX
from recoup_core.reference import classify
from recoup_core.rules.facts import COUNTRIES, Interval
from recoup_core.rules.language.yamltext import MAX_BYTES as MAX_POLICY
from recoup_server.errors import RequestInvalid

MAX_ATTEMPTS: Final = 50
MAX_CREDENTIALS: Final = 20
OLDEST_YEAR: Final = 2000
"""Attempts before are typing errors."""

# JSON Schema knows no \Z, and `$` lets a line feed through: the length shuts it out.
Currency = Annotated[str, Meta(pattern="^[A-Z]{3}$", min_length=3, max_length=3, description="ISO 4217.")]
Country = Annotated[str, Meta(pattern="^[A-Z]{2}$", min_length=2, max_length=2, description="ISO 3166-1 alpha-2.")]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Short = Annotated[str, Meta(min_length=1, max_length=64)]
Token = Annotated[str, Meta(min_length=1, max_length=500, description="The gateway's token; never a card number.")]
AmountMinor = Annotated[int, Meta(ge=1, le=MAX_AMOUNT_MINOR, description="Minor units: cents for EUR, yen for JPY.")]
Moment = Annotated[datetime, Meta(tz=True, description="RFC 3339, with its zone.")]
Month = Annotated[
    str,
    Meta(
        pattern="^[0-9]{4}-(0[1-9]|1[0-2])$",
        min_length=7,
        max_length=7,
        description="The month on the card, `YYYY-MM`: it is good to the end of it.",
    ),
]
Day = Annotated[int, Meta(ge=1, le=31)]


class Body(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all request bodies share."""


class CustomerIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Who owes; only `ref` is needed, the rest sharpens decisions."""

    ref: Name
    country: Country | None = None
    timezone: Annotated[str, Meta(max_length=64, description="IANA name (`Europe/Berlin`).")] | None = None
    segment: Segment | None = None
    tier: Short | None = None
    tenure_days: Annotated[int, Meta(ge=0, le=100_000)] | None = None
    paydays: Annotated[tuple[Day, ...], Meta(max_length=31, description="Days of the month; 31 is the last.")] = ()
    vulnerable: bool = False
    name: Name | None = None
    """How they are addressed in messages. This and what follows is kept with the customer, not with the payment."""
    email: Annotated[str, Meta(min_length=3, max_length=254)] | None = None
    phone: Annotated[str, Meta(pattern=r"^\+[1-9][0-9]{6,14}$", max_length=16, description="E.164.")] | None = None
    """Where text messages go."""
    locale: Annotated[str, Meta(min_length=2, max_length=35, description="BCP 47 (`de-AT`).")] | None = None
    addresses: Annotated[dict[str, str], Meta(max_length=10)] = {}
    """By channel, for those besides `email` and `sms`: what the notifier of the channel calls for."""

    def contact(self) -> ReportedContact:
        """Return how the customer is reached, as far as it is told."""
        short = {"email": self.email, "sms": self.phone}
        for channel, field in (("email", "email"), ("sms", "phone")):
            if short[channel] is not None and channel in self.addresses:
                raise RequestInvalid(f"customer.addresses.{channel}", f"is told as `{field}` already")
        given = {channel: address for channel, address in short.items() if address is not None}
        return ReportedContact(name=self.name, locale=self.locale, addresses={**self.addresses, **given})

    def customer(self) -> Customer:
        """Return the customer as flows know it; an unknown country or zone is refused."""
        _check_country("customer.country", self.country)
        if self.timezone is not None and self.timezone not in _zones():
            raise RequestInvalid("customer.timezone", "is no time zone of the IANA database")
        return msgspec.convert(self, Customer, from_attributes=True)


class SubscriptionIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What the debt renews."""

    plan: Name | None = None
    interval: Interval | None = None
    period_start: date | None = None
    """The first day that is paid for; with `period_end`, refund policies know how much of it is used."""
    period_end: date | None = None
    """The day on which the next period starts."""

    def known(self) -> dict[str, str]:
        """Return what is known, as payments keep it; a period that ends before it starts is refused."""
        if self.period_start is not None and self.period_end is not None and self.period_end <= self.period_start:
            raise RequestInvalid("subscription.period_end", "lies before the period's start")
        given = {name: getattr(self, name) for name in self.__struct_fields__}
        return {name: str(value) for name, value in given.items() if value is not None}


class CredentialIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A stored means of payment: a gateway's token, never a card number."""

    gateway: Short
    token: Token
    gateway_customer: Name | None = None
    fingerprint: Name | None = None
    """The gateway's fingerprint of the account behind the token: limits count all its tokens as one."""
    par: Short | None = None
    """The payment account reference (EMVCo), where a gateway tells it: limits count one card at all gateways as one."""
    method: Method
    network: Network | None = None
    role: CredentialRole = CredentialRole.PRIMARY
    issuer_country: Country | None = None
    expires_on: Month | None = None

    def credential(self, field: str) -> ReportedCredential:
        """Return the credential as flows know it; `field` names this one in refusals."""
        _check_country(f"{field}.issuer_country", self.issuer_country)
        return msgspec.convert(self, ReportedCredential, from_attributes=True)


class DeclineIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why an attempt failed, in the words of whoever said so."""

    source: DeclineSource
    """Whose code table `code` is from."""
    code: Short
    network_code: Short | None = None
    """The issuer's or scheme's response code, where the gateway passes it on."""
    advice_code: Annotated[str, Meta(min_length=1, max_length=8, description="Mastercard's two digits.")] | None = None
    gateway_advice: Short | None = None
    """The gateway's own advice (Stripe's `advice_code`)."""
    message: Annotated[str, Meta(max_length=500)] | None = None

    def decline(self, network: Network | None) -> Decline:
        """Return the decline with its category."""
        return classify(
            self.source,
            self.code,
            network=network,
            network_code=self.network_code,
            advice_code=self.advice_code,
            gateway_advice=self.gateway_advice,
            message=self.message,
        )


class AttemptIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """An attempt that failed before Recoup was told."""

    at: Moment
    decline: DeclineIn
    token: Token | None = None
    """Which of the reported credentials it was made on; if not given, the first primary."""
    gateway_ref: Name | None = None
    try_ref: Name | None = None
    """The gateway's id of this one try (`ch_...`), where it names tries: if its events tell of it, it counts once."""


class PaymentIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A payment that failed, with everything that was tried so far."""

    reference: Name
    """Your own name for the debt (an invoice number); unique."""
    amount_minor: AmountMinor
    currency: Currency
    customer: CustomerIn
    gateway: Short
    gateway_ref: Name | None = None
    """The gateway's object of the first failure (`pi_...`)."""
    method: Method
    order_ref: Name | None = None
    """The order that it belongs to; a refund may go over all payments of one."""
    subscription: SubscriptionIn | None = None
    credentials: Annotated[tuple[CredentialIn, ...], Meta(max_length=MAX_CREDENTIALS)] = ()
    attempts: Annotated[tuple[AttemptIn, ...], Meta(min_length=1, max_length=MAX_ATTEMPTS)]
    next_attempt_at: Moment | None = None
    """When the gateway or your billing system is going to try this debt again by itself: refused while that is so."""
    retries_ended: bool = False
    """Whether whoever tried it so far has given up; a must where the settings name another owner (`retries_by`)."""

    def report(self, merchant_id: str) -> FailureReport:
        """Return the report as flows know it."""
        self._refuse_doubles()
        networks = {credential.token: credential.network for credential in self.credentials}
        primaries = (c.network for c in self.credentials if c.role is CredentialRole.PRIMARY)
        first = next(primaries, None)
        return FailureReport(
            merchant_id=merchant_id,
            reference=self.reference,
            amount_minor=self.amount_minor,
            currency=self.currency,
            customer=self.customer.customer(),
            gateway=self.gateway,
            gateway_ref=self.gateway_ref,
            method=self.method,
            order_ref=self.order_ref,
            subscription={} if self.subscription is None else self.subscription.known(),
            credentials=tuple(c.credential(f"credentials[{index}]") for index, c in enumerate(self.credentials)),
            attempts=tuple(
                _prior(f"attempts[{index}]", each, networks.get(each.token, first) if each.token else first)
                for index, each in enumerate(self.attempts)
            ),
            next_attempt_at=self.next_attempt_at,
            retries_ended=self.retries_ended,
            contact=self.customer.contact(),
        )

    def _refuse_doubles(self) -> None:
        seen: set[tuple[str, str]] = set()
        for index, credential in enumerate(self.credentials):
            if (credential.gateway, credential.token) in seen:
                raise RequestInvalid(f"credentials[{index}].token", "stands twice in the report")
            seen.add((credential.gateway, credential.token))


class CancelIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Why a case is canceled."""

    reason: Annotated[str, Meta(min_length=1, max_length=500)]


class ResolveAttemptIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a person found out about an attempt that nobody else could settle."""

    outcome: Literal["succeeded", "declined", "never_arrived"]
    evidence: Annotated[str, Meta(min_length=1, max_length=HUMAN_EVIDENCE)]
    gateway_ref: Name | None = None

    def resolution(self) -> Resolution:
        """Return the resolution as flows know it."""
        return msgspec.convert(self, Resolution, from_attributes=True)


class ResolveTaskIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done about a task."""

    resolution: Annotated[str, Meta(min_length=1, max_length=RESOLUTION_MAX)]
    action: Literal["accept", "refund"] | None = None
    """What becomes of money that came in late (`late_success`): needed there, and meaningless elsewhere."""


class PolicyIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A policy's text, as it would stand in its file."""

    text: Annotated[str, Meta(max_length=MAX_POLICY)]
    name: Annotated[str, Meta(min_length=1, max_length=200, description="Names the file in problems.")] = "policy.yaml"


def _prior(field: str, attempt: AttemptIn, network: Network | None) -> PriorAttempt:
    if attempt.at.year < OLDEST_YEAR:
        raise RequestInvalid(f"{field}.at", f"lies before the year {OLDEST_YEAR}")
    return PriorAttempt(
        at=attempt.at,
        decline=attempt.decline.decline(network),
        token=attempt.token,
        gateway_ref=attempt.gateway_ref,
        try_ref=attempt.try_ref,
    )


def _check_country(field: str, country: str | None) -> None:
    if country is not None and country not in COUNTRIES:
        raise RequestInvalid(field, "is no country of ISO 3166-1")


@cache
def _zones() -> frozenset[str]:
    return frozenset(available_timezones())
