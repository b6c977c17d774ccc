"""`recoup policy explain`: what would be decided about a payment, or was, and why."""

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID
from zoneinfo import available_timezones

import click
import msgspec

from recoup_cli.case_finding import find_case
from recoup_cli.facts_text import given_values, read_facts
from recoup_cli.policy_desk import with_policies
from recoup_cli.refusals import MISUSED, Refused
from recoup_cli.single import MERCHANT
from recoup_core.flows.context import Context
from recoup_core.flows.explain import CaseTold, decide_again, explain_case, explain_live
from recoup_core.rules.deciding.explain import Explained, explain, why_outside
from recoup_core.rules.deciding.what_if import FIRST_YEAR, LAST_YEAR, WhatIf
from recoup_core.rules.engine.compile import CompiledPolicy, compile_policy
from recoup_core.rules.facts import VOCABULARIES, PolicyKind
from recoup_core.rules.language.errors import NoPolicyApplies, PolicyInvalid
from recoup_core.rules.language.given import FactsInvalid
from recoup_core.rules.language.names import is_names
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.language.yamltext import MAX_BYTES
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.sets.folder import read_folder

KINDS = [kind.value for kind in PolicyKind]


@click.command(
    "explain",
    epilog="""\b
Examples:
  recoup policy explain policies/retry/cards-consumer.yaml --facts decline_code=insufficient_funds --facts attempt=2
  recoup policy explain policies --kind refund --facts amount="120.00 EUR" --facts reason=damaged
  recoup policy explain --live --facts facts.json --now 2026-12-30T09:00Z --json
  recoup policy explain --case INV-0042          |  recoup policy explain --case INV-0042 --again
""",
)
@click.argument("path", required=False, type=click.Path(path_type=Path, exists=True))
@click.option("--live", is_flag=True, help="Ask the policies in force in the database instead of files.")
@click.option(
    "--kind",
    type=click.Choice(KINDS),
    help="Of a folder or --live, which kind decides (default: the only one there is, else retry).",
)
@click.option("--merchant", default=MERCHANT, show_default=True, help="Whose policies or case, with --live or --case.")
@click.option(
    "--facts",
    "given",
    multiple=True,
    metavar="NAME=VALUE|FILE.json",
    help="What is known of the payment; the rest is as in the policy's examples. May be repeated.",
)
@click.option("--case", "case_id", metavar="ID|REFERENCE", help="Explain the stored decisions of a case, latest first.")
@click.option("--at", "decision", metavar="ID", type=click.UUID, help="With --case: this decision only.")
@click.option("--again", is_flag=True, help="With --case: what would be decided now; nothing is stored.")
@click.option("--now", "now_text", metavar="TIME", help="When the decision is made, ISO 8601 (default: now).")
@click.option("--used", type=click.IntRange(0, 100), help="Retries this rule has led to (default: the fact `retries`).")
@click.option("--zone", help="The customer's time zone, like Europe/Berlin (default: their country's main one).")
@click.option(
    "--payday",
    "paydays",
    multiple=True,
    type=click.IntRange(1, 31),
    help="A day of the month on which the customer is paid; may be repeated.",
)
@click.option("--acquirer", metavar="COUNTRY", help="Where the acquirer sits; some network limits differ by it.")
@click.option("--retry-at", metavar="TIME", help="For dunning: when the planned retry is due (default: in a day).")
@click.option(
    "--evidence", multiple=True, metavar="KIND", help="For refunds: what was handed in (default: all that is needed)."
)
@click.option("--json", "as_json", is_flag=True, help="Everything as JSON.")
def explain_command(
    path: Path | None,
    live: bool,
    kind: str | None,
    merchant: str,
    given: tuple[str, ...],
    case_id: str | None,
    decision: UUID | None,
    again: bool,
    as_json: bool,
    **situation: Any,
) -> None:
    """Say which policy decides, which of its rules fires and why not those before it, and what it comes to.

    Decides exactly as the service does, on facts that you give: by a file, a folder, the policies in force (--live), or
    about a real case (--case). A decline code is looked up in the code tables. The account's history is taken to be the
    failed attempts that `attempt` and `days_since_failure` tell of.
    """
    if sum((path is not None, live, case_id is not None)) != 1:
        raise Refused("give a file or folder, or --live, or --case", "`recoup policy explain -h`", code=MISUSED)
    if case_id is None and (again or decision):
        raise Refused("--again and --at go with --case", code=MISUSED)
    if case_id is not None:
        about = _of_case(merchant, case_id, decision, again)
        _show(about, tuple(about.words), as_json)
        return
    what_if = _what_if(**situation)
    wanted = PolicyKind(kind) if kind else None
    told = _of_path(path, wanted, given, what_if) if path is not None else _of_live(merchant, wanted, given, what_if)
    _show(told, told.words, as_json)


