"""A gateway's own page where the customer renews a means of payment, or pays: made once, and handed out while it works.

Whoever holds a page's address may act for the customer, as with a key. It is kept in its own table while it works and
deleted soon after; it stands in no event, no log line, no task and no remembered answer.
"""

from datetime import timedelta
from typing import ClassVar, Final
from uuid import UUID

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.credentials.asking import link_guarded
from recoup_core.flows.draft import Draft
from recoup_core.flows.guard import Unknown
from recoup_core.flows.operate import By, NotAllowedNow, NotFound
from recoup_core.flows.reports import UnknownGateway
from recoup_core.ports import NoLink, UpdateLinkRequest
from recoup_core.storage.calls import recall, remember
from recoup_core.storage.credentials import StoredLink, add_link, fill_link, latest_link, link_by_id
from recoup_core.storage.pages import owner_of_case

LIFETIME: Final = timedelta(days=7)
"""How long a page is wanted for: a customer may read the message about it days later. A gateway may grant less."""

LEFT: Final = timedelta(minutes=10)
"""A page that works for less than this is not handed out any more; another one is made."""

ASKED_AGAIN: Final = timedelta(hours=12)
"""How long a gateway that has not answered is asked with the same key, inside any gateway's memory of keys (24 h at
the shortest): it makes the page once."""

BACK: Final = "?back=1"
"""Ends the address of our own page where a gateway's page leads back to it."""

ASKING: Final = frozenset({CaseState.OPEN, CaseState.PAUSED, CaseState.EXHAUSTED})
"""States in which the customer is still asked to pay."""


class NoUpdateLink(DomainError):
    """The gateway has no page where this customer could renew a means of payment, or pay."""

    code: ClassVar[str] = "no_update_link"

    def __init__(self, gateway: str, reason: str) -> None:
        super().__init__(f"{gateway} has no page for this customer: {reason}")
        self.gateway, self.reason = gateway, reason


class GatewayUnavailable(DomainError):
    """The gateway gave no answer that can be used, in time; the same call may be sent again."""

    code: ClassVar[str] = "gateway_unavailable"

    def __init__(self, gateway: str) -> None:
        super().__init__(f"{gateway} gave no usable answer; send the same call with the same Idempotency-Key again")
        self.gateway = gateway


async def update_link(context: Context, case_id: UUID, by: By, gateway: str | None = None) -> StoredLink:
    """Return a page where the customer of a case renews a means of payment, or pays; `url` is always set.

    The payment's own gateway makes it unless another is named. While a page works and as much is owed, everybody who
    asks is given the same one; the same call (`by.call`) is given the same one to the end.

    Raises `NotFound`, `UnknownGateway`, `NotAllowedNow`, `NoUpdateLink`, `GatewayUnavailable`, `IdempotencyKeyReused`.
    """
    async with context.database.connection() as connection:
        owner = await owner_of_case(connection, case_id)
    if owner is None or owner.payment_id is None:
        raise NotFound("recovery case", case_id)
    payment_id = owner.payment_id
    async with locked_cases(context, [payment_id]) as locked:
        draft = _draft(locked, payment_id, case_id, by)
        link = await _answered(locked, by) or await _wanted(context, locked, draft, gateway)
        if link.url is not None:
            await _remember(locked, by, link)
            return link
        request = _request(context, draft, link, owner.locale)
    answer = await link_guarded(context.gateways[link.gateway], request)
    if isinstance(answer, Unknown):
        raise GatewayUnavailable(link.gateway)
    if isinstance(answer, NoLink):
        raise NoUpdateLink(link.gateway, answer.reason)
    expires_at = answer.expires_at or link.expires_at
    made = msgspec.structs.replace(link, url=answer.url, pays=answer.pays, expires_at=expires_at)
    async with locked_cases(context, [payment_id]) as locked:
        return await _keep(locked, _draft(locked, payment_id, case_id, by), by, made)


def _draft(locked: Locked, payment_id: UUID, case_id: UUID, by: By) -> Draft:
    draft = locked.draft(payment_id, by.actor, by.correlation_id)
    if draft is None or draft.file.payment.merchant_id != by.merchant_id:
        raise NotFound("recovery case", case_id)
    return draft


