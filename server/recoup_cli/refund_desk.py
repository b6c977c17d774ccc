"""What the commands about refunds share: the flows on the configured database, and by whose key one acts.

Whoever touches or decides a refund is named by an API key, here as over HTTP: four eyes are counted by principal, and
one person must be one principal by whatever way they come.
"""

import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Final, TypeVar
from uuid import UUID

import click
import msgspec

from recoup_cli.admin import with_open_database
from recoup_cli.compose import build_gateways, build_notifiers, loaded_plugins
from recoup_cli.refusals import MISUSED, Refused
from recoup_cli.single import MERCHANT, OPERATOR
from recoup_core.domain.errors import AmountNotExact
from recoup_core.domain.money import Money, exponent
from recoup_core.domain.refund import Channel
from recoup_core.flows.context import Context
from recoup_core.flows.operate import By
from recoup_core.flows.registry import PolicyRegistry
from recoup_core.ports import SystemClock
from recoup_core.rules.engine.texts import CompiledTexts
from recoup_core.settings import Settings
from recoup_core.storage.calls import Call
from recoup_core.storage.engine import Database
from recoup_core.storage.merchants import ApiKey, Role, find_key
from recoup_core.telemetry import configure_logging, metrics
from recoup_core.wiring import load_key, messaging_of, rules_of

KEY_VARIABLE: Final = "RECOUP_API_KEY"
MAX_KEY_BYTES: Final = 1_000
"""A file that is larger holds something else than a key."""

CODE_LENGTH: Final = 3
"""Letters of an ISO 4217 currency code."""

T = TypeVar("T")
Command = Callable[..., Any]


def _currency(text: str) -> str:
    """Return a currency's code; where it was forgotten, the next option stands in its place."""
    if not (len(text) == CODE_LENGTH and text.isascii() and text.isalpha()):
        raise click.BadParameter(f"{text!r} is not a currency; write the amount with its currency, such as 12.50 EUR")
    return text


AMOUNT: Final = (str, _currency)
"""The type of an option that takes an amount in major units and its currency."""

merchant_option = click.option("--merchant", default=MERCHANT, show_default=True, help="Whose refunds.")
json_option = click.option("--json", "as_json", is_flag=True, help="Everything that is known, as JSON.")
key_option = click.option(
    "--key-file",
    "key",
    metavar="FILE",
    callback=lambda _context, _option, file: key_secret(file),
    help=f"The file that holds your API key (default: the key in {KEY_VARIABLE}).",
)
version_option = click.option(
    "--version",
    "version",
    type=click.IntRange(1),
    required=True,
    help="The version that you read, as `recoup refund show` prints it; any other is refused.",
)
maybe_version_option = click.option(
    "--version", "version", type=click.IntRange(1), help="Refuse if the refund is no longer at this version."
)


def key_secret(file: str | None) -> str:
    """Return the caller's key from the file, else from the environment; `Refused` where there is none."""
    if file is None:
        found = os.environ.get(KEY_VARIABLE, "").strip()
    else:
        try:
            with Path(file).open("rb") as opened:
                found = opened.read(MAX_KEY_BYTES).decode("ascii", "replace").strip()
        except OSError as broken:
            raise click.BadParameter(f"can't be read: {broken.strerror}", param_hint="--key-file") from None
    if not found:
        raise Refused(
            "this is done in a person's name, and none is known",
            f"set {KEY_VARIABLE} or give --key-file; `recoup keys create` makes a key",
            code=MISUSED,
        )
    return found


def with_flows(work: Callable[[Context], Awaitable[T]]) -> T:
    """Run work that needs gateways and policies; raises `Refused`, `DatabaseUnavailable` and the flows' refusals."""

    async def run(database: Database, settings: Settings) -> T:
        plugins = loaded_plugins()
        gateways, notifiers = build_gateways(settings, None, plugins), build_notifiers(settings, plugins)
        merchants = {entry.name: entry.merchant for entry in settings.gateways}
        rules = {entry.name: rules_of(entry) for entry in settings.gateways}
        registry = PolicyRegistry(database, CompiledTexts())
        messaging = messaging_of(settings, notifiers)
        await load_key(settings, database, messaging)  # links in messages that a command leads to are good ones
        context = Context(database, registry, gateways, merchants, SystemClock(), metrics(), rules, messaging=messaging)
        try:
            return await work(context)
        finally:
            registry.texts.close()

    configure_logging("warning", "console")  # on standard error: what is printed may be read by a program
    return with_open_database(run)


async def acting(context: Context, secret: str, *roles: Role, call: Call | None = None) -> By:
    """Return who acts: the key's principal, with the roles it approves by. `Refused` for an unusable key.

    With `roles`, one of them (or `admin`) is needed, as the same call needs it over HTTP.
    """
    key = await usable_key(context, secret)
    if roles and Role.ADMIN not in key.roles and not set(roles) & set(key.roles):
        raise Refused(f"the key of {key.principal} has none of the roles {', '.join(roles)}")
    return By(
        merchant_id=key.merchant_id,
        actor=f"key:{key.principal}",
        principal=key.principal,
        approves=key.approves,
        channel=Channel.COMMAND_LINE,
        call=call,
    )


async def usable_key(context: Context, secret: str) -> ApiKey:
    """Return the key behind a secret; `Refused` for one that is unknown, revoked or expired."""
    key = await find_key(context.database, secret)
    if key is None or not key.usable(context.clock.now()):
        raise Refused("the API key is not known here, or no longer usable", "`recoup keys list` shows the usable ones")
    return key


def telling(merchant: str) -> By:
    """Return who tells of what happened elsewhere: the operator, whom no rule about four eyes concerns."""
    return By(merchant_id=merchant, actor=OPERATOR, principal=OPERATOR, channel=Channel.COMMAND_LINE)


def money(amount: tuple[str, str]) -> Money:
    """Return an amount in major units and its currency as money; `UnknownCurrency`, `Refused` for no exact amount."""
    major, currency = amount[0], amount[1].upper()
    try:
        return Money.from_major(major, currency)
    except AmountNotExact as inexact:
        decimals = exponent(currency)
        point = f"a point and at most {decimals} decimals" if decimals else "no decimals"
        raise Refused(str(inexact), f"write digits with {point}", code=MISUSED) from None


def pairs(values: tuple[str, ...], option: str) -> list[tuple[str, str]]:
    """Return NAME=VALUE texts as pairs."""
    found = [value.partition("=") for value in values]
    for name, sign, value in found:
        if not (name and sign and value):
            raise click.BadParameter(f"{name}{sign}{value} is not NAME=VALUE", param_hint=option)
    return [(name, value) for name, _, value in found]


def uuid_or_none(text: str) -> UUID | None:
    """Return the id that a text is, if it is one."""
    try:
        return UUID(text)
    except ValueError:
        return None


def print_json(value: object) -> None:
    """Print a value as JSON that people can read, too."""
    click.echo(msgspec.json.format(msgspec.json.encode(value)).decode())
