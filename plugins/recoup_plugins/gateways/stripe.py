"""The Stripe gateway: off-session PaymentIntents and refunds through the official SDK.

An attempt charges the debt's own PaymentIntent or invoice (`stripe_debts`), else one PaymentIntent of its own, created
and confirmed in one call. What moves money goes under the attempt's own idempotency key, with our attempt in the
object's metadata so that a lost answer can be found again. Nothing here talked to a live Stripe account; it is
tested against localstripe, stripe-stateful-mock and a fake of our own (tests/plugins).

Outcomes, by what Stripe answers:
  402 card error                          Declined, classified
  400, 401, 403, 404                      Declined as CONFIGURATION: refused before any money moved
  429, 409 on a lock                      NotSent, to be sent again with the same key
  no connection                           NotSent
  timeout, 5xx, unreadable, the key still in use or used with another body   raised: unknown
"""

import asyncio
from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Final

import stripe

from recoup_core.ports import (
    CancelOutcome,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    Clock,
    Declined,
    EventPage,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    LinkAnswer,
    RefundOutcome,
    RefundRequest,
    ReportedSettlement,
    StoredCredential,
    SystemClock,
    UpdateLinkRequest,
)
from recoup_core.reference import refund_rules
from recoup_plugins import GatewaySettings, RegisterGateway, hookimpl
from recoup_plugins.gateways import (
    stripe_charges,
    stripe_customers,
    stripe_debts,
    stripe_events,
    stripe_refunds,
    stripe_report,
    stripe_settlement,
)
from recoup_plugins.gateways.stripe_amounts import NotExpressible, to_stripe
from recoup_plugins.gateways.stripe_calls import Account, make_client
from recoup_plugins.gateways.stripe_errors import lost
from recoup_plugins.gateways.stripe_objects import TYPE_OF, configuration_decline, outcome_of
from recoup_plugins.gateways.stripe_options import StripeOptions, stripe_options

KEY_LIFETIME: Final = timedelta(hours=23)
"""Stripe may prune keys after 24 h (docs.stripe.com/api/idempotent_requests); one hour is kept in hand."""

FIND_LAG: Final = timedelta(minutes=2)
"""A charge we stopped waiting for may still be running at Stripe; the SDK's own patience is 80 s."""

HEALTH_TIMEOUT_S: Final = 5.0


class StripeGateway:
    """One Stripe account."""

    def __init__(self, name: str, options: StripeOptions) -> None:
        self.name = name
        self.capabilities = Capabilities(
            methods=frozenset(TYPE_OF),
            key_lifetime=KEY_LIFETIME,
            finds_charges=True,
            find_lag=FIND_LAG,
            refunds=True,
            finds_refunds=True,
            refund_find_lag=FIND_LAG,
            voids=True,
            cancels_refunds=True,
            refund_windows=refund_rules("stripe").limits,
            lists_credentials=True,
            update_links=True,
            lists_events=True,
            reads_settlements=True,
            fetches_settlements=True,
        )
        self._options = options
        self._clock: Clock = options.clock or SystemClock()
        self._version = options.api_version or stripe.api_version
        self._made: Account | None = None

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Charge the debt's own object off session, else a PaymentIntent of the attempt's own; see the module."""
        try:
            to_stripe(request.amount)
        except NotExpressible as wrong:
            return Declined(decline=configuration_decline("currency_not_expressible", str(wrong)))
        try:
            outcome = await stripe_debts.charge_debt(self._account, request)
            return outcome or await stripe_charges.create(self._account, request)
        except stripe.StripeError as refusal:
            return await stripe_charges.refused(self._account, refusal)

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Look at the object the attempt was made on, by its id or by our metadata on it."""
        known = request.gateway_ref or ""
        try:
            if known.startswith("pi_") and known != request.debt_ref:
                return outcome_of(await stripe_charges.retrieve(self._account, known))
            found = await stripe_debts.find_debt(self._account, request)
            return found or await stripe_charges.find_by_metadata(self._account, request)
        except stripe.StripeError as refusal:
            raise lost(refusal) from None

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Refund by PaymentIntent or charge, or cancel the PaymentIntent; see `stripe_refunds`."""
        if request.void:
            return await stripe_refunds.void(self._account.client, request)
        return await stripe_refunds.refund(self._account.client, request)

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Retrieve the part's refund by its id, or search those of the charge for our metadata."""
        if request.void:
            return await stripe_refunds.find_void(self._account.client, request)
        return await stripe_refunds.find(self._account.client, request)

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        """Cancel a refund for which Stripe still waits for the customer (`requires_action`); refused otherwise."""
        return await stripe_refunds.cancel(self._account.client, request)

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Verify and translate one webhook of Stripe."""
        stripe_events.verify(headers, body, self._options.webhook_secrets, self._clock.now())
        return [stripe_events.read_event(body)]

    async def health(self) -> None:
        """Read the account's balance: authenticated and harmless."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._account.client.v1.balance.retrieve_async()
        except stripe.StripeError as refused:
            raise lost(refused) from None

    async def list_credentials(self, gateway_customer: str) -> Sequence[StoredCredential]:
        """Return the customer's cards and bank accounts that can be charged, the default first."""
        return await stripe_customers.list_credentials(self._account, gateway_customer, self._clock.now())

    async def update_link(self, request: UpdateLinkRequest) -> LinkAnswer:
        """Return the open invoice's own page, else one of the billing portal; see `stripe_customers`."""
        return await stripe_customers.update_link(self._account, self._options, request)

    async def list_events(self, since: datetime, cursor: str | None) -> EventPage:
        """Return the events since then that mean something to us, page by page; Stripe keeps them for 30 days."""
        return await stripe_events.list_events(self._account, since, cursor)

    def read_settlement(self, content: bytes) -> ReportedSettlement:
        """Read an itemized payout reconciliation report (CSV)."""
        return stripe_report.read_report(content)

    async def fetch_settlement(self, report_ref: str) -> ReportedSettlement:
        """Fetch the balance transactions of an automatic payout (`po_...`)."""
        return await stripe_settlement.fetch(self._account, report_ref)

    @property
    def _account(self) -> Account:
        """Made on first use: making the client reads the certificate bundle, and a gateway is made without I/O."""
        if self._made is None:
            client = make_client(self._options, self._version)
            self._made = Account(client, self._version, self._options.same_intent)
        return self._made


def make_stripe(settings: GatewaySettings) -> StripeGateway:
    """Make a Stripe gateway; options as in `StripeOptions`."""
    return StripeGateway(settings.name, stripe_options(settings))


@hookimpl
def register_gateways(register: RegisterGateway) -> None:
    """Register the kind `stripe`."""
    register("stripe", make_stripe)
