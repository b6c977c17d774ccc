"""The page where the customer of a case sees what is owed and goes on to the gateway's own page.

A link that announced a charge opens it, too, once that charge has failed. Opening it changes nothing but an event, once
a day at most. Mail scanners open links, too: the event means that the link was fetched, not that a person read it.
"""

from datetime import datetime, timedelta
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.happened import EventKind
from recoup_core.domain.payment import PaymentState
from recoup_core.domain.recovery import CaseState, StepKind
from recoup_core.domain.subscription_request import Wish
from recoup_core.flows.collect import CUSTOMER
from recoup_core.flows.context import Context, locked_cases
from recoup_core.flows.credentials.links import ASKING, GatewayUnavailable, NoUpdateLink, update_link
from recoup_core.flows.customer_pages.charge import ChargePage, charge_page
from recoup_core.flows.customer_pages.tokens import ExpiredLink, ValidLink, read_link
from recoup_core.flows.links import Purpose
from recoup_core.flows.operate import By, NotAllowedNow
from recoup_core.flows.reports import UnknownGateway
from recoup_core.reference.places import main_zone
from recoup_core.storage.cases import load_cases
from recoup_core.storage.pages import LinkOwner, opened_since
from recoup_core.templates.variables import Brand, Debt, NextChange

OPENED_EVERY: Final = timedelta(days=1)
"""How often at most it is told that a case's page was opened."""

_WISHES: Final = {
    StepKind.PAUSE_SUBSCRIPTION: Wish.PAUSE,
    StepKind.DOWNGRADE_SUBSCRIPTION: Wish.DOWNGRADE,
    StepKind.CANCEL_SUBSCRIPTION: Wish.CANCEL,
}


class Standing(StrEnum):
    """How the debt stands, as its customer sees it."""

    OWED = "owed"
    PROCESSING = "processing"
    """A try is under way: paying now as well could pay twice."""
    PAID = "paid"
    CLOSED = "closed"
    """Nothing is asked for any more: written off, or called off."""


