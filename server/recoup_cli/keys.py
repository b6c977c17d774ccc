"""`recoup keys`: who may call the API. A key is shown once, when it is made; only its hash is kept."""

from datetime import UTC, datetime, timedelta
from typing import Final
from uuid import UUID

import asyncpg
import click

from recoup_cli.admin import with_open_database
from recoup_cli.refusals import Refused
from recoup_cli.single import MERCHANT, OPERATOR
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.merchants import (
    ApiKey,
    KeyInvalid,
    MintedKey,
    Role,
    ensure_merchants,
    list_keys,
    mint_key,
    revoke_key,
)

MAX_DAYS: Final = 3650
"""The longest a key may live when it is to expire at all."""

_HINTS: Final = {"approves": "a role is written as policies write it: --approves support_lead"}

merchant_option = click.option(
    "--merchant", default=MERCHANT, show_default=True, help="Whose payments the key can see and touch."
)


@click.group()
def keys() -> None:
    """Make, list and take back API keys."""


@keys.command(epilog="Example: recoup keys create --principal billing-system --role agent --days 90")
@merchant_option
@click.option("--principal", required=True, help="The person or system behind the key, as the audit trail names it.")
@click.option(
    "--role",
    "roles",
    multiple=True,
    required=True,
    type=click.Choice([str(role) for role in Role]),
    help="What the key may do; may be given several times.",
)
@click.option(
    "--approves",
    multiple=True,
    metavar="ROLE",
    help="A role of refund policies by which the key decides on refunds; may be given several times.",
)
@click.option("--days", type=click.IntRange(1, MAX_DAYS), help="Days until it expires (default: never).")
def create(merchant: str, principal: str, roles: tuple[str, ...], approves: tuple[str, ...], days: int | None) -> None:
    """Make a key and print it, this once.

    All keys of one principal are one person: whoever asked for a refund approves it with none of them. Upper and lower
    case and blanks don't tell principals apart. No role approves refunds by itself, not even admin: see --approves.

    \b
    viewer         reads
    agent          reports payments and works on cases
    policy_author  checks policies and puts them in force
    operator       settles by hand what nobody else can
    admin          everything, keys included
    """

    async def make(database: Database, settings: Settings) -> MintedKey:
        now = datetime.now(UTC)
        if merchant in {MERCHANT, *(entry.merchant for entry in settings.gateways)}:
            await ensure_merchants(database, {merchant}, settings.merchant.acquirer_country, now)
        expires_at = None if days is None else now + timedelta(days=days)
        chosen = [Role(role) for role in roles]
        try:
            return await mint_key(
                database, merchant, principal, chosen, now, actor=OPERATOR, expires_at=expires_at, approves=approves
            )
        except KeyInvalid as refusal:
            raise Refused(str(refusal), _HINTS.get(refusal.field)) from None
        except asyncpg.ForeignKeyViolationError:
            raise Refused(f"there is no merchant {merchant}", "gateways in recoup.toml name merchants") from None

    minted = with_open_database(make)
    click.echo(minted.secret)
    click.echo(f"key {minted.key.id} of {minted.key.principal} for {merchant}; it is not shown again", err=True)


@keys.command("list", epilog="Example: recoup keys list --merchant default")
@merchant_option
def list_command(merchant: str) -> None:
    """List a merchant's keys, newest first: id, last characters, who, roles, what it approves, state."""

    async def look(database: Database, _: Settings) -> list[ApiKey]:
        return await list_keys(database, merchant)

    found = with_open_database(look)
    now = datetime.now(UTC)
    for key in found:
        click.echo(
            f"{key.id}  ...{key.hint}  {_state(key, now):<8}  {key.created_at:%Y-%m-%d}  {key.principal}"
            f"  [{', '.join(key.roles)}]{_approves(key)}"
        )
    if not found:
        click.echo(f"the merchant {merchant} has no keys; `recoup keys create` makes one", err=True)


@keys.command(epilog="Example: recoup keys revoke 0199a2f4-...")
@click.argument("key_id", type=click.UUID)
@merchant_option
def revoke(key_id: UUID, merchant: str) -> None:
    """Take a key back for good; running processes notice within seconds."""

    async def take(database: Database, _: Settings) -> ApiKey | None:
        return await revoke_key(database, merchant, key_id, datetime.now(UTC), actor=OPERATOR)

    revoked = with_open_database(take)
    if revoked is None:
        raise Refused(f"the merchant {merchant} has no key {key_id}", "`recoup keys list` shows them")
    click.echo(f"revoked {revoked.id} (...{revoked.hint}) of {revoked.principal}")


def _approves(key: ApiKey) -> str:
    return f"  approves [{', '.join(key.approves)}]" if key.approves else ""


def _state(key: ApiKey, now: datetime) -> str:
    if key.revoked_at is not None:
        return "revoked"
    return "usable" if key.usable(now) else "expired"
