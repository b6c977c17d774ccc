"""Shares of money sum to the whole, never exceed a line, and the last one takes the remainder."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.money import Money, exponent
from recoup_core.domain.shares import (
    Left,
    Pot,
    Share,
    fill,
    largest_remainder,
    of_amount,
    of_pieces,
    of_tax,
    over_lines,
)

WEIGHTS = st.lists(st.integers(0, 10**9), max_size=20)


@st.composite
def lines(draw: st.DrawFn) -> Left:
    """A line as it was charged: with as much tax as it likes, up to all of it."""
    amount = draw(st.integers(0, 10**7))
    return Left(quantity=draw(st.integers(1, 60)), amount_minor=amount, tax_minor=draw(st.integers(0, amount)))


def after(left: Left, share: Share) -> Left:
    """What is left of a line once a share was taken."""
    return Left(
        quantity=left.quantity - share.quantity,
        amount_minor=left.amount_minor - share.amount_minor,
        tax_minor=left.tax_minor - share.tax_minor,
    )


def assert_sound(left: Left) -> None:
    assert left.quantity >= 0
    assert 0 <= left.tax_minor <= left.amount_minor


@given(WEIGHTS, st.integers(0, 10**12))
def test_shares_sum_to_the_whole(weights: list[int], total: int) -> None:
    """Whatever is split, nothing is lost to rounding and nothing is made by it."""
    if total and not sum(weights):
        weights = [*weights, 1]

    shares = largest_remainder(total, weights)

    assert sum(shares) == total
    assert all(share >= 0 for share in shares)


@given(WEIGHTS.filter(lambda weights: sum(weights) > 0), st.data())
def test_no_share_is_above_its_weight_while_the_whole_is_not(weights: list[int], data: st.DataObject) -> None:
    """A line never gives more than it has, so that the spread of an amount needs no second look."""
    total = data.draw(st.integers(0, sum(weights)))

    shares = largest_remainder(total, weights)

    assert all(share <= weight for share, weight in zip(shares, weights, strict=True))


@given(WEIGHTS.filter(lambda weights: sum(weights) > 0), st.data())
def test_no_share_is_a_minor_unit_off_its_exact_part(weights: list[int], data: st.DataObject) -> None:
    """Rounding is fair: at most one unit beside the exact proportion."""
    total = data.draw(st.integers(0, 10**9))

    shares = largest_remainder(total, weights)

    whole = sum(weights)
    assert all(abs(share * whole - total * weight) < whole for share, weight in zip(shares, weights, strict=True))


def test_what_rounding_leaves_goes_to_the_largest_fraction_and_then_to_the_earlier_one() -> None:
    """100 over 1:1:1 gives its last unit to the first; over 1:1:2 the halves come before what is exact."""
    assert largest_remainder(100, [1, 1, 1]) == (34, 33, 33)
    assert largest_remainder(101, [1, 1, 2]) == (25, 25, 51)
    assert largest_remainder(0, []) == ()


@pytest.mark.parametrize(("total", "weights"), [(-1, [1]), (1, [1, -1, 1]), (1, []), (1, [0, 0])])
def test_what_cant_be_split_is_refused(total: int, weights: list[int]) -> None:
    """A negative number, or something over nothing, is a mistake of the caller and never a share."""
    with pytest.raises(ValueError, match="can't be split"):
        largest_remainder(total, weights)


@given(lines(), st.data())
def test_any_sequence_of_partials_ends_in_exactly_the_whole(line: Left, data: st.DataObject) -> None:
    """Pieces, money and tax in any order; whatever is left at the end is one last share, and then nothing is left."""
    left = line
    for _ in range(data.draw(st.integers(0, 12))):
        kind = data.draw(st.sampled_from(["pieces", "money", "tax"]))
        if kind == "pieces" and left.quantity:
            share = of_pieces(left, data.draw(st.integers(1, left.quantity)))
        elif kind == "tax":
            share = of_tax(left, data.draw(st.integers(0, left.tax_minor)))
        else:
            share = of_amount(left, data.draw(st.integers(0, left.amount_minor)))
        left = after(left, share)
        assert_sound(left)

    rest = of_pieces(left, left.quantity) if left.quantity else of_amount(left, left.amount_minor)

    assert after(left, rest) == Left(quantity=0, amount_minor=0, tax_minor=0)


@given(lines(), st.permutations(range(4)))
def test_the_order_of_partials_changes_no_total(line: Left, order: list[int]) -> None:
    """Whoever comes first, money and tax that went back in all are the same."""
    amounts = largest_remainder(line.amount_minor, [1, 2, 3, 4])
    left = line

    for place in order:
        left = after(left, of_amount(left, amounts[place]))

    assert (left.amount_minor, left.tax_minor) == (0, 0)


@given(st.lists(lines(), min_size=1, max_size=8), st.data())
def test_partials_over_lines_sum_to_each_amount_and_in_the_end_to_every_line(
    charged: list[Left], data: st.DataObject
) -> None:
    """Each refund's lines sum to its amount, no line is exceeded, and the last refund takes the remainder of each."""
    left = charged
    while total := sum(line.amount_minor for line in left):
        amount = data.draw(st.integers(min(total, 1 + total // 3), total))

        shares = over_lines(amount, left)

        assert sum(share.amount_minor for share in shares) == amount
        left = [after(line, share) for line, share in zip(left, shares, strict=True)]
        for line in left:
            assert_sound(line)
    assert all(line.tax_minor == 0 for line in left)


@pytest.mark.parametrize(
    ("currency", "amount", "pieces"), [("JPY", 1000, 3), ("KWD", 1000, 3), ("EUR", 1000, 3), ("JPY", 1, 7)]
)
def test_currencies_of_any_number_of_decimals_share_whole_minor_units(currency: str, amount: int, pieces: int) -> None:
    """Trap 13: yen have no decimals and dinars three; shares are minor units and sum to the whole all the same."""
    left, taken = Left(quantity=pieces, amount_minor=amount, tax_minor=amount // 6), []

    for _ in range(pieces):
        share = of_pieces(left, 1)
        taken.append(share.amount_minor)
        left = after(left, share)

    assert Money(sum(taken), currency) == Money(amount, currency)
    assert max(taken) - min(taken) <= 1
    assert exponent(currency) in (0, 2, 3)


def test_the_last_piece_takes_the_remainder() -> None:
    """10.00 in three pieces is 3.33, 3.33 and 3.34."""
    left = Left(quantity=3, amount_minor=1000, tax_minor=160)

    first = of_pieces(left, 1)
    second = of_pieces(after(left, first), 1)
    third = of_pieces(after(after(left, first), second), 1)

    assert [share.amount_minor for share in (first, second, third)] == [333, 333, 334]
    assert sum(share.tax_minor for share in (first, second, third)) == 160


POTS = st.lists(st.builds(Pot, free_minor=st.integers(-5, 1000), whole=st.booleans()), max_size=10)


@given(POTS, st.integers(0, 5000))
def test_no_pot_gives_more_than_it_has_free_nor_all_of_them_more_than_is_asked(pots: list[Pot], amount: int) -> None:
    """Promise 4: whatever is asked for, each capture gives at most what is free of it."""
    taken = fill(amount, pots)

    assert sum(taken) <= amount
    assert all(0 <= take <= max(0, pot.free_minor) for take, pot in zip(taken, pots, strict=True))
    assert all(take in (0, pot.free_minor) for take, pot in zip(taken, pots, strict=True) if pot.whole)


@given(st.lists(st.builds(Pot, free_minor=st.integers(-5, 1000)), max_size=10), st.data())
def test_pots_are_emptied_in_their_order_until_all_is_taken(pots: list[Pot], data: st.DataObject) -> None:
    """A capture gives what it has free before the next is asked; what fits in all always goes."""
    amount = data.draw(st.integers(0, sum(max(0, pot.free_minor) for pot in pots)))

    taken = fill(amount, pots)

    assert sum(taken) == amount
    touched = [place for place, take in enumerate(taken) if take]
    assert all(taken[place] == max(0, pots[place].free_minor) for place in range(touched[-1] if touched else 0))


@pytest.mark.parametrize(
    "take",
    [
        lambda left: of_pieces(left, 3),
        lambda left: of_pieces(left, 0),
        lambda left: of_amount(left, 101),
        lambda left: of_amount(left, -1),
        lambda left: of_tax(left, 17),
        lambda left: over_lines(101, [left]),
    ],
)
def test_more_than_there_is_is_never_shared(take: object) -> None:
    """The callers ask under lock what is left; what slips through is refused, not rounded."""
    left = Left(quantity=2, amount_minor=100, tax_minor=16)

    assert callable(take)
    with pytest.raises(ValueError):  # noqa: PT011  # each says its own figures
        take(left)
