"""What the demo's customers are told: a brand, an outbox of files in place of a mail server, and what was said."""

from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
from rich.console import Console
from rich.table import Table

from recoup_cli.single import MERCHANT
from recoup_core.domain.message import Message, MessageState
from recoup_core.domain.payment import Customer
from recoup_core.domain.recovery import CaseState
from recoup_core.domain.subscription_request import RequestState
from recoup_core.flows.context import Context
from recoup_core.flows.customers.telling import ReportedContact
from recoup_core.flows.operate import By
from recoup_core.flows.subscription_requests.answering import acknowledge
from recoup_core.settings_people import BrandEntry, NotifierEntry
from recoup_core.storage.listing import MAX_PAGE, list_cases
from recoup_core.storage.messages import MessageCount, count_messages, list_messages
from recoup_core.storage.subscription_requests import list_requests

OUTBOX: Final = "outbox"
"""The folder of the demo's messages, below its data folder; also the name of the plugin that fills it."""

BRAND: Final = BrandEntry(
    name="Nordlicht Coffee",
    colour="#0b6e4f",
    support_email="help@nordlicht.example",
    website="https://nordlicht.example",
    postal_address="Nordlicht Coffee GmbH, Hafenstraße 7, 20457 Hamburg",
)

BILLING: Final = By(merchant_id=MERCHANT, actor="key:billing", principal="billing")

_LANGUAGES: Final = {"DE": "de-DE", "FR": "fr-FR", "GB": "en-GB", "US": "en-US"}


class Letters(msgspec.Struct, frozen=True, kw_only=True):
    """What was said, and where to look at it."""

    counts: Sequence[MessageCount] = ()
    example: Message | None = None
    """The last mail that was sent."""
    page: str | None = None
    """The address of a page where a customer who still owes can pay."""


def outbox(folder: Path) -> NotifierEntry:
    """Return the demo's notifier: files in its folder; nobody is written to."""
    return NotifierEntry(
        name=OUTBOX, plugin=OUTBOX, options={"path": str(folder / OUTBOX), "channels": ["email", "sms"]}
    )


def reader(customer: Customer, number: int) -> ReportedContact:
    """Return how a sample customer is reached: at addresses that belong to nobody (RFC 2606, Ofcom's drama numbers)."""
    return ReportedContact(
        name=f"Customer {number}",
        locale=_LANGUAGES.get(customer.country or ""),
        addresses={"email": f"{customer.ref}@customers.example", "sms": f"+447700900{number % 1000:03d}"},
    )


async def billing_answers(context: Context) -> None:
    """Have the demo's billing system do what it is asked for, and say so."""
    asked = {"state": RequestState.ASKED}
    for request in await list_requests(context.database, MERCHANT, asked, None, MAX_PAGE):
        await acknowledge(context, request.id, BILLING, done=True)


async def read_letters(context: Context) -> Letters:
    """Return what was said, a mail to look at, and the page of a customer who still owes."""
    async with context.database.connection() as connection:
        counts = await count_messages(connection, MERCHANT)
    sent = {"state": MessageState.SENT, "channel": "email"}
    mails = await list_messages(context.database, MERCHANT, sent, None, 1)
    page = await _page(context)
    return Letters(counts=counts, example=next(iter(mails), None), page=page)


async def _page(context: Context) -> str | None:
    """Return the page of the newest case that is still open, if one is."""
    open_cases = await list_cases(context.database, MERCHANT, {"state": CaseState.OPEN}, None, 1)
    until = context.clock.now() + context.messaging.link_lifetime
    pages = [
        context.messaging.links.update(row.case.id, MERCHANT, row.payment.customer.ref, until) for row in open_cases
    ]
    return next(iter(pages), None)


def tell_letters(console: Console, letters: Letters) -> None:
    """Print what was said, by template."""
    if not letters.counts:
        return
    table = Table(title="What customers were told", title_justify="left")
    for heading in ("message", "channel"):
        table.add_column(heading)
    for heading in ("sent", "others"):
        table.add_column(heading, justify="right")
    for template, channel in dict.fromkeys((each.template, each.channel) for each in letters.counts):
        those = [each for each in letters.counts if (each.template, each.channel) == (template, channel)]
        sent = sum(each.count for each in those if each.state is MessageState.SENT)
        table.add_row(template, channel, str(sent), str(sum(each.count for each in those) - sent))
    console.print()
    console.print(table)
