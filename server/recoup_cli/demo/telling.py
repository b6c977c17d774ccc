"""Says what the demo came to, in words and tables."""

from rich.console import Console
from rich.table import Table

from recoup_cli.demo.outcome import Outcome
from recoup_cli.demo.population import reference
from recoup_cli.single import API_PREFIX
from recoup_core.domain.money import Money
from recoup_core.storage.audit import Verified


def tell_outcome(console: Console, outcome: Outcome, verified: Verified) -> None:
    """Print what was recovered, and whether the bank and the audit trail agree."""
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
    _tell_checks(console, outcome, verified)


def tell_where(console: Console, url: str, key: str, example: str | None) -> None:
    """Print where to look while the demo is up."""
    commands = {
        "why it did what": f"recoup case show {example or reference(1)}",
        "the API": f"{url}/schema/openapi.json",
        "a first call": f"curl -H 'Authorization: Bearer {key}' {url}{API_PREFIX}/recovery-cases",
        "the audit trail": "recoup audit verify",
    }
    console.print(f"\n[bold]Recoup is up[/] at {url}{API_PREFIX}   (Ctrl-C stops it)", soft_wrap=True, highlight=False)
    for what, command in commands.items():
        console.print(f"  {what:<18}{command}", soft_wrap=True, highlight=False)


def _tell_checks(console: Console, outcome: Outcome, verified: Verified) -> None:
    if outcome.differences:
        console.print("[bold red]The bank's books and ours disagree:[/]")
        for text in outcome.differences:
            console.print(f"  {text}")
    else:
        waiting = f" ({outcome.in_flight} answers still to come)" if outcome.in_flight else ""
        console.print(
            f"[green]✓[/] The bank's own books agree with ours to the minor unit; nothing was charged twice{waiting}.",
            soft_wrap=True,
        )
    if verified.fault is None:
        console.print(f"[green]✓[/] The audit trail is whole: {verified.events} events in {verified.seals} seals.")
    else:
        console.print(f"[bold red]The audit trail is broken:[/] {verified.fault.message}")


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
