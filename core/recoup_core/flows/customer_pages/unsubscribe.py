"""The page that takes an address off its channel."""

import msgspec

from recoup_core.domain.customer import AddressState
from recoup_core.flows.collect import CUSTOMER
from recoup_core.flows.context import Context
from recoup_core.flows.customer_pages.tokens import ExpiredLink, ValidLink, read_link
from recoup_core.flows.customers.blocking import unsubscribe as take_off
from recoup_core.flows.links import Purpose
from recoup_core.templates.variables import Brand


class UnsubscribePage(msgspec.Struct, frozen=True, kw_only=True):
    """What the reader of an address is shown; never the address."""

    brand: Brand
    locale: str | None
    done: bool
    """They unsubscribed before."""


async def open_unsubscribe(context: Context, text: str) -> UnsubscribePage | ExpiredLink | None:
    """Return what a link shows; None where it is none of ours. Changes nothing."""
    link = await read_link(context, text, Purpose.UNSUBSCRIBE)
    return _page(context, link) if isinstance(link, ValidLink) else link


async def unsubscribe(context: Context, text: str) -> UnsubscribePage | ExpiredLink | None:
    """Take the address of a link off its channel; done once and for all, and again without harm."""
    link = await read_link(context, text, Purpose.UNSUBSCRIBE)
    if not isinstance(link, ValidLink):
        return link
    page = _page(context, link)
    if not page.done:
        await take_off(context, link.token.subject_id, CUSTOMER)
    return msgspec.structs.replace(page, done=True)


def _page(context: Context, link: ValidLink) -> UnsubscribePage:
    brand = context.messaging.brand_of(link.owner.merchant_id)
    return UnsubscribePage(
        brand=brand, locale=link.owner.locale, done=link.owner.address_state is AddressState.UNSUBSCRIBED
    )
