"""Which lines of a payment a refund is about: as asked, or its amount shared over what is left of them."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from uuid import UUID

from recoup_core.domain.capture import PaymentLine
from recoup_core.domain.money import Money
from recoup_core.domain.refund import RefundLine
from recoup_core.domain.shares import Left, Share, of_amount, of_pieces, of_tax, over_lines
from recoup_core.flows.refunds.ask import AskedLine
from recoup_core.flows.refunds.refusals import LineExceedsRefundable, RefundInvalid, RefundLinesDiffer

OwnLines = Mapping[UUID, RefundLine]
"""By line of the payment, what the refund that is changed holds of it."""

LineShares = tuple[tuple[UUID, Share], ...]
"""Per line of the payment, what a refund takes of it."""


def line_shares(lines: Sequence[PaymentLine], amount: Money, asked: Sequence[AskedLine], own: OwnLines) -> LineShares:
    """Return what each line gives to an amount; lines that give nothing are left out.

    Without a word about lines the amount is shared over what is left of them. A refund that ended half way may hold
    lines of money that never left; what an amount is above what the lines have left is then for no line.
    Raises `LineExceedsRefundable`, `RefundLinesDiffer`, `RefundInvalid`.
    """
    if not lines:
        if asked:
            raise RefundInvalid("lines", "the payment was reported without lines")
        return ()
    left = {line.id: _left(line, own.get(line.id)) for line in lines}
    if not asked:
        most = min(amount.amount_minor, sum(each.amount_minor for each in left.values()))
        shares = over_lines(most, list(left.values()))
        return tuple((line_id, share) for line_id, share in zip(left, shares, strict=True) if share.amount_minor)
    found = tuple(_asked(lines, left, asked, amount.currency))
    total = Money(sum(share.amount_minor for _, share in found), amount.currency)
    if total != amount:
        raise RefundLinesDiffer(amount, total)
    return found


def require_room(lines: Sequence[PaymentLine], wanted: Iterable[RefundLine], own: OwnLines) -> None:
    """Raise `LineExceedsRefundable` where others have asked for lines that a refund had let go of."""
    known = {line.id: line for line in lines}
    for each in wanted:
        line = known.get(each.payment_line_id)
        if line is None:
            continue  # another payment's
        left = _left(line, own.get(line.id))
        if left.quantity < each.quantity or left.amount_minor < each.amount_minor or left.tax_minor < each.tax_minor:
            raise LineExceedsRefundable("lines", f"less is left of {line.ref!r} than the refund is about")


def _asked(
    lines: Sequence[PaymentLine], left: Mapping[UUID, Left], asked: Sequence[AskedLine], currency: str
) -> Iterator[tuple[UUID, Share]]:
    by_ref = {line.ref: line.id for line in lines}
    for index, each in enumerate(asked):
        line_id = by_ref.get(each.line)
        if line_id is None:
            raise RefundInvalid(f"lines[{index}].line", f"the payment has no line {each.line!r}")
        yield line_id, _share(left[line_id], each, f"lines[{index}]", currency)


def _share(left: Left, asked: AskedLine, field: str, currency: str) -> Share:
    most = left.tax_minor if asked.tax_only else left.amount_minor
    if asked.quantity is not None and asked.quantity > left.quantity:
        raise LineExceedsRefundable(f"{field}.quantity", f"{left.quantity} of {asked.line!r} are left")
    if asked.amount_minor is not None and asked.amount_minor > most:
        what = "of its tax " if asked.tax_only else ""
        raise LineExceedsRefundable(f"{field}.amount_minor", f"{Money(most, currency)} {what}is left of {asked.line!r}")
    if asked.tax_only and not most:
        raise LineExceedsRefundable(f"{field}.tax_only", f"no tax is left of {asked.line!r}")
    if asked.tax_only:
        return of_tax(left, most if asked.amount_minor is None else asked.amount_minor)
    if asked.amount_minor is not None:
        return of_amount(left, asked.amount_minor, asked.quantity or 0)
    if asked.quantity is not None:
        return of_pieces(left, asked.quantity)
    return of_amount(left, left.amount_minor, left.quantity)


def _left(line: PaymentLine, own: RefundLine | None) -> Left:
    return Left(
        quantity=line.quantity - line.held_quantity + (own.quantity if own else 0),
        amount_minor=line.amount_minor - line.held_minor + (own.amount_minor if own else 0),
        tax_minor=line.tax_minor - line.held_tax_minor + (own.tax_minor if own else 0),
    )
