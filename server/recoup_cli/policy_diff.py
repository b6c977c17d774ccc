"""`recoup policy diff`: what changes when one text takes another's place, in meaning and not in words."""

import re
from collections.abc import Iterator, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import click
import msgspec

from recoup_cli.checking import files_of, text_of
from recoup_cli.compose import release
from recoup_cli.diff_html import diff_page
from recoup_cli.policy_desk import merchant_option, one_version, with_policies
from recoup_cli.progress import progress
from recoup_cli.refusals import FAILED, MISUSED, Refused
from recoup_cli.report_html import check_place, write_page
from recoup_core.flows.context import Context
from recoup_core.rules.deciding.words import moment
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.errors import PolicyInvalid, Problem
from recoup_core.rules.language.names import is_names
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.study.diff import PolicyDiff, compare
from recoup_core.rules.study.diff.text import folder_lines
from recoup_core.storage.versions import live_version, read_version

_VERSION: Final = re.compile(r"(?P<kind>[a-z]+)/(?P<name>[a-z0-9-]{1,60})@(?P<which>live|[0-9a-f]{6,64})")


class FolderDiff(msgspec.Struct, frozen=True, kw_only=True):
    """The difference between two sets of policies, held against each other by kind and name."""

    policies: tuple[PolicyDiff, ...]
    added: tuple[str, ...]
    """`kind/name` of policies that only the second set has."""
    removed: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether both sets mean the same."""
        return not (self.added or self.removed) and all(each.same for each in self.policies)


@click.command(
    "diff",
    epilog="""\b
Examples:
  recoup policy diff cards-old.yaml cards-new.yaml
  recoup policy diff retry/cards-consumer@live cards-new.yaml --html change.html
  recoup policy diff main/policies policies --json
""",
)
@click.argument("old", metavar="A")
@click.argument("new", metavar="B")
@merchant_option
@click.option("--json", "as_json", is_flag=True, help="The difference as JSON.")
@click.option(
    "--html", "html", type=click.Path(path_type=Path, dir_okay=False), help="Write it to a page for a manager, too."
)
@click.option("--exit-code", is_flag=True, help="Exit with 1 when the meaning differs.")
def diff(old: str, new: str, merchant: str | None, as_json: bool, html: Path | None, exit_code: bool) -> int:
    """Say what changes when B takes the place of A: which payments get which other decision, with a smallest example.

    A and B are files, whole folders (held against each other by kind and name), or versions in the database:
    KIND/NAME@live, or KIND/NAME@ and the beginning of a digest. Decided over all facts, so a rule that is written
    otherwise or moved without effect makes no difference, and whatever took too long to decide is named.
    """
    if html is not None:
        check_place(html)
    found = _compared(_policies(old, merchant), _policies(new, merchant))
    if html is not None:
        made = f"Made {moment(datetime.now(UTC))} by recoup {release()}"
        page = diff_page(found.policies, found.added, found.removed, (f"From {old}", f"to {new}"), made)
        write_page(html, page)
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(found)).decode())
    else:
        for line in folder_lines(found.policies, found.added, found.removed):
            click.echo(line)
        if html is not None:
            click.echo(f"\nthe difference as a page: {html}")
    return FAILED if exit_code and not found.same else 0


def _compared(old: Mapping[str, Policy], new: Mapping[str, Policy]) -> FolderDiff:
    """Hold every policy that both sides have against its counterpart; two single texts are each other's."""
    if len(old) == len(new) == 1:
        [before], [after] = old.values(), new.values()
        pairs = [(before, after)]
        added, removed = set[str](), set[str]()
    else:
        pairs = [(old[name], new[name]) for name in sorted(old.keys() & new.keys())]
        added, removed = new.keys() - old.keys(), old.keys() - new.keys()
    with progress("comparing rules", sum(len(after.rules) for _, after in pairs)) as advance:
        found = tuple(compare(before, after, progress=lambda *_: advance(1)) for before, after in pairs)
    return FolderDiff(policies=found, added=tuple(sorted(added)), removed=tuple(sorted(removed)))


def _policies(which: str, merchant: str | None) -> dict[str, Policy]:
    """Return the policies that an argument names, by kind and name."""
    version = _VERSION.fullmatch(which)
    if version is not None and not Path(which).exists():
        policies: Sequence[Policy] = (_stored(version, merchant),)
    else:
        policies = tuple(_read(Path(which)))
    return {f"{policy.kind}/{policy.name}": policy for policy in policies}


def _read(path: Path) -> Iterator[Policy]:
    if not path.exists():
        hint = "a file, a folder, or a version: retry/cards-consumer@live"
        raise Refused(f"there is no {path}", hint, code=MISUSED)
    problems: list[Problem] = []
    for file in files_of([path], problems):
        text = text_of(file, str(file), problems)
        if text is None or is_names(text):
            continue
        try:
            yield parse_policy(text, source=str(file))
        except PolicyInvalid as refusal:
            problems.extend(refusal.problems)
    if problems:
        raise PolicyInvalid(problems)


def _stored(version: re.Match[str], merchant: str | None) -> Policy:
    kind, name, which = version["kind"], version["name"], version["which"]
    if kind not in tuple(PolicyKind):
        raise Refused(f"there is no kind {kind!r}", f"one of {', '.join(PolicyKind)}", code=MISUSED)

    async def look(context: Context) -> str | None:
        async with context.database.connection() as connection:
            if which == "live":
                live = await live_version(connection, merchant, kind, name)
                version_id = None if live is None else live.id
            else:
                version_id = await one_version(context, merchant, which)
            found = None if version_id is None else await read_version(connection, version_id)
        return None if found is None or (found.kind, found.name) != (kind, name) else found.body

    text = with_policies(look)
    if text is None:
        raise Refused(f"there is no version {version.string}", "`recoup policy versions` shows them")
    return parse_policy(text, source=version.string)
