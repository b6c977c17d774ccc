"""`recoup policy versions` and what can be done with one: bring in, shadow, put in force, retire, roll back."""

from collections.abc import Awaitable, Callable
from pathlib import Path
from uuid import UUID

import click

from recoup_cli.policy_desk import (
    SHORT,
    change_of,
    changes,
    merchant_option,
    next_step,
    notes,
    one_version,
    tell,
    with_policies,
)
from recoup_cli.refusals import Refused
from recoup_core.domain.versions import PolicyVersion, VersionState
from recoup_core.flows import versions as flow
from recoup_core.flows.context import Context
from recoup_core.flows.desk import Change
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.yamltext import MAX_BYTES
from recoup_core.storage.listing import DEFAULT_PAGE, MAX_PAGE
from recoup_core.storage.versions import list_versions, read_version

Act = Callable[[Context, UUID, Change], Awaitable[PolicyVersion]]


@click.command(epilog="Examples: recoup policy versions --state live   |   recoup policy versions --kind retry")
@merchant_option
@click.option("--kind", help="Only this kind.")
@click.option("--name", help="Only the policy of this name.")
@click.option("--state", type=click.Choice([str(state) for state in VersionState]), help="Only those in this state.")
@click.option("--limit", type=click.IntRange(1, MAX_PAGE), default=DEFAULT_PAGE, show_default=True)
def versions(merchant: str | None, kind: str | None, name: str | None, state: str | None, limit: int) -> None:
    """List versions of policies, newest first: the house's and, with --merchant, that merchant's.

    Looks into the database of the settings, else into the one that `recoup up` or `recoup demo` runs in this folder.
    """

    async def look(context: Context) -> list[PolicyVersion]:
        filters = {"kind": kind, "name": name, "state": state}
        return await list_versions(context.database, merchant, filters, None, limit)

    found = with_policies(look)
    tell(*found)
    if not found:
        click.echo("there is no such version", err=True)


@click.command(epilog="Example: recoup policy show 1a2b3c4d")
@click.argument("wanted", metavar="VERSION")
@merchant_option
def show(wanted: str, merchant: str | None) -> None:
    """Print a version's text, byte for byte, so that its digest is that of the output."""

    async def look(context: Context) -> str:
        version_id = await one_version(context, merchant, wanted)
        async with context.database.connection() as connection:
            version = await read_version(connection, version_id)
        if version is None or version.merchant_id not in (None, merchant):
            raise Refused(f"there is no version {wanted}")
        return version.body

    click.echo(with_policies(look).encode(), nl=False)


@click.command(epilog='Example: recoup policy submit mine.yaml --note "payday in the morning"')
@click.argument("file", type=click.Path(path_type=Path, exists=True, dir_okay=False))
@changes
@notes
def submit(file: Path, merchant: str | None, author: str, note: str | None) -> None:
    """Check a policy file and keep its text as a draft; the same text again is the same version."""
    text = _text(file)

    async def bring(context: Context) -> flow.Submitted:
        return await flow.submit(context, text, file.name, change_of(merchant, author, note))

    submitted = with_policies(bring)
    for warning in submitted.warnings:
        click.echo(str(warning), err=True)
    tell(submitted.version)
    if not submitted.fresh:
        click.echo("the text was known already", err=True)
    if submitted.version.state is VersionState.DRAFT:
        digest = submitted.version.digest[:SHORT]
        next_step(f"recoup policy shadow {digest}", "lets it decide beside the live version, without effect")


@click.command(epilog="Example: recoup policy shadow 1a2b3c4d")
@click.argument("wanted", metavar="VERSION")
@changes
def shadow(wanted: str, merchant: str | None, author: str) -> None:
    """Let a version decide beside the live one, without anything being done about it."""
    version = _on_one(wanted, change_of(merchant, author), flow.shadow)
    next_step(f"recoup policy shadow-report {version.digest[:SHORT]}", "says what it would have decided otherwise")


@click.command(epilog="Example: recoup policy activate 1a2b3c4d")
@click.argument("wanted", metavar="VERSION")
@changes
def activate(wanted: str, merchant: str | None, author: str) -> None:
    """Put a version in force: from now on new cases get it, in every process; running cases keep theirs."""
    version = _on_one(wanted, change_of(merchant, author), flow.activate)
    if version.kind != PolicyKind.REFUND:
        command = f"recoup policy migrate --kind {version.kind}"
        next_step(command, "shows what running cases would do under what is live; they keep theirs till then")


@click.command(epilog="Example: recoup policy retire 1a2b3c4d")
@click.argument("wanted", metavar="VERSION")
@changes
def retire(wanted: str, merchant: str | None, author: str) -> None:
    """Take a version out of use: running cases keep it, new ones get what else applies to them."""
    _on_one(wanted, change_of(merchant, author), flow.retire)


@click.command(epilog="Example: recoup policy rollback retry/cards-consumer")
@click.argument("policy", metavar="KIND/NAME")
@changes
def rollback(policy: str, merchant: str | None, author: str) -> None:
    """Put the version in force again that was live before the present one."""
    kind, _, name = policy.partition("/")

    async def back(context: Context) -> PolicyVersion:
        return await flow.roll_back(context, kind, name, change_of(merchant, author))

    tell(with_policies(back))


def _on_one(wanted: str, change: Change, act: Act) -> PolicyVersion:
    async def do(context: Context) -> PolicyVersion:
        return await act(context, await one_version(context, change.merchant_id, wanted), change)

    version = with_policies(do)
    tell(version)
    return version


def _text(file: Path) -> str:
    with file.open("rb") as opened:
        raw = opened.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise Refused(f"{file} is larger than {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused(f"{file} is not UTF-8") from None
