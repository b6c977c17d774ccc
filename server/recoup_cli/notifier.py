"""`recoup notifier`: what reaches customers and staff, how it is, and a message to try it with."""

import asyncio
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final

import click
import msgspec

from recoup_cli.compose import build_notifiers, loaded_plugins
from recoup_cli.plugin_text import print_table
from recoup_cli.refund_desk import json_option, print_json
from recoup_cli.refusals import FAILED, MISUSED, Refused
from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import Unknown
from recoup_core.flows.notifier_guard import send_guarded
from recoup_core.ports import Accepted, NotAccepted, Notifier, NotNow, OutgoingMessage, Sender, SendOutcome
from recoup_core.settings import Settings, load_settings
from recoup_core.settings_reader import near
from recoup_core.telemetry import configure_logging

CHECK_S: Final = 10.0

SUBJECT: Final = "A test message from Recoup"
TEXT: Final = "This is a test. Whoever set up Recoup sent it to see that messages arrive; there is nothing to do."
HTML: Final = f"<!doctype html><html lang=en><body><p>{TEXT}</p></body></html>"


class NotifierHealth(msgspec.Struct, frozen=True, kw_only=True):
    """A configured notifier and how it is."""

    name: str
    plugin: str
    merchant: str | None
    channels: list[str]
    customers: bool
    health: str
    trouble: str | None


@click.group()
def notifier() -> None:
    """Look at what reaches customers and staff, and try it."""


@notifier.command("list", epilog="Examples: recoup notifier list   |   recoup notifier list --json")
@json_option
def list_command(as_json: bool) -> None:
    """List the configured notifiers with their channels, and ask each how it is; nothing is sent.

    Ends with 1 if one is failing.
    """
    settings, notifiers = _configured()
    rows = asyncio.run(_healths(settings, notifiers))
    if as_json:
        print_json(rows)
    elif not rows:
        click.echo("no notifiers are configured ([[notifiers]] in recoup.toml)", err=True)
    else:
        cells = [
            (one.name, one.plugin, ", ".join(one.channels), _serves(one), one.trouble or one.health) for one in rows
        ]
        print_table(("notifier", "plugin", "channels", "serves", "health"), cells)
    if any(one.trouble for one in rows):
        raise click.exceptions.Exit(FAILED)


@notifier.command("test", epilog="Example: recoup notifier test mail --to anna@example.com")
@click.argument("name")
@click.option("--to", default="", metavar="ADDRESS", help="To whom; none where the notifier has one reader alone.")
@click.option("--channel", help="By which of its channels (default: its only one).")
@json_option
def test_command(name: str, to: str, channel: str | None, as_json: bool) -> None:
    """Send one harmless message by a notifier, now, and say what is certain of it.

    It asks no contact budget and leaves no trace in the database. Ends with 1 unless it was accepted.
    """
    _, notifiers = _configured()
    if name not in notifiers:
        meant = near(name, sorted(notifiers))
        raise Refused(f"no notifier is named {name}", f"did you mean {meant}?" if meant else None, code=MISUSED)
    chosen = notifiers[name]
    able = sorted(chosen.capabilities.channels)
    if channel is None and len(able) > 1:
        raise Refused(f"{name} has several channels", f"say --channel {' or '.join(able)}", code=MISUSED)
    channel = channel or able[0]
    if channel not in able:
        raise Refused(f"{name} has no channel {channel}", f"it has {', '.join(able)}", code=MISUSED)
    if chosen.capabilities.addressed and not to:
        raise Refused("nobody to send it to is named", "say --to ADDRESS", code=MISUSED)
    outcome = asyncio.run(_send(chosen, channel, to))
    if as_json:
        print_json(outcome)
    else:
        click.echo(_told(outcome))
    if not isinstance(outcome, Accepted):
        raise click.exceptions.Exit(FAILED)


def _configured() -> tuple[Settings, Mapping[str, Notifier]]:
    configure_logging("error", "console")
    settings = load_settings()
    return settings, build_notifiers(settings, loaded_plugins())


async def _healths(settings: Settings, notifiers: Mapping[str, Notifier]) -> list[NotifierHealth]:
    troubles = await asyncio.gather(*(_trouble(notifiers[entry.name]) for entry in settings.notifiers))
    return [
        NotifierHealth(
            name=entry.name,
            plugin=entry.plugin,
            merchant=entry.merchant,
            channels=sorted(entry.channels or notifiers[entry.name].capabilities.channels),
            customers=entry.customers,
            health="ok" if trouble is None else "failing",
            trouble=trouble,
        )
        for entry, trouble in zip(settings.notifiers, troubles, strict=True)
    ]


async def _trouble(one: Notifier) -> str | None:
    try:
        async with asyncio.timeout(CHECK_S):
            await one.health()
    except Exception as failure:  # a plugin is foreign code: whatever it raises means that it is not well
        return f"failing ({type(failure).__name__})"
    return None


def _serves(one: NotifierHealth) -> str:
    whose = one.merchant or "every merchant"
    return whose if one.customers else f"staff of {whose}"


async def _send(chosen: Notifier, channel: str, to: str) -> SendOutcome | Unknown:
    message = OutgoingMessage(
        id=new_id(),
        merchant_id="default",
        channel=channel,
        to=to,
        sender=Sender(name="Recoup"),
        subject=SUBJECT,
        text=TEXT,
        html=HTML,
        locale="en",
        created_at=datetime.now(UTC),
    )
    return await send_guarded(chosen, message)


def _told(outcome: SendOutcome | Unknown) -> str:
    match outcome:
        case Accepted():
            return "accepted: it is on its way"
        case NotAccepted():
            whose = "; the address itself is wrong" if outcome.bad_address else ""
            return f"not accepted, and certainly not sent: {outcome.reason}{whose}"
        case NotNow():
            return f"not now, and certainly not sent: {outcome.reason}"
        case _:
            return f"unknown: it may have been sent ({outcome.reason})"
