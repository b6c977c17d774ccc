"""`recoup audit`: has anybody touched what is written down?"""

from datetime import UTC, datetime

import click

from recoup_cli.admin import with_open_database
from recoup_cli.refusals import FAILED
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database


@click.group()
def audit() -> None:
    """Work with the audit trail: every event, append-only, sealed in a chain of hashes."""


@audit.command(epilog="Example: recoup audit verify && echo untouched")
def verify() -> int:
    """Walk the whole chain and name the first event or seal that was altered, removed or slipped in.

    Exits with 0 when all of it fits, with 1 otherwise.
    """
    from recoup_core.storage.audit import Verified, verify_audit

    async def look(database: Database, _: Settings) -> Verified:
        return await verify_audit(database, datetime.now(UTC))

    result = with_open_database(look)
    if result.fault is not None:
        click.echo(f"the audit trail is broken: {result.fault.message}", err=True)
        click.echo(f"  {result.events} events in {result.seals} seals before it fit", err=True)
        return FAILED
    young = f", {result.unsealed} more not sealed yet" if result.unsealed else ""
    click.echo(f"the audit trail is whole: {result.events} events in {result.seals} seals{young}")
    return 0
