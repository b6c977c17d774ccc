"""The page of an upcoming charge: what will be collected, when and how, and where its customer changes that.

It leads to no gateway: nothing is owed yet, and a page on which a customer pays now would collect before the time.
"""

from datetime import datetime
from enum import StrEnum

import msgspec

from recoup_core.domain.upcoming import ChargeFile, ChargeState, last_day_of
from recoup_core.flows.context import Context
from recoup_core.flows.customer_pages.tokens import ValidLink
from recoup_core.reference.places import main_zone
from recoup_core.rules.deciding.notice import notice_days
from recoup_core.storage.upcoming import load_charges
from recoup_core.templates.variables import Brand, Upcoming


class ChargeStanding(StrEnum):
    """How a charge stands, as its customer sees it."""

    COMING = "coming"
    MADE = "made"
    CALLED_OFF = "called_off"
    PAST = "past"
    """Its time is over, and what became of it isn't known here."""


class ChargePage(msgspec.Struct, frozen=True, kw_only=True):
    """What the customer of an upcoming charge is shown."""

    brand: Brand
    locale: str | None
    """The customer's own language, where it is known."""
    zone: str
    standing: ChargeStanding
    upcoming: Upcoming
    ends_before: bool = False
    """Whether the card's last day lies before the day of a charge that is to come."""


async def charge_page(context: Context, link: ValidLink) -> ChargePage:
    """Return what a link to an upcoming charge shows; changes nothing."""
    charge_id, owner = link.token.subject_id, link.owner
    async with context.database.connection() as connection:
        file = (await load_charges(connection, [charge_id]))[charge_id]
    charge, plan, month = file.charge, file.charge.subscription.get("plan"), file.expires_on
    country, now = file.country, context.clock.now()
    expires = None if month is None else last_day_of(month)
    standing = standing_of(file, now)
    days = notice_days(now, charge.charge_at, expires, zone=file.customer_zone, country=country)
    return ChargePage(
        brand=context.messaging.brand_of(owner.merchant_id),
        locale=owner.locale,
        zone=file.customer_zone or (main_zone(country) if country else "UTC"),
        standing=standing,
        ends_before=standing is ChargeStanding.COMING and days.card_expires_before_charge,
        upcoming=Upcoming(
            reference=charge.reference,
            amount=charge.amount,
            charge_at=charge.charge_at,
            method=charge.method,
            plan=plan if isinstance(plan, str) else None,
            card_expires=expires,
        ),
    )


def standing_of(file: ChargeFile, now: datetime) -> ChargeStanding:
    """Return how a charge stands for who pays it."""
    match file.charge.state:
        case ChargeState.MADE:
            return ChargeStanding.MADE
        case ChargeState.CALLED_OFF:
            return ChargeStanding.CALLED_OFF
        case ChargeState.ANNOUNCED if file.charge.charge_at > now and not file.failed:
            return ChargeStanding.COMING
        case _:
            return ChargeStanding.PAST
