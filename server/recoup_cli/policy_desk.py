"""What the commands that change policies in the database share: whose they are, who asks, which version is meant."""

import re
from collections.abc import Awaitable, Callable, Iterator, Sequence
from typing import Any, Final, TypeVar
from uuid import UUID

import asyncpg
import click

from recoup_cli.admin import with_open_database
from recoup_cli.refusals import Refused
from recoup_cli.single import OPERATOR
from recoup_core.domain.versions import PolicyVersion, VersionOrigin
from recoup_core.flows.context import Context
from recoup_core.flows.desk import Change
from recoup_core.flows.registry import PolicyRegistry
from recoup_core.flows.versions import NOTE_MAX
from recoup_core.ports import SystemClock
from recoup_core.rules.engine.texts import CompiledTexts
from recoup_core.settings import Settings
from recoup_core.storage.engine import Database
from recoup_core.storage.versions import find_versions
from recoup_core.telemetry import metrics

SHORT: Final = 12
"""Characters of a digest that are shown."""

_DIGEST: Final = re.compile(r"[0-9a-f]{6,64}")

T = TypeVar("T")
Command = Callable[..., Any]

merchant_option = click.option(
    "--merchant", metavar="NAME", help="Whose policies (default: the house's, in force for every merchant)."
)
_author_option = click.option(
    "--author", default=OPERATOR.partition(":")[2], show_default=True, help="Who, as the audit trail names it."
)
_note_option = click.option("--note", help=f"What to remember about it, up to {NOTE_MAX} characters.")


def changes(command: Command) -> Command:
    """Add the options that say whose policies are changed and by whom."""
    return merchant_option(_author_option(command))


def notes(command: Command) -> Command:
    """Add the option for a note about new versions."""
    return _note_option(command)


def change_of(merchant: str | None, author: str, note: str | None = None) -> Change:
    """Return the change as flows know it; a note that is too long is refused."""
    if note is not None and len(note) > NOTE_MAX:
        raise Refused(f"the note is longer than {NOTE_MAX} characters")
    return Change(merchant_id=merchant, actor=f"operator:{author}"[:200], origin=VersionOrigin.CLI, note=note or None)


def next_step(command: str, does: str) -> None:
    """Name the command that people mostly want after this one; on standard error, so that scripts don't read it."""
    click.echo(f"next: {command}  {does}", err=True)


def with_policies(work: Callable[[Context], Awaitable[T]]) -> T:
    """Run work on the policies of the configured or running database; raises `Refused` and `DatabaseUnavailable`."""

    async def run(database: Database, _: Settings) -> T:
        registry = PolicyRegistry(database, CompiledTexts())
        context = Context(database, registry, {}, {}, SystemClock(), metrics())
        try:
            return await work(context)
        except asyncpg.ForeignKeyViolationError:
            raise Refused("there is no such merchant", "gateways in recoup.toml name merchants") from None
        finally:
            registry.texts.close()

    return with_open_database(run)


async def one_version(context: Context, merchant: str | None, wanted: str) -> UUID:
    """Return the version that is meant: by id, or by the beginning of its digest; `Refused` where that is not one."""
    try:
        return UUID(wanted)
    except ValueError:
        pass
    if not _DIGEST.fullmatch(wanted):
        raise Refused(f"{wanted!r} is neither an id nor six or more digits of a digest")
    async with context.database.connection() as connection:
        found = await find_versions(connection, merchant, wanted)
    owner = "the house" if merchant is None else f"the merchant {merchant}"
    if not found:
        raise Refused(f"{owner} has no version {wanted}", "`recoup policy versions` shows them")
    if len(found) > 1:
        raise Refused(f"{owner} has several versions {wanted}...", "give more of the digest")
    return found[0].id


def version_lines(versions: Sequence[PolicyVersion]) -> Iterator[str]:
    """Yield versions, one line each: policy, digest, state, since when, whose, by whom, id, note."""
    names = [f"{version.kind}/{version.name}" for version in versions]
    owners = [version.merchant_id or "house" for version in versions]
    wide, wide_owner = max(map(len, names), default=0), max(map(len, owners), default=0)
    for version, name, owner in zip(versions, names, owners, strict=True):
        since = f"{version.changed_at:%Y-%m-%d %H:%M}Z"
        note = f"  {version.note}" if version.note else ""
        yield (
            f"{name:<{wide}}  {version.digest[:SHORT]}  {version.state:<10}  since {since}  {owner:<{wide_owner}}"
            f"  {version.id}  {version.author} ({version.origin}){note}"
        )


def tell(*versions: PolicyVersion) -> None:
    """Print versions."""
    for line in version_lines(versions):
        click.echo(line)
