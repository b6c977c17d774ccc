"""The Stripe gateway: off-session PaymentIntents and refunds through the official SDK.

One PaymentIntent per attempt, created and confirmed in one call under the attempt's own idempotency key, with our
attempt in its metadata so that a lost answer can be found again. Nothing here talked to a live Stripe account; it is
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
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import httpx
import msgspec
import stripe

from recoup_core.ports import (
    CHARGE_TIMEOUT_S,
    CancelOutcome,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    Clock,
    Declined,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    NotFound,
    RefundOutcome,
    RefundRequest,
    SystemClock,
)
from recoup_core.reference import refund_rules
from recoup_plugins import GatewaySettings, PluginMisconfigured, RegisterGateway, hookimpl, read_options
from recoup_plugins.gateways import stripe_events, stripe_refunds
from recoup_plugins.gateways.stripe_amounts import NotExpressible, to_stripe
from recoup_plugins.gateways.stripe_errors import (
    CLOCK_SLACK_S,
    LIST_PAGE,
    LIST_PAGES,
    REFUSED_BEFORE,
    StripeAnswerLost,
    code_of,
    error_of,
    lost,
    not_sent,
)
from recoup_plugins.gateways.stripe_objects import (
    ATTEMPT_KEY,
    PAYMENT_KEY,
    TYPE_OF,
    StripeCharge,
    StripeError,
    StripeIntent,
    configuration_decline,
    decline_of,
    outcome_of,
    ref,
)

if TYPE_CHECKING:
    from stripe.params import PaymentIntentCreateParams, PaymentIntentListParams

KEY_LIFETIME: Final = timedelta(hours=23)
"""Stripe may prune keys after 24 h (docs.stripe.com/api/idempotent_requests); one hour is kept in hand."""

FIND_LAG: Final = timedelta(minutes=2)
"""A charge we stopped waiting for may still be running at Stripe; the SDK's own patience is 80 s."""

CONNECT_TIMEOUT_S: Final = 3.0
HEALTH_TIMEOUT_S: Final = 5.0
DETAILS_TIMEOUT_S: Final = 5.0

ALLOWED_TYPES_SINCE: Final = "2026-07-29"
"""docs.stripe.com/changelog/dahlia/2026-07-29/allowed-payment-method-types-parameter"""

MAX_METADATA: Final = 500
"""Characters of one value (docs.stripe.com/metadata)."""


class StripeOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of a `stripe` gateway."""

    api_key: str
    webhook_secrets: tuple[str, ...] = ()
    """The endpoint's signing secrets (`whsec_...`): two while one is rolled. Without any, every webhook is refused."""
    api_base: str | None = None
    """Another address of the API, for tests."""
    api_version: str | None = None
    """The `Stripe-Version` to ask for (`2025-03-31.basil`); without one, the version this SDK is made for."""
    timeout_s: float = 20.0
    """How long to wait for an answer; below the flows' own limit, so that ours tells the reason."""
    clock: Any = None
    """A `recoup_plugins.Clock`, for tests of webhook age."""

    def __repr__(self) -> str:
        return "StripeOptions(...)"  # holds secrets; tracebacks may show locals


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
        )
        self._options = options
        self._clock: Clock = options.clock or SystemClock()
        self._version = options.api_version or stripe.api_version
        self._made: stripe.StripeClient | None = None

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Create and confirm one PaymentIntent off session; see the module for what each answer means."""
        try:
            params = _create_params(request, self._version)
        except NotExpressible as wrong:
            return Declined(decline=configuration_decline("currency_not_expressible", str(wrong)))
        try:
            answer = await self._client.v1.payment_intents.create_async(
                params, {"idempotency_key": request.idempotency_key, "max_network_retries": 0}
            )
        except stripe.StripeError as refused:
            return await self._refused(refused)
        return outcome_of(_intent(answer))

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Retrieve the attempt's PaymentIntent by its id, or search the customer's recent ones for our metadata."""
        try:
            if request.gateway_ref is not None and request.gateway_ref.startswith("pi_"):
                # an id that Stripe told us and no longer knows means another account: raised, never NotFound
                return outcome_of(_intent(await self._client.v1.payment_intents.retrieve_async(request.gateway_ref)))
            return await self._find_by_metadata(request)
        except stripe.StripeError as refused:
            raise lost(refused) from None

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Refund by PaymentIntent or charge, or cancel the PaymentIntent; see `stripe_refunds`."""
        if request.void:
            return await stripe_refunds.void(self._client, request)
        return await stripe_refunds.refund(self._client, request)

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Retrieve the part's refund by its id, or search those of the charge for our metadata."""
        if request.void:
            return await stripe_refunds.find_void(self._client, request)
        return await stripe_refunds.find(self._client, request)

    async def cancel_refund(self, request: RefundRequest) -> CancelOutcome:
        """Cancel a refund for which Stripe still waits for the customer (`requires_action`); refused otherwise."""
        return await stripe_refunds.cancel(self._client, request)

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Verify and translate one webhook of Stripe."""
        stripe_events.verify(headers, body, self._options.webhook_secrets, self._clock.now())
        return [stripe_events.read_event(body)]

    async def health(self) -> None:
        """Read the account's balance: authenticated and harmless."""
        try:
            async with asyncio.timeout(HEALTH_TIMEOUT_S):
                await self._client.v1.balance.retrieve_async()
        except stripe.StripeError as refused:
            raise lost(refused) from None

    async def _find_by_metadata(self, request: ChargeRequest) -> FoundCharge:
        """List, since lists are strongly consistent; Stripe's search lags by a minute or more."""
        since = int(request.first_sent_at.timestamp()) - CLOCK_SLACK_S
        params: PaymentIntentListParams = {"created": {"gte": since}, "limit": LIST_PAGE}
        if request.gateway_customer is not None:
            params["customer"] = request.gateway_customer
        for _ in range(LIST_PAGES):
            page = await self._client.v1.payment_intents.list_async(params)
            for listed in page.data:
                intent = _intent(listed)
                if intent.attempt_id == request.attempt_id:
                    return outcome_of(intent)
            if not page.has_more or not page.data:
                return NotFound()
            params["starting_after"] = page.data[-1].id
        raise StripeAnswerLost(f"not among the first {LIST_PAGES * LIST_PAGE} PaymentIntents; there are more")

    async def _refused(self, refused: stripe.StripeError) -> ChargeOutcome:
        error = error_of(refused)
        if isinstance(refused, stripe.CardError):
            blocked = await self._blocked(error)
            return Declined(decline=decline_of(error, blocked=blocked), gateway_ref=ref(error.payment_intent))
        unsent = not_sent(refused)
        if unsent is not None:
            return unsent
        if isinstance(refused, REFUSED_BEFORE):
            return Declined(decline=configuration_decline(code_of(refused), error.message))
        # 5xx and unreadable answers; and a key that is in use (409) or was used with another body: its first request
        # may have moved money
        raise lost(refused) from None

    async def _blocked(self, error: StripeError) -> bool:
        """Ask the charge whether a generic decline was Stripe's own block: only its `outcome.reason` tells."""
        if error.decline_code != "generic_decline" or error.charge is None:
            return False
        try:
            async with asyncio.timeout(DETAILS_TIMEOUT_S):
                charge = await self._client.v1.charges.retrieve_async(error.charge)
            return msgspec.convert(charge.to_dict(), type=StripeCharge).blocked
        except (stripe.StripeError, TimeoutError, msgspec.ValidationError):
            return False  # the decline itself is certain; the network limits hold without this hint

    @property
    def _client(self) -> stripe.StripeClient:
        """Made on first use: making it reads the certificate bundle, and a gateway is made without I/O."""
        if self._made is None:
            options = self._options
            stripe.enable_telemetry = False
            timeout = httpx.Timeout(options.timeout_s, connect=min(CONNECT_TIMEOUT_S, options.timeout_s))
            self._made = stripe.StripeClient(
                options.api_key,
                stripe_version=self._version,
                base_addresses={"api": options.api_base} if options.api_base else {},
                max_network_retries=0,
                http_client=stripe.HTTPXClient(timeout=timeout),
            )
        return self._made


def _create_params(request: ChargeRequest, version: str) -> "PaymentIntentCreateParams":
    params: dict[str, Any] = {
        "amount": to_stripe(request.amount),
        "currency": request.amount.currency.lower(),
        "payment_method": request.token,
        _types_parameter(version): [TYPE_OF[request.method]],
        "confirm": True,
        "off_session": True,
        "metadata": {ATTEMPT_KEY: str(request.attempt_id), PAYMENT_KEY: request.payment_reference[:MAX_METADATA]},
    }
    if request.gateway_customer is not None:
        params["customer"] = request.gateway_customer
    # a plain mapping until here: which name the types have depends on the version, the SDK's types know one
    return cast("PaymentIntentCreateParams", params)


def _types_parameter(version: str) -> str:
    """Name the list of method types: old versions don't know the new name, `2026-09-30.endive` refuses the old one."""
    return "allowed_payment_method_types" if version >= ALLOWED_TYPES_SINCE else "payment_method_types"


def _intent(answer: stripe.PaymentIntent) -> StripeIntent:
    """Read the SDK's object as a plain value: its missing attributes raise, ours have defaults."""
    return msgspec.convert(answer.to_dict(), type=StripeIntent)


def make_stripe(settings: GatewaySettings) -> StripeGateway:
    """Make a Stripe gateway; options as in `StripeOptions`."""
    options = read_options(settings, StripeOptions)
    if not options.api_key.startswith(("sk_", "rk_")):
        raise PluginMisconfigured(settings.plugin, "api_key", "must be a secret or restricted key (sk_..., rk_...)")
    if not 0 < options.timeout_s < CHARGE_TIMEOUT_S:
        raise PluginMisconfigured(settings.plugin, "timeout_s", f"must lie between 0 and {CHARGE_TIMEOUT_S:g} s")
    if not all(options.webhook_secrets):
        raise PluginMisconfigured(settings.plugin, "webhook_secrets", "holds an empty secret")
    if options.clock is not None and not callable(getattr(options.clock, "now", None)):
        raise PluginMisconfigured(settings.plugin, "clock", "must be a Clock (an object with `now()`)")
    return StripeGateway(settings.name, options)


@hookimpl
def register_gateways(register: RegisterGateway) -> None:
    """Register the kind `stripe`."""
    register("stripe", make_stripe)
