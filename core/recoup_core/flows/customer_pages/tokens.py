"""From the text of a link to whom it is for; every wrong link is wrong in the same way.

A link that can't be read is looked up all the same, under an id that nothing has: neither what comes back nor how long
it takes tells a mistyped link from a forged one, or from one to a case that does not exist.
"""

from datetime import UTC, datetime
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.flows.context import Context
from recoup_core.flows.links import LinkToken, Purpose
from recoup_core.storage.pages import LinkOwner, owner_of_address, owner_of_case, owner_of_charge
from recoup_core.templates.variables import Brand

MAX_LINK: Final = 100
"""Characters of a link that are looked at; ours have 55."""

_NOBODY: Final = LinkOwner(merchant_id="", customer_ref="")


class ExpiredLink(msgspec.Struct, frozen=True, kw_only=True):
    """A genuine link that opens nothing any more; whose it was is not told, only how to reach the merchant."""

    brand: Brand
    locale: str | None


class ValidLink(msgspec.Struct, frozen=True, kw_only=True):
    """A genuine link that still opens its page."""

    token: LinkToken
    owner: LinkOwner


async def read_link(context: Context, text: str, *purposes: Purpose) -> ValidLink | ExpiredLink | None:
    """Return what a link opens; None where it is none of ours, or for another kind of page."""
    links, now = context.messaging.links, context.clock.now()
    read = links.read(text[:MAX_LINK])
    token = read if read is not None and read.purpose in purposes else _decoy(purposes[0])
    async with context.database.connection() as connection:
        if token.purpose is Purpose.UNSUBSCRIBE:
            owner = await owner_of_address(connection, token.subject_id)
        elif token.purpose is Purpose.CHARGE:
            owner = await owner_of_charge(connection, token.subject_id)
        else:
            owner = await owner_of_case(connection, token.subject_id)
    known = owner or _NOBODY
    if not links.genuine(token, known.merchant_id, known.customer_ref) or owner is None:
        return None
    if token.expired(now):
        return ExpiredLink(brand=context.messaging.brand_of(owner.merchant_id), locale=owner.locale)
    return ValidLink(token=token, owner=owner)


def _decoy(purpose: Purpose) -> LinkToken:
    return LinkToken(purpose=purpose, subject_id=UUID(int=0), expires_at=datetime(2000, 1, 1, tzinfo=UTC), mac=b"")
