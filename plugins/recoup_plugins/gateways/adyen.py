"""The Adyen gateway: Checkout payments with stored methods, refunds and voids through the official SDK.

One payment per attempt, under the attempt's own idempotency key and with our attempt in its signed reference. Adyen has
no look-up of payments or refunds: a lost answer is told by the AUTHORISATION webhook, or by sending the same key again
inside its lifetime; past that a person decides. Refunds and voids are always Pending until their webhook. What each
answer means stands in `adyen_charges` and `adyen_refunds`. Nothing here talked to a live Adyen account; it is tested
against a fake of our own (tests/plugins/fake_adyen.py) that Adyen's OpenAPI documents police.
"""

import asyncio
import re
from collections.abc import Mapping, Sequence
from datetime import timedelta
from functools import partial
from typing import Any, Final

import msgspec

from recoup_plugins import (
    CHARGE_TIMEOUT_S,
    Capabilities,
    ChargeOutcome,
    ChargeRequest,
    Clock,
    FoundCharge,
    FoundRefund,
    GatewayEvent,
    GatewaySettings,
    LinkAnswer,
    PluginMisconfigured,
    RefundOutcome,
    RefundRequest,
    RegisterGateway,
    ReportedSettlement,
    SettlementUnreadable,
    StoredCredential,
    SystemClock,
    UpdateLinkRequest,
    WebhookAnswer,
    hookimpl,
    read_options,
    refund_rules,
)
from recoup_plugins.gateways import adyen_charges, adyen_credentials, adyen_refunds, adyen_reports
from recoup_plugins.gateways.adyen_client import AdyenApi
from recoup_plugins.gateways.adyen_errors import AdyenAnswerLost
from recoup_plugins.gateways.adyen_events import read_items, read_token_event
from recoup_plugins.gateways.adyen_objects import TYPE_OF
from recoup_plugins.gateways.adyen_settlement import read_report
from recoup_plugins.gateways.adyen_webhooks import (
    ACCEPTED,
    TOKEN_SIGNATURE,
    check_login,
    check_token_signature,
    read_body,
    verified_items,
)
from recoup_plugins.settings import keeps_secrets

KEY_LIFETIME: Final = timedelta(days=6)
"""Adyen keeps keys for at least 7 days (docs.adyen.com, API idempotency); a day is kept in hand."""

HEALTH_TIMEOUT_S: Final = 5.0

MAX_KEYS: Final = 2
"""Of one webhook: the old and the new one while it is rolled."""

_HMAC_KEY: Final = re.compile(r"(?:[0-9A-Fa-f]{2}){16,64}")


class AdyenOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options of an `adyen` gateway."""

    api_key: str
    merchant_account: str
    return_url: str
    """Where pages of Adyen lead afterwards; Adyen wants one with every payment, also where no shopper is there."""
    live_prefix: str | None = None
    """The prefix of the account's live addresses (Customer Area, API URLs); without one this is the test platform."""
    hmac_keys: tuple[str, ...] = ()
    """The standard webhook's keys, hexadecimal: two while one is rolled. Without any, every webhook is refused."""
    token_hmac_keys: tuple[str, ...] = ()
    """The keys of the webhook about tokens (recurring tokens life cycle), likewise."""
    webhook_user: str | None = None
    webhook_password: str | None = None
    """The webhooks' basic authentication, where it is set up at Adyen: checked besides the signature."""
    report_user: str | None = None
    report_password: str | None = None
    """The report user's: with both, settlement reports come by themselves."""
    auto_rescue: bool = False
    """Whether Auto Rescue is on for this account: then Adyen tries refused payments again by itself."""
    api_base: str | None = None
    report_base: str | None = None
    """Other addresses of the API and of the account's reports, for tests."""
    timeout_s: float = 20.0
    """How long to wait for an answer; below the flows' own limit, so that ours tells the reason."""
    clock: Any = None
    """A `recoup_plugins.Clock`, for tests."""

    def __repr__(self) -> str:
        return "AdyenOptions(...)"  # holds secrets; tracebacks may show locals


