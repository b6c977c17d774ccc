"""`recoup customer`: how customers are reached, and whether at all."""

from uuid import UUID

import click
from msgspec import UNSET, UnsetType

from recoup_cli.admin import with_open_database
from recoup_cli.refund_desk import json_option, pairs, print_json, telling, with_flows
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT
from recoup_core.domain.customer import Address
from recoup_core.flows.context import Context
from recoup_core.flows.customers.changing import CustomerChange, change_customer
from recoup_core.flows.customers.changing import erase as erase_customer
from recoup_core.flows.customers.changing import release as release_address
from recoup_core.rules.deciding.words import moment
from recoup_core.settings import Settings
from recoup_core.storage.customers import KnownCustomer, read_customer
from recoup_core.storage.engine import Database

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose customer.")
because_option = click.option("--because", required=True, help="Why; it stands in the audit trail.")


@click.group()
def customer() -> None:
    """See and change how customers are reached."""


@customer.command(epilog="Example: recoup customer show c-42")
@click.argument("ref")
@merchant_option
@json_option
def show(ref: str, merchant: str, as_json: bool) -> None:
    """Show a customer: language, zone, whether they are written to, each address and what became of it."""

    async def look(database: Database, _: Settings) -> KnownCustomer | None:
        async with database.connection() as connection:
            return await read_customer(connection, merchant, ref)

    found = with_open_database(look)
    if found is None:
        raise Refused(f"the merchant {merchant} has no customer {ref}")
    _tell(found, as_json)


@customer.command("set", epilog="Example: recoup customer set c-42 --address email=ada@example.com --locale de-AT")
@click.argument("ref")
@click.option("--name", help="How they are addressed; empty takes it away.")
@click.option("--locale", help="Their language (BCP 47); empty: the brand's.")
@click.option("--timezone", help="Their time zone (IANA); empty: as their payments tell.")
@click.option("--country", help="Their country (ISO 3166-1), whose holidays are kept; empty: as their payments tell.")
@click.option("--address", "addresses", metavar="CHANNEL=ADDRESS", multiple=True, help="What is used from now on.")
@click.option("--no-address", "gone", metavar="CHANNEL", multiple=True, help="Take a channel's address away.")
@click.option("--vulnerable/--not-vulnerable", default=None, help="Whether people are to treat them with care.")
@merchant_option
@json_option
def set_command(
    ref: str,
    name: str | None,
    locale: str | None,
    timezone: str | None,
    country: str | None,
    addresses: tuple[str, ...],
    gone: tuple[str, ...],
    vulnerable: bool | None,
    merchant: str,
    as_json: bool,
) -> None:
    """Change what is given of a customer, who is made if nobody told of them; the rest stays.

    It holds from the next message on, one that waits to be sent included.
    """
    change = CustomerChange(
        name=_given(name),
        locale=_given(locale),
        timezone=_given(timezone),
        country=_given(country),
        addresses={**dict.fromkeys(gone), **dict(pairs(addresses, "--address"))},
        vulnerable=UNSET if vulnerable is None else vulnerable,
    )

    async def act(context: Context) -> KnownCustomer:
        return await change_customer(context, ref, telling(merchant), change)

    _tell(with_flows(act), as_json)


@customer.command(
    "do-not-contact",
    epilog="Examples: recoup customer do-not-contact c-42 --because 'asked on the phone'"
    "   |   recoup customer do-not-contact c-42 --lift",
)
@click.argument("ref")
@click.option("--because", help="Why; kept with the customer until it is lifted.")
@click.option("--lift", is_flag=True, help="They may be written to again.")
@merchant_option
@json_option
def do_not_contact(ref: str, because: str | None, lift: bool, merchant: str, as_json: bool) -> None:
    """Say nothing to a customer any more, by any channel; what is still to leave is canceled."""
    if lift == (because is not None):
        raise click.UsageError("say why (--because), or --lift")
    change = CustomerChange(do_not_contact=not lift, do_not_contact_because=because)

    async def act(context: Context) -> KnownCustomer:
        return await change_customer(context, ref, telling(merchant), change, make=not lift)

    _tell(with_flows(act), as_json)


@customer.command(
    epilog="Example: recoup customer release c-42 0199c0de-0000-7000-8000-000000000001 --because 'mailbox is back'"
)
@click.argument("ref")
@click.argument("address_id", metavar="ADDRESS_ID", type=click.UUID)
@because_option
@merchant_option
@json_option
def release(ref: str, address_id: UUID, because: str, merchant: str, as_json: bool) -> None:
    """Lift the block of an address, and of the customer's whole channel; only on the customer's own word."""

    async def act(context: Context) -> KnownCustomer:
        return await release_address(context, ref, address_id, telling(merchant), because)

    _tell(with_flows(act), as_json)


@customer.command(epilog="Example: recoup customer erase c-42 --because 'request of 2026-03-02' --yes")
@click.argument("ref")
@because_option
@click.option("--yes", is_flag=True, help="Do not ask whether this is meant.")
@merchant_option
@json_option
def erase(ref: str, because: str, yes: bool, merchant: str, as_json: bool) -> None:
    """Erase a customer's name, addresses and the words of their messages, for good; payments and events stay."""
    if not yes:
        click.confirm(f"Erase name, addresses and messages of {ref}? This can't be undone", abort=True, err=True)

    async def act(context: Context) -> KnownCustomer:
        return await erase_customer(context, ref, telling(merchant), because)

    _tell(with_flows(act), as_json)


def _given(text: str | None) -> str | UnsetType | None:
    """Return what an option says: nothing at all, to take it away (empty), or a text."""
    return UNSET if text is None else text or None


def _tell(found: KnownCustomer, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    record, used = found.record, {address.id for address in found.used.values()}
    click.echo(f"customer {record.ref}" + (f"  {record.name}" if record.name else ""))
    told = {"locale": record.locale, "zone": record.timezone, "country": record.country}
    known = [f"{field} {value}" for field, value in told.items() if value is not None]
    if record.vulnerable:
        known.append("vulnerable")
    if record.erased_at is not None:
        known.append(f"erased {moment(record.erased_at)}")
    if known:
        click.echo(f"  {', '.join(known)}")
    if record.do_not_contact:
        because = f": {record.do_not_contact_because}" if record.do_not_contact_because else ""
        click.echo(f"  not to be contacted{because}")
    for address in found.addresses:
        click.echo(f"  {_address_words(address, used=address.id in used)}")


def _address_words(address: Address, *, used: bool) -> str:
    because = f" ({address.because})" if address.because else ""
    return f"{address.id}  {address.channel:<6} {address.address}  {address.state}{because}" + (
        "" if used else ", no longer used"
    )