def _what_if(
    now_text: str | None,
    used: int | None,
    zone: str | None,
    paydays: tuple[int, ...],
    acquirer: str | None,
    retry_at: str | None,
    evidence: tuple[str, ...],
) -> WhatIf:
    if zone is not None and zone not in available_timezones():
        raise Refused(f"--zone: {zone!r} is no time zone", "write it like Europe/Berlin", code=MISUSED)
    return WhatIf(
        now=datetime.now(UTC) if now_text is None else _moment("--now", now_text),
        used=used,
        zone=zone,
        paydays=paydays,
        acquirer=acquirer,
        retry_at=None if retry_at is None else _moment("--retry-at", retry_at),
        evidence=evidence or None,
    )


def _of_path(path: Path, kind: PolicyKind | None, given: Sequence[str], what_if: WhatIf) -> Explained:
    policies = _compiled(path)
    if path.is_dir():
        kinds = {compiled.policy.kind for compiled in policies}
        vocabulary = VOCABULARIES[kind or (kinds.pop() if len(kinds) == 1 else PolicyKind.RETRY)]
        facts = read_facts(given, vocabulary, vocabulary.baseline)
        try:
            chosen = PolicyBook(policies).choose(vocabulary.kind, facts)
        except NoPolicyApplies as none:
            mine = [one.policy for one in policies if one.policy.kind is vocabulary.kind]
            told = (f"{each.name}: {', '.join(why_outside(each, facts))}" for each in mine)
            raise Refused(str(none), "\n  ".join(told) or "the folder has no policy of this kind; see --kind") from None
        return explain(chosen, facts, what_if, policies)
    [only] = policies
    if kind not in (None, only.policy.kind):
        raise Refused(f"{path} is a {only.policy.kind} policy, not one of the kind {kind}", code=MISUSED)
    return explain(only, read_facts(given, only.policy.vocabulary, only.policy.baseline), what_if)


def _compiled(path: Path) -> list[CompiledPolicy]:
    """Return the policies of a file, or of all files of a folder; raises `PolicyInvalid` with every problem."""
    if path.is_file():
        return [compile_policy(parse_policy(_text(path), source=str(path)))]
    files, problems = read_folder(path)
    policies: list[CompiledPolicy] = []
    for file in files:
        try:
            if not is_names(file.text):
                policies.append(compile_policy(parse_policy(file.text, source=file.name)))
        except PolicyInvalid as refusal:
            problems.extend(refusal.problems)
    if problems:
        raise PolicyInvalid(problems)
    return policies


def _text(path: Path) -> str:
    with path.open("rb") as file:
        raw = file.read(MAX_BYTES + 1)
    if len(raw) > MAX_BYTES:
        raise Refused(f"{path} is larger than {MAX_BYTES // 1024} KiB")
    try:
        return raw.decode()
    except UnicodeDecodeError:
        raise Refused(f"{path} is not UTF-8") from None


def _of_live(merchant: str, kind: PolicyKind | None, given: Sequence[str], what_if: WhatIf) -> Explained:
    wanted = kind or PolicyKind.RETRY
    values = given_values(given, VOCABULARIES[wanted])

    async def ask(context: Context) -> Explained:
        return await explain_live(context, merchant, wanted, values, what_if)

    try:
        return with_policies(ask)
    except FactsInvalid as refusal:
        raise Refused(str(refusal), code=MISUSED) from None


def _of_case(merchant: str, wanted: str, decision: UUID | None, again: bool) -> CaseTold:
    async def ask(context: Context) -> CaseTold | None:
        case_id = await find_case(context.database, merchant, wanted)
        if case_id is None:
            return None
        if again:
            return await decide_again(context, merchant, case_id)
        return await explain_case(context, merchant, case_id, decision)

    told = with_policies(ask)
    if told is None:
        raise Refused(f"the merchant {merchant} has no case or payment {wanted}")
    return told


def _show(told: Explained | CaseTold, words: Sequence[str], as_json: bool) -> None:
    if as_json:
        click.echo(msgspec.json.format(msgspec.json.encode(told)).decode())
        return
    for line in words:
        click.echo(line)


def _moment(option: str, text: str) -> datetime:
    try:
        given = datetime.fromisoformat(text)
    except ValueError:
        raise Refused(f"{option}: {text!r} is no time", "write it like 2026-12-30T09:00Z", code=MISUSED) from None
    if not FIRST_YEAR <= given.year <= LAST_YEAR:
        raise Refused(f"{option} must lie between the years {FIRST_YEAR} and {LAST_YEAR}", code=MISUSED)
    return given.replace(tzinfo=UTC) if given.tzinfo is None else given.astimezone(UTC)
