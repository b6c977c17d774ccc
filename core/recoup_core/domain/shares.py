"""Shares of money in whole minor units: parts always sum to the whole, and the last one takes the remainder.

Pure. Every share is worked out from what is left, so that any sequence of partial refunds ends in exactly the whole,
whatever was released in between, in currencies of any number of decimals.
"""

from collections.abc import Sequence

import msgspec


class Left(msgspec.Struct, frozen=True, kw_only=True):
    """What is left of one line: pieces, money with tax, and the tax within it (never more than the money)."""

    quantity: int
    amount_minor: int
    tax_minor: int


class Share(msgspec.Struct, frozen=True, kw_only=True):
    """What is taken of one line."""

    quantity: int
    """0 where only money is taken."""
    amount_minor: int
    tax_minor: int


class Pot(msgspec.Struct, frozen=True, kw_only=True):
    """What can be taken from one place."""

    free_minor: int
    whole: bool = False
    """It gives all or nothing: a charge that is only authorized is voided whole."""


def largest_remainder(total: int, weights: Sequence[int]) -> tuple[int, ...]:
    """Split `total` in proportion to the weights; what rounding leaves goes to the largest fractions, earlier first.

    Where `total` is at most the sum of the weights, no share is above its weight. Raises `ValueError` for a negative
    number, and where something is to be split over nothing.
    """
    whole = sum(weights)
    if total < 0 or any(weight < 0 for weight in weights) or (total and not whole):
        raise ValueError(f"{total} can't be split over weights that sum to {whole}")
    if not whole:
        return tuple(0 for _ in weights)
    shares = [total * weight // whole for weight in weights]
    fractions = sorted(range(len(weights)), key=lambda place: (-(total * weights[place] % whole), place))
    for place in fractions[: total - sum(shares)]:
        shares[place] += 1
    return tuple(shares)


def of_pieces(left: Left, quantity: int) -> Share:
    """Return the share of so many pieces; the last piece takes all that is left."""
    if not 1 <= quantity <= left.quantity:
        raise ValueError(f"{quantity} of {left.quantity} pieces")
    return of_amount(left, left.amount_minor * quantity // left.quantity, quantity)


def of_amount(left: Left, amount_minor: int, quantity: int = 0) -> Share:
    """Return a share of money with the tax within it.

    The tax is rounded down: so neither tax nor what is beside it is ever more than there is, and the last share takes
    the remainder.
    """
    if not 0 <= amount_minor <= left.amount_minor:
        raise ValueError(f"{amount_minor} of {left.amount_minor}")
    tax = left.tax_minor * amount_minor // left.amount_minor if left.amount_minor else 0
    return Share(quantity=quantity, amount_minor=amount_minor, tax_minor=tax)


def of_tax(left: Left, amount_minor: int) -> Share:
    """Return a share that is tax and nothing else."""
    if not 0 <= amount_minor <= left.tax_minor:
        raise ValueError(f"{amount_minor} of {left.tax_minor} of tax")
    return Share(quantity=0, amount_minor=amount_minor, tax_minor=amount_minor)


def over_lines(amount_minor: int, lines: Sequence[Left]) -> tuple[Share, ...]:
    """Spread money over what is left of lines, in proportion; never above what one has left."""
    if amount_minor > sum(line.amount_minor for line in lines):
        raise ValueError(f"{amount_minor} is more than the lines have left")
    amounts = largest_remainder(amount_minor, [line.amount_minor for line in lines])
    return tuple(of_amount(line, amount) for line, amount in zip(lines, amounts, strict=True))


def fill(amount_minor: int, pots: Sequence[Pot]) -> tuple[int, ...]:
    """Take money from pots in their order, each as far as it goes; where all hold less, the shares sum to less."""
    taken = []
    for pot in pots:
        free = max(0, pot.free_minor)
        take = min(amount_minor, free) if not pot.whole or free <= amount_minor else 0
        taken.append(take)
        amount_minor -= take
    return tuple(taken)
