"""What a refund would come to, in words."""

from collections.abc import Iterator, Mapping
from uuid import UUID

from recoup_core.domain.money import Money
from recoup_core.domain.refund import RefundLine, RefundPart
from recoup_core.flows.context import Context
from recoup_core.flows.refunds.preview import RefundPreview
from recoup_core.rules.deciding.words import explanation_lines, outcome_words
from recoup_core.storage.refund_lists import read_account


async def line_names(context: Context, merchant: str, preview: RefundPreview) -> dict[UUID, str]:
    """Return what the merchant calls the lines of the payments that it would go over."""
    names: dict[UUID, str] = {}
    for payment_id in {part.payment_id for part in preview.parts}:
        account = await read_account(context.database, merchant, payment_id)
        names |= {line.id: line.ref for line in account.lines} if account is not None else {}
    return names


def preview_lines(preview: RefundPreview, currency: str, names: Mapping[UUID, str], *, full: bool) -> Iterator[str]:
    """Yield what would be decided and why, and over what it would go; `full` has the rules that did not fire, too."""
    yield f"would be decided: {outcome_words(preview.outcome)}"
    yield from (f"    {line}" for line in explanation_lines(preview.explanation, full=full))
    yield f"refundable now: {Money(preview.refundable_minor, currency)}"
    for part in preview.parts:
        yield f"part {part.number}   {part.amount}, {way_words(part)}"
    for line in preview.lines:
        yield f"line     {names.get(line.payment_line_id, '?')}: {line_words(line, currency)}"


def way_words(part: RefundPart) -> str:
    """Return how the money of a part goes back."""
    if part.gateway is None:
        return "as store credit"
    return f"{'void' if part.void else 'refund'} through {part.gateway}"


def line_words(line: RefundLine, currency: str) -> str:
    """Return what of a line goes back."""
    pieces = f"{line.quantity} x, " if line.quantity else ""
    tax = f" with {Money(line.tax_minor, currency)} tax" if line.tax_minor else ""
    return f"{pieces}{Money(line.amount_minor, currency)}{tax}"