async def _answered(locked: Locked, by: By) -> StoredLink | None:
    """Return what the same call was given before; a page that has been deleted meanwhile is refused."""
    answered = None if by.call is None else await recall(locked.connection, by.merchant_id, by.call)
    if answered is None:
        return None
    link = await link_by_id(locked.connection, by.merchant_id, msgspec.json.decode(answered, type=UUID))
    if link is None:
        raise NotAllowedNow("the page of this call has expired; ask for another one with another Idempotency-Key")
    return link


async def _wanted(context: Context, locked: Locked, draft: Draft, gateway: str | None) -> StoredLink:
    """Return the page that works, or the one that the gateway is to be asked for, written down before it is asked."""
    payment, case = draft.file.payment, draft.file.case
    name = gateway or payment.gateway
    if context.gateway_merchants.get(name) != payment.merchant_id or name not in context.gateways:
        raise UnknownGateway(name)
    if not context.gateways[name].capabilities.update_links:
        raise NoUpdateLink(name, "it makes none")
    if payment.state is not PaymentState.OWED or case.state not in ASKING:
        raise NotAllowedNow(f"the payment is {payment.state} and the case {case.state}: nothing is asked for")
    latest = await latest_link(locked.connection, case.id, name, payment.outstanding.amount_minor)
    if latest is not None and _serves(latest, locked):
        return latest
    link = StoredLink(
        id=new_id(),
        merchant_id=payment.merchant_id,
        case_id=case.id,
        gateway=name,
        amount_minor=payment.outstanding.amount_minor,
        currency=payment.currency,
        created_at=locked.now,
        expires_at=locked.now + LIFETIME,
    )
    await add_link(locked.connection, link)
    return link


def _serves(link: StoredLink, locked: Locked) -> bool:
    if link.url is None:
        return link.created_at > locked.now - ASKED_AGAIN
    return link.expires_at > locked.now + LEFT


def _request(context: Context, draft: Draft, link: StoredLink, locale: str | None) -> UpdateLinkRequest:
    """Return what the gateway is asked; the same page is always asked for in the same words.

    Without a language of the customer's own, or of the brand, the gateway goes by the customer's browser.
    """
    payment = draft.file.payment
    at = (c for c in draft.file.credentials if c.gateway == link.gateway and c.gateway_customer is not None)
    customers = [credential.gateway_customer for credential in at]
    return UpdateLinkRequest(
        idempotency_key=f"recoup-{link.id}",
        payment_id=payment.id,
        payment_reference=payment.reference,
        amount=Money(link.amount_minor, link.currency),
        method=payment.method,
        customer_ref=payment.customer.ref,
        gateway_customer=customers[-1] if customers else None,
        debt_ref=payment.gateway_ref if payment.gateway == link.gateway else None,
        return_url=_way_back(context, draft, link),
        locale=locale or context.messaging.brand_of(payment.merchant_id).locale,
        country=payment.customer.country,
        expires_at=link.expires_at,
    )


def _way_back(context: Context, draft: Draft, link: StoredLink) -> str | None:
    """Return our own page about the debt, where the customer sees what became of it: a link that outlives the
    gateway's. An installation that the outside can't reach by https leaves it to the gateway's own option."""
    messaging, payment = context.messaging, draft.file.payment
    if not messaging.links.base.startswith("https://"):
        return None
    expires_at = link.created_at + max(messaging.link_lifetime, LIFETIME)
    return messaging.links.update(link.case_id, payment.merchant_id, payment.customer.ref, expires_at) + BACK


async def _keep(locked: Locked, draft: Draft, by: By, made: StoredLink) -> StoredLink:
    """Keep the gateway's answer; of two who asked at once, both are given the one that was kept."""
    assert made.url is not None  # the guard lets no page without an address through
    if await fill_link(locked.connection, made.id, made.url, made.pays, made.expires_at):
        draft.tell(
            EventKind.UPDATE_LINK_CREATED,
            link=str(made.id),
            gateway=made.gateway,
            pays=made.pays,
            expires_at=made.expires_at.isoformat(),
        )
        kept: StoredLink | None = made
    else:
        kept = await link_by_id(locked.connection, by.merchant_id, made.id)
    assert kept is not None  # it works for at least as long as it takes to make it
    await _remember(locked, by, kept)
    return kept


async def _remember(locked: Locked, by: By, link: StoredLink) -> None:
    if by.call is not None and await recall(locked.connection, by.merchant_id, by.call) is None:
        locked.changes.add(remember(by.call, by.merchant_id, msgspec.json.encode(link.id), locked.now))
