"""What Stripe keeps of a customer: payment methods that can be charged, and pages where the customer renews or pays."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any, Final, cast

import msgspec
import stripe

from recoup_core.ports import LinkAnswer, NoLink, StoredCredential, UpdateLink, UpdateLinkRequest
from recoup_plugins.gateways import stripe_invoices
from recoup_plugins.gateways.card_months import month_on_card
from recoup_plugins.gateways.stripe_calls import Account, keyed, pages, read
from recoup_plugins.gateways.stripe_charges import retrieve
from recoup_plugins.gateways.stripe_errors import code_of, lost
from recoup_plugins.gateways.stripe_objects import METHODS, StripeMethod, ref
from recoup_plugins.gateways.stripe_options import StripeOptions

if TYPE_CHECKING:
    from stripe.params.billing_portal import SessionCreateParams

PORTAL_LIVES: Final = timedelta(minutes=5)
"""A portal session that nobody visits ends soon: Stripe calls it short-lived and names no length
(docs.stripe.com/api/customer_portal/sessions/object), so this is what is promised at most."""

LOCALES: Final = frozenset(
    """
    bg cs da de el en en-AU en-CA en-GB en-IE en-IN en-NZ en-SG es es-419 et fi fil fr fr-CA hr hu id it ja ko lt lv
    ms mt nb nl pl pt pt-BR ro ru sk sl sv th tr vi zh zh-HK zh-TW
    """.split()  # noqa: SIM905 - 46 quoted codes would say less
)
"""docs.stripe.com/api/customer_portal/sessions/create, `locale`; any other is refused."""

NO_CUSTOMER: Final = NoLink(reason="the payment names no Stripe customer, and no open invoice")


class _InvoiceSettings(msgspec.Struct, frozen=True):
    default_payment_method: str | dict[str, Any] | None = None


class StripeCustomer(msgspec.Struct, frozen=True):
    """A Customer, or what is left of one (`deleted`)."""

    id: str
    deleted: bool = False
    invoice_settings: _InvoiceSettings | None = None

    @property
    def default_method(self) -> str | None:
        """What invoices are paid with unless they say otherwise."""
        return ref(self.invoice_settings.default_payment_method) if self.invoice_settings else None


class _Session(msgspec.Struct, frozen=True):
    url: str


def stored_credential(method: StripeMethod, customer: str | None = None) -> StoredCredential | None:
    """Return a payment method in our words; None for a kind that can't be charged without the customer."""
    kind = METHODS.get(method.type or "")
    if kind is None or method.id is None:
        return None
    return StoredCredential(
        token=method.id,
        gateway_customer=ref(method.customer) or customer,
        method=kind,
        network=method.card_network,
        fingerprint=method.account.fingerprint,
        country=method.account.country,
        expires_on=month_on_card(method.account.exp_year, method.account.exp_month),
    )


async def list_credentials(account: Account, customer_ref: str, now: datetime) -> Sequence[StoredCredential]:
    """Return what can be charged, the customer's default first; expired cards are left out."""
    try:
        customer = read(await account.client.v1.customers.retrieve_async(customer_ref), StripeCustomer)
        if customer.deleted:
            return ()

        async def ask(params: dict[str, Any]) -> Any:
            return await account.client.v1.customers.payment_methods.list_async(customer_ref, cast("Any", params))

        methods = [one async for one in pages(ask, {}, StripeMethod) if not _expired(one, now)]
    except stripe.StripeError as refusal:
        raise lost(refusal) from None
    methods.sort(key=lambda one: one.id != customer.default_method)  # stable: the others stay newest first
    found = (stored_credential(one, customer_ref) for one in methods)
    return tuple(one for one in found if one is not None)


async def update_link(account: Account, options: StripeOptions, request: UpdateLinkRequest) -> LinkAnswer:
    """Return the open invoice's page, where the debt is paid; else a portal page that renews the payment method."""
    try:
        hosted = await _hosted_invoice(account, request.debt_ref or "")
        if hosted is not None:
            return UpdateLink(url=hosted, pays=True)
        if request.gateway_customer is None:
            return NO_CUSTOMER
        params = _session_params(options, request, request.gateway_customer)
        answer = await account.client.v1.billing_portal.sessions.create_async(params, keyed(request.idempotency_key))
    except stripe.InvalidRequestError as refusal:
        return NoLink(reason=f"Stripe makes no page for this customer ({code_of(refusal) or 'invalid_request'})")
    except stripe.StripeError as refusal:
        raise lost(refusal) from None
    made_at = datetime.fromtimestamp(answer.created, UTC)
    return UpdateLink(url=read(answer, _Session).url, pays=False, expires_at=made_at + PORTAL_LIVES)


async def _hosted_invoice(account: Account, debt_ref: str) -> str | None:
    """Return the page of the debt's invoice while it is open; a draft has none yet."""
    invoice_ref: str | None = debt_ref
    if debt_ref.startswith("pi_"):
        invoice_ref = await stripe_invoices.invoice_of(account, await retrieve(account, debt_ref))
    if invoice_ref is None or not invoice_ref.startswith("in_"):
        return None
    invoice = await stripe_invoices.read_invoice(account, invoice_ref)
    return invoice.hosted_invoice_url if invoice.status == "open" else None


def _session_params(options: StripeOptions, request: UpdateLinkRequest, customer: str) -> "SessionCreateParams":
    flow: dict[str, Any] = {"type": "payment_method_update"}
    params: dict[str, Any] = {"customer": customer, "flow_data": flow}
    leads_to = request.return_url or options.portal_return_url
    if leads_to is not None:
        params["return_url"] = leads_to
        flow["after_completion"] = {"type": "redirect", "redirect": {"return_url": leads_to}}
    if options.portal_configuration is not None:
        params["configuration"] = options.portal_configuration
    locale = _locale(request.locale)
    if locale is not None:
        params["locale"] = locale
    return cast("SessionCreateParams", params)


def _locale(wanted: str | None) -> str | None:
    """Return the customer's locale as Stripe names it, else its language; None leaves it to the browser."""
    language, _, region = (wanted or "").replace("_", "-").partition("-")
    tries = (f"{language.lower()}-{region.upper()}", language.lower())
    return next((one for one in tries if one in LOCALES), None)


def _expired(method: StripeMethod, now: datetime) -> bool:
    """Whether a card's last month is over everywhere: months end at the cardholder's midnight."""
    card, latest = method.card, now - timedelta(days=1)
    if card is None or card.exp_year is None or card.exp_month is None:
        return False
    return (card.exp_year, card.exp_month) < (latest.year, latest.month)