class AdyenGateway:
    """One Adyen merchant account."""

    def __init__(self, name: str, options: AdyenOptions) -> None:
        self.name = name
        self.capabilities = Capabilities(
            methods=frozenset(TYPE_OF),
            key_lifetime=KEY_LIFETIME,
            finds_charges=False,
            refunds=True,
            finds_refunds=False,
            voids=True,
            refund_windows=refund_rules("adyen").limits,
            lists_credentials=True,
            update_links=True,
            reads_settlements=True,
            fetches_settlements=options.report_user is not None,
            retries_itself=options.auto_rescue,
            webhook_answer=WebhookAnswer(content_type="text/plain", body=ACCEPTED),
        )
        self._options = options
        self._clock: Clock = options.clock or SystemClock()
        self._made: AdyenApi | None = None

    async def charge(self, request: ChargeRequest) -> ChargeOutcome:
        """Collect with a stored method, the shopper being away; see `adyen_charges`."""
        options = self._options
        return await adyen_charges.charge(
            self._api,
            request,
            merchant=options.merchant_account,
            return_url=options.return_url,
            now=self._clock.now(),
        )

    async def find_charge(self, request: ChargeRequest) -> FoundCharge:
        """Raise: Adyen can't be asked for a payment, only told the same key again."""
        raise AdyenAnswerLost(f"Adyen has no look-up of payments (asked for {request.attempt_id})")

    async def refund(self, request: RefundRequest) -> RefundOutcome:
        """Ask for a refund, or for the cancellation of an authorisation; see `adyen_refunds`."""
        merchant = self._options.merchant_account
        return await adyen_refunds.refund(self._api, request, merchant=merchant, now=self._clock.now())

    async def find_refund(self, request: RefundRequest) -> FoundRefund:
        """Raise: Adyen can't be asked for a refund, only told the same key again."""
        raise AdyenAnswerLost(f"Adyen has no look-up of refunds (asked for {request.part_id})")

    async def list_credentials(self, gateway_customer: str) -> Sequence[StoredCredential]:
        """Return the shopper's stored methods that may be charged while the shopper is away."""
        merchant = self._options.merchant_account
        return await adyen_credentials.list_credentials(
            self._api, gateway_customer, merchant=merchant, now=self._clock.now()
        )

    async def update_link(self, request: UpdateLinkRequest) -> LinkAnswer:
        """Make a payment link for what is owed; it stores the method that pays."""
        options = self._options
        return await adyen_credentials.update_link(
            self._api,
            request,
            merchant=options.merchant_account,
            return_url=options.return_url,
            now=self._clock.now(),
        )

    def parse_event(self, headers: Mapping[str, str], body: bytes) -> Sequence[GatewayEvent]:
        """Verify and translate a standard webhook, or one about a token."""
        options, now = self._options, self._clock.now()
        check_login(headers, options.webhook_user, options.webhook_password)
        envelope = read_body(body)
        live, merchant = options.live_prefix is not None, options.merchant_account
        if TOKEN_SIGNATURE in headers and "notificationItems" not in envelope:
            check_token_signature(headers, body, options.token_hmac_keys)
            return [read_token_event(envelope, now, merchant=merchant, live=live)]
        return read_items(verified_items(envelope, options.hmac_keys, merchant=merchant, live=live), now)

    def read_settlement(self, content: bytes) -> ReportedSettlement:
        """Read a settlement details report (CSV)."""
        return read_report(content, self._options.merchant_account)

    async def fetch_settlement(self, report_ref: str) -> ReportedSettlement:
        """Fetch and read the report of that file name (`settlement_detail_report_batch_4.csv`)."""
        options = self._options
        if options.report_user is None or options.report_password is None:
            raise SettlementUnreadable("the gateway has no report user")
        base = adyen_reports.LIVE_REPORTS if options.live_prefix else adyen_reports.TEST_REPORTS
        fetch = partial(
            adyen_reports.fetch,
            options.report_base or base,
            options.merchant_account,
            report_ref,
            options.report_user,
            options.report_password,
        )
        report: ReportedSettlement = await self._api.on_thread(lambda: read_report(fetch(), options.merchant_account))
        return report

    async def health(self) -> None:
        """Ask which methods the account offers: authenticated and harmless."""
        async with asyncio.timeout(HEALTH_TIMEOUT_S):
            await self._api.ask(self._api.payments.payment_methods, {"merchantAccount": self._options.merchant_account})

    @property
    def _api(self) -> AdyenApi:
        """Made on first use: a gateway is made without I/O, and without threads."""
        if self._made is None:
            options = self._options
            self._made = AdyenApi(
                options.api_key,
                live_prefix=options.live_prefix,
                api_base=options.api_base,
                timeout_s=options.timeout_s,
            )
        return self._made


def make_adyen(settings: GatewaySettings) -> AdyenGateway:
    """Make an Adyen gateway; options as in `AdyenOptions`."""
    options = read_options(settings, AdyenOptions)
    for field, message in _wrong(options):
        raise PluginMisconfigured(settings.plugin, field, message)
    return AdyenGateway(settings.name, options)


def _wrong(options: AdyenOptions) -> list[tuple[str, str]]:
    """Return what of the options can't be used, by field."""
    addresses = (("api_base", options.api_base), ("report_base", options.report_base))
    checks = [
        ("api_key", bool(options.api_key), "must not be empty"),
        ("merchant_account", bool(options.merchant_account), "must not be empty"),
        ("return_url", options.return_url.startswith("https://"), "must be an https address"),
        *((field, keeps_secrets(told), "must be an https address") for field, told in addresses if told is not None),
        ("live_prefix", options.live_prefix != "", "must not be empty"),
        ("timeout_s", 0 < options.timeout_s < CHARGE_TIMEOUT_S, f"must lie between 0 and {CHARGE_TIMEOUT_S:g} s"),
        ("hmac_keys", _are_keys(options.hmac_keys), f"must be at most {MAX_KEYS} hexadecimal keys"),
        ("token_hmac_keys", _are_keys(options.token_hmac_keys), f"must be at most {MAX_KEYS} hexadecimal keys"),
        ("webhook_user", bool(options.webhook_user) == bool(options.webhook_password), "needs webhook_password too"),
        ("report_user", bool(options.report_user) == bool(options.report_password), "needs report_password too"),
        ("clock", options.clock is None or callable(getattr(options.clock, "now", None)), "must be a Clock"),
    ]
    return [(field, message) for field, fine, message in checks if not fine]


def _are_keys(keys: Sequence[str]) -> bool:
    return len(keys) <= MAX_KEYS and all(_HMAC_KEY.fullmatch(key) for key in keys)


@hookimpl
def register_gateways(register: RegisterGateway) -> None:
    """Register the kind `adyen`."""
    register("adyen", make_adyen)