class UpdatePage(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer of a case is shown."""

    standing: Standing
    brand: Brand
    locale: str | None
    """The customer's own language, where it is known."""
    zone: str
    now: datetime
    debt: Debt
    paid_at: datetime | None = None
    next_retry: datetime | None = None
    paused: bool = False
    """Somebody of the merchant's holds everything back: what comes next is not known."""
    next_change: NextChange | None = None
    leads_on: bool = False
    """Whether the payment's gateway has a page to go on to, as far as that is known before it is asked."""
    unavailable: bool = False
    """The gateway gave no page just now."""


class GoOn(msgspec.Struct, frozen=True, kw_only=True):
    """The gateway's own page; its address is a secret of the customer's."""

    url: str

    def __repr__(self) -> str:
        return "GoOn(url=***)"


async def open_page(
    context: Context, text: str, correlation_id: str | None, *, seen: bool = True
) -> UpdatePage | ChargePage | ExpiredLink | None:
    """Return what a link shows; None where it is none of ours. `seen`: the page is shown, so tell that it was."""
    link = await read_link(context, text, Purpose.UPDATE, Purpose.CHARGE)
    if not isinstance(link, ValidLink):
        return link
    if link.owner.case_id is None:
        return await charge_page(context, link)
    page = await _page(context, link)
    if seen:
        await _tell_opened(context, link, correlation_id)
    return page


async def go_on(
    context: Context, text: str, correlation_id: str | None
) -> GoOn | UpdatePage | ChargePage | ExpiredLink | None:
    """Return the gateway's own page for the customer of a link, made now unless one works already.

    The page as it stands where there is nothing to go on to: paid meanwhile, a try under way, no answer of the gateway.
    """
    link = await read_link(context, text, Purpose.UPDATE, Purpose.CHARGE)
    if not isinstance(link, ValidLink):
        return link
    if link.owner.case_id is None:
        return await charge_page(context, link)
    page = await _page(context, link)
    if page.standing is not Standing.OWED or not page.leads_on:
        return page
    by = By(merchant_id=link.owner.merchant_id, actor=CUSTOMER, correlation_id=correlation_id)
    try:
        made = await update_link(context, link.owner.case_id, by)
    except (NoUpdateLink, UnknownGateway):
        return msgspec.structs.replace(page, leads_on=False)
    except GatewayUnavailable:
        return msgspec.structs.replace(page, unavailable=True)
    except NotAllowedNow:  # paid or closed between our look and the lock
        return await _page(context, link)
    assert made.url is not None  # as `update_link` promises
    return GoOn(url=made.url)


async def _page(context: Context, link: ValidLink) -> UpdatePage:
    now, payment_id = context.clock.now(), link.owner.payment_id
    assert payment_id is not None  # a link to a case is to its payment
    async with context.database.connection() as connection:
        file = (await load_cases(connection, [payment_id], now))[payment_id]
    return page_of(context, file, link.owner, now)


def page_of(context: Context, file: CaseFile, owner: LinkOwner, now: datetime) -> UpdatePage:
    """Return what the customer of a case is shown at this moment."""
    payment, standing = file.payment, standing_of(file)
    owed = standing is Standing.OWED
    declined, retry = file.last_declined, file.planned_retry
    country = payment.customer.country
    zone = owner.timezone or payment.customer.timezone or (main_zone(country) if country else "UTC")
    plan = payment.subscription.get("plan")
    return UpdatePage(
        standing=standing,
        brand=context.messaging.brand_of(payment.merchant_id),
        locale=owner.locale,
        zone=zone,
        now=now,
        debt=Debt(
            reference=payment.reference,
            amount=payment.amount if standing is Standing.PAID else payment.outstanding,
            method=payment.method,
            failed_at=payment.failing_since,
            reason=declined.decline.category if declined is not None and declined.decline is not None else None,
            plan=plan if isinstance(plan, str) else None,
        ),
        paid_at=payment.paid_at,
        next_retry=retry.due_at if owed and retry is not None and file.case.state is CaseState.OPEN else None,
        paused=file.case.state is CaseState.PAUSED,
        next_change=next_change(file) if owed else None,
        leads_on=owed and _has_page(context, payment.gateway, payment.merchant_id),
    )


def standing_of(file: CaseFile) -> Standing:
    """Return how a debt stands for who owes it."""
    if file.payment.state is PaymentState.PAID:
        return Standing.PAID
    if file.payment.state is PaymentState.CLOSED or file.case.state not in ASKING:
        return Standing.CLOSED
    return Standing.PROCESSING if file.live_attempt is not None else Standing.OWED


def next_change(file: CaseFile) -> NextChange | None:
    """Return what becomes of the subscription first unless the debt is paid; None while the case is paused."""
    if file.case.state is CaseState.PAUSED:
        return None
    coming = [step for step in file.planned_dunning if step.kind in _WISHES]
    first = min(coming, key=lambda step: step.due_at, default=None)
    if first is None:
        return None
    plan = first.detail.get("plan")
    return NextChange(wish=_WISHES[first.kind], at=first.due_at, plan=plan if isinstance(plan, str) else None)


def _has_page(context: Context, gateway: str, merchant_id: str) -> bool:
    if context.gateway_merchants.get(gateway) != merchant_id or gateway not in context.gateways:
        return False
    return context.gateways[gateway].capabilities.update_links


async def _tell_opened(context: Context, link: ValidLink, correlation_id: str | None) -> None:
    case_id, since = link.owner.case_id, context.clock.now() - OPENED_EVERY
    assert case_id is not None  # what has no case is no page of this kind
    async with context.database.connection() as connection:
        if await opened_since(connection, case_id, since):
            return
    payment_id: UUID | None = link.owner.payment_id
    assert payment_id is not None
    async with locked_cases(context, [payment_id]) as locked:  # of many who open it at once, one tells
        draft = locked.draft(payment_id, CUSTOMER, correlation_id)
        if draft is not None and not await opened_since(locked.connection, case_id, since):
            draft.tell(EventKind.UPDATE_PAGE_OPENED, expires_at=link.token.expires_at.isoformat())
