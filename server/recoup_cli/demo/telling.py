"""Says what the demo came to, in words and tables."""

import shlex
from collections.abc import Mapping
from pathlib import Path

from rich.console import Console
from rich.table import Table

from recoup_cli.demo.outcome import Outcome
from recoup_cli.demo.population import reference
from recoup_cli.demo.refund_outcome import RefundOutcome
from recoup_cli.single import API_PREFIX
from recoup_core.domain.money import Money
from recoup_core.storage.audit import Verified
from recoup_core.storage.ledger_checks import LedgerVerified


def tell_outcome(console: Console, outcome: Outcome) -> None:
    """Print what was recovered."""
    console.print()
    console.print(_by_cause(outcome))
    console.print(_by_currency(outcome))
    per_recovery = f"{outcome.attempts_on_recovered / outcome.recovered:.1f}" if outcome.recovered else "-"
    console.print(
        f"[bold]{outcome.recovered} of {outcome.payments}[/] payments recovered, {outcome.still_open} still under way;"
        f" {outcome.attempts} attempts, {per_recovery} for each recovery.",
        soft_wrap=True,
    )
    console.print(
        f"{outcome.hard_untouched} of {outcome.hard} payments with a final decline (stolen card, account closed, ...)"
        " were never tried on the same account again.",
        soft_wrap=True,
    )


def tell_refunds(console: Console, refunds: RefundOutcome) -> None:
    """Print what was asked back, how it was decided, and what went back."""
    if not refunds.asked:
        return
    console.print()
    console.print(_by_way(refunds))
    console.print(_refunded(refunds))
    share = f"{100 * refunds.by_policy // refunds.approved} %" if refunds.approved else "none"
    console.print(
        f"[bold]{refunds.asked}[/] refunds asked for, {refunds.approved} approved, {share} of them by the policy alone;"
        " nobody decided what they had touched.",
        soft_wrap=True,
    )
    disputes = ", ".join(f"{count} {state}" for state, count in sorted(refunds.disputes.items())) or "none"
    console.print(
        f"Voided instead: {refunds.voided}; taken back by the bank: {refunds.taken_back}; made elsewhere:"
        f" {refunds.elsewhere}; disputes: {disputes}.",
        soft_wrap=True,
    )


def tell_checks(
    console: Console, outcome: Outcome, refunds: RefundOutcome, verified: Verified, ledger: LedgerVerified
) -> None:
    """Print whether the bank, the ledger and the audit trail agree."""
    console.print()
    _tell_books(console, outcome, refunds)
    if ledger.fault is None:
        entries = ledger.rows.get("ledger_entry", 0)
        console.print(f"[green]✓[/] The ledger balances and agrees with every row: {entries} entries.")
    else:
        console.print(f"[bold red]The ledger is wrong:[/] {ledger.fault.message}")
    if verified.fault is None:
        console.print(f"[green]✓[/] The audit trail is whole: {verified.events} events in {verified.seals} seals.")
    else:
        console.print(f"[bold red]The audit trail is broken:[/] {verified.fault.message}")


def tell_where(
    console: Console,
    url: str,
    key: str,
    approver_key: Path,
    example: str | None,
    refund: str | None,
    folder: Path | None,
    messages: Mapping[str, str],
) -> None:
    """Print where to look while the demo is up; `folder` is where its data are, unless commands find them there."""
    first = {} if folder is None else {"first": f"export RECOUP_DATA_DIR={shlex.quote(str(folder))}"}
    commands = first | {
        "why it did what": f"recoup case show {example or reference(1)}",
        "a refund's story": f"recoup refund show {refund}" if refund else "recoup refund list",
        "what waits for you": f"recoup approvals list --key-file {approver_key}",
        **messages,
        "the books": "recoup ledger trial-balance",
        "the API": f"{url}/schema/openapi.json",
        "a first call": f"curl -H 'Authorization: Bearer {key}' {url}{API_PREFIX}/recovery-cases",
        "the audit trail": "recoup audit verify",
    }
    console.print(f"\n[bold]Recoup is up[/] at {url}{API_PREFIX}   (Ctrl-C stops it)", soft_wrap=True, highlight=False)
    for what, command in commands.items():
        console.print(f"  {what:<20}{command}", soft_wrap=True, highlight=False)


def _tell_books(console: Console, outcome: Outcome, refunds: RefundOutcome) -> None:
    if differences := [*outcome.differences, *refunds.differences]:
        console.print("[bold red]The bank's books and ours disagree:[/]")
        for text in differences:
            console.print(f"  {text}")
        return
    in_flight = outcome.in_flight + refunds.in_flight
    waiting = f" ({in_flight} answers still to come)" if in_flight else ""
    console.print(
        "[green]✓[/] The bank's own books agree with ours to the minor unit; nothing was charged twice, and nothing"
        f" refunded twice{waiting}.",
        soft_wrap=True,
    )


def _by_way(refunds: RefundOutcome) -> Table:
    table = Table(title="Refunds, by how they were decided", title_justify="left")
    table.add_column("decided")
    for heading in ("refunds", "paid", "under way", "failed"):
        table.add_column(heading, justify="right")
    for way in refunds.ways:
        table.add_row(way.name, str(way.refunds), str(way.paid), str(way.under_way), str(way.failed))
    return table


def _refunded(refunds: RefundOutcome) -> Table:
    table = Table(title="Money back", title_justify="left")
    for heading in ("collected", "refunded", "share"):
        table.add_column(heading, justify="right")
    for currency, captured in refunds.captured_minor.items():
        back = refunds.refunded_minor.get(currency, 0)
        table.add_row(str(Money(captured, currency)), str(Money(back, currency)), f"{100 * back // captured} %")
    return table


def _by_cause(outcome: Outcome) -> Table:
    table = Table(title="By why they failed first", title_justify="left")
    table.add_column("first decline")
    for heading in ("payments", "recovered", "share", "under way", "attempts"):
        table.add_column(heading, justify="right")
    for each in outcome.tallies:
        table.add_row(
            str(each.category).replace("_", " "),
            str(each.payments),
            str(each.recovered),
            f"{100 * each.recovered // each.payments} %",
            str(each.still_open),
            str(each.attempts),
        )
    return table


def _by_currency(outcome: Outcome) -> Table:
    table = Table(title="In money", title_justify="left")
    for heading in ("failed", "recovered", "share"):
        table.add_column(heading, justify="right")
    for currency, owed in outcome.owed_minor.items():
        collected = outcome.collected_minor.get(currency, 0)
        table.add_row(str(Money(owed, currency)), str(Money(collected, currency)), f"{100 * collected // owed} %")
    return table
