"""Refunds by line: pieces, money, tax, shipping; shares are stored, sum to the whole, and the last takes the rest."""

from typing import Any

import msgspec
import pytest

from recoup_core.domain.refund import Destination
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.flows.refunds.ask import AskedLine
from recoup_core.flows.refunds.refusals import LineExceedsRefundable, RefundInvalid, RefundLinesDiffer
from recoup_core.flows.refunds.requests import cancel_refund, request_refund, retry_refund


def by_ref(account: PaymentAccount, file: RefundFile) -> dict[str, tuple[int, int, int]]:
    """Per line's name the pieces, the money and the tax that a refund takes."""
    names = {line.id: line.ref for line in account.lines}
    return {names[line.payment_line_id]: (line.quantity, line.amount_minor, line.tax_minor) for line in file.lines}


async def test_an_amount_alone_is_shared_over_the_lines_in_proportion(till: Any) -> None:
    """Half of the payment is half of each line and of its tax; money comes back, no pieces."""
    account = await till.with_lines()

    file = await till.request(account, 3815)

    assert by_ref(account, file) == {"shirt": (0, 2975, 475), "socks": (0, 595, 95), "shipping": (0, 245, 39)}
    assert file.parts[0].tax_minor == 609


async def test_a_piece_costs_its_share_and_the_last_one_what_is_left(till: Any) -> None:
    """59.50 for three shirts: 19.83, 19.83 and 19.84, with 9.50 of tax in all."""
    account = await till.with_lines()
    one = (AskedLine(line="shirt", quantity=1),)

    files = [await till.request(account, amount, lines=one) for amount in (1983, 1983, 1984)]

    assert [by_ref(account, file)["shirt"] for file in files] == [(1, 1983, 316), (1, 1983, 316), (1, 1984, 318)]
    with pytest.raises(LineExceedsRefundable, match=r"lines\[0\].quantity: 0 of 'shirt' are left"):
        await till.request(account, 1, lines=one)


async def test_a_line_of_which_nothing_is_said_comes_back_whole(till: Any) -> None:
    """Shipping alone, with its tax."""
    account = await till.with_lines()

    file = await till.request(account, 490, lines=(AskedLine(line="shipping"),))

    assert by_ref(account, file) == {"shipping": (1, 490, 78)}
    assert file.parts[0].tax_minor == 78


async def test_pieces_may_come_back_for_less_than_they_cost(till: Any) -> None:
    """A worn shirt: the piece is counted, the money is what was agreed on, its tax in proportion."""
    account = await till.with_lines()

    file = await till.request(account, 1000, lines=(AskedLine(line="shirt", quantity=1, amount_minor=1000),))

    assert by_ref(account, file) == {"shirt": (1, 1000, 159)}


async def test_tax_alone_comes_back_without_pieces(till: Any) -> None:
    """An export: the whole tax of a line, or a part of it, and it is tax to the last minor unit."""
    account = await till.with_lines()

    part = await till.request(account, 150, lines=(AskedLine(line="shirt", amount_minor=150, tax_only=True),))
    rest = await till.request(account, 800, lines=(AskedLine(line="shirt", tax_only=True),))

    assert by_ref(account, part) == {"shirt": (0, 150, 150)}
    assert by_ref(account, rest) == {"shirt": (0, 800, 800)}
    assert rest.parts[0].tax_minor == 800
    with pytest.raises(LineExceedsRefundable, match="no tax is left"):
        await till.request(account, 1, lines=(AskedLine(line="shirt", tax_only=True),))


async def test_any_refunds_together_end_in_exactly_the_lines(till: Any) -> None:
    """By line, by amount, by tax; what is left at the end goes back at once and leaves every line at nothing."""
    account = await till.with_lines()
    await till.request(account, 1983, lines=(AskedLine(line="shirt", quantity=1),))
    await till.request(account, 333)
    await till.request(account, 50, lines=(AskedLine(line="socks", amount_minor=50, tax_only=True),))

    await till.request(account, 7630 - 1983 - 333 - 50)

    after = await till.account(account)
    assert [(line.held_minor, line.held_tax_minor) for line in after.lines] == [(5950, 950), (1190, 190), (490, 78)]
    assert after.free_minor == 0


async def test_what_a_canceled_refund_held_of_its_lines_can_be_asked_again(till: Any) -> None:
    """Lines are let go of with the money."""
    account = await till.with_lines()
    whole = (AskedLine(line="shirt"),)
    file = await till.request(account, 5950, lines=whole)

    await cancel_refund(till.context, file.refund.id, till.by(), "changed their mind")
    again = await till.request(account, 5950, lines=whole)

    assert by_ref(account, again) == {"shirt": (3, 5950, 950)}


async def test_lines_and_amount_must_agree(till: Any) -> None:
    """Both are said, so that neither is guessed."""
    account = await till.with_lines()

    with pytest.raises(RefundLinesDiffer) as refusal:
        await till.request(account, 2000, lines=(AskedLine(line="shirt", quantity=1),))

    assert refusal.value.lines.amount_minor == 1983


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (AskedLine(line="hat"), "lines[0].line"),
        (AskedLine(line="shirt", quantity=0), "lines[0].quantity"),
        (AskedLine(line="shirt", amount_minor=0), "lines[0].amount_minor"),
        (AskedLine(line="shirt", quantity=1, tax_only=True), "lines[0].quantity"),
    ],
)
async def test_a_line_that_makes_no_sense_is_refused_by_its_field(till: Any, line: AskedLine, field: str) -> None:
    """Whoever asks can find what to mend."""
    account = await till.with_lines()

    with pytest.raises(RefundInvalid) as refusal:
        await till.request(account, 100, lines=(line,))

    assert refusal.value.field == field


@pytest.mark.parametrize(
    ("line", "field"),
    [
        (AskedLine(line="shirt", quantity=4), "lines[0].quantity"),
        (AskedLine(line="shirt", amount_minor=5951), "lines[0].amount_minor"),
        (AskedLine(line="shirt", amount_minor=951, tax_only=True), "lines[0].amount_minor"),
    ],
)
async def test_more_than_a_line_has_left_is_refused(till: Any, line: AskedLine, field: str) -> None:
    """What one line lacks is not taken from another."""
    account = await till.with_lines()

    with pytest.raises(LineExceedsRefundable) as refusal:
        await till.request(account, line.amount_minor or 5950, lines=(line,))

    assert refusal.value.field == field


async def test_lines_are_of_payments_that_have_some_and_of_one_payment(till: Any) -> None:
    """A line's name means nothing without its payment; the same line twice means two things."""
    plain, account = await till.captured(4900), await till.with_lines()
    await till.order(1000, 1000)
    shirt = AskedLine(line="shirt", quantity=1)

    with pytest.raises(RefundInvalid, match="without lines"):
        await till.request(plain, 100, lines=(shirt,))
    with pytest.raises(RefundInvalid, match="given twice"):
        await till.request(account, 3966, lines=(shirt, shirt))
    with pytest.raises(RefundInvalid, match="name the payment"):
        await till.request(None, 100, order_ref="order-a", lines=(shirt,))


async def test_each_payment_of_an_order_shares_its_part_over_its_own_lines(till: Any) -> None:
    """The lines of each payment sum to what goes back over it, and so does the tax of each part."""
    first, second = await till.order(7630, 7630, lines=till.lines)

    file = await till.request(None, 7630 + 3815, order_ref="order-a")

    lines = {line.id: account for account in (first, second) for line in account.lines}
    for part in file.parts:
        of_payment = [line for line in file.lines if lines[line.payment_line_id].payment.id == part.payment_id]
        assert sum(line.amount_minor for line in of_payment) == part.amount_minor
        assert sum(line.tax_minor for line in of_payment) == part.tax_minor
    assert [part.tax_minor for part in file.parts] == [1218, 609]


async def test_goodwill_beside_a_payment_takes_nothing_of_its_lines(till: Any) -> None:
    """No goods stand behind it, so no tax does either; over the capture it holds lines like any refund."""
    account = await till.with_lines()

    file = await request_refund(till.context, till.goodwill(account, 500), till.by())
    over = till.goodwill(account, 500, destination=Destination.ORIGINAL_METHOD)

    assert (file.lines, file.parts[0].tax_minor) == ((), 0)
    assert sum(line.amount_minor for line in (await request_refund(till.context, over, till.by())).lines) == 500


@pytest.mark.parametrize("currency", ["JPY", "KWD", "EUR"])
async def test_shares_are_whole_minor_units_in_any_currency(till: Any, currency: str) -> None:
    """Trap 13: a yen is not cut in two, a fils is not rounded away."""
    account = await till.with_lines(currency=currency)

    files = [await till.request(account, amount) for amount in (1, 2543, 7630 - 2544)]

    for file in files:
        assert sum(line.amount_minor for line in file.lines) == file.refund.amount_minor
    after = await till.account(account)
    assert all(line.held_minor == line.amount_minor for line in after.lines)
    assert all(line.held_tax_minor == line.tax_minor for line in after.lines)


async def test_what_failed_lets_its_lines_go_and_takes_them_again_when_it_is_retried(till: Any) -> None:
    """Failure releases, pieces too; a retry finds that others have asked for them meanwhile."""
    account = await till.with_lines()
    two = (AskedLine(line="shirt", quantity=2),)
    file = await till.refused(await till.request(account, 3966, lines=two))
    assert [line.held_quantity for line in (await till.account(account)).lines] == [0, 0, 0]

    again = await retry_refund(till.context, file.refund.id, till.by())
    assert [line.held_quantity for line in (await till.account(account)).lines] == [2, 0, 0]
    await till.refused(again)
    await till.request(account, 1000, lines=(AskedLine(line="shirt", quantity=2, amount_minor=1000),))

    with pytest.raises(LineExceedsRefundable, match="less is left of 'shirt'"):
        await retry_refund(till.context, file.refund.id, till.by())


async def test_another_way_of_paying_keeps_the_lines_of_what_failed(till: Any) -> None:
    """Store credit for the same two shirts, unless somebody has asked for them."""
    account = await till.with_lines()
    two = (AskedLine(line="shirt", quantity=2),)
    file = await till.refused(await till.request(account, 3966, lines=two))

    after = await retry_refund(till.context, file.refund.id, till.by(), Destination.STORE_CREDIT)

    assert by_ref(account, msgspec.structs.replace(after, lines=after.current_lines)) == {"shirt": (2, 3966, 633)}
    assert [line.held_quantity for line in (await till.account(account)).lines] == [2, 0, 0]


async def test_of_an_order_the_lines_follow_each_payments_own_money(till: Any) -> None:
    """One payment went back, the other failed: its lines are free, and money and lines agree all the time."""
    first, second = await till.order(7630, 7630, lines=till.lines)
    file = await till.paid(await till.request(None, 15260, order_ref="order-a", reason="duplicate"), 0)
    failed = await till.refused(file, 1)

    freed = await till.account(first)
    assert (freed.free_minor, [line.held_minor for line in freed.lines]) == (7630, [0, 0, 0])
    assert sum(line.amount_minor for line in failed.lines if line.holds) == 7630
    other = await till.request(first, 630)
    await cancel_refund(till.context, failed.refund.id, till.by(), "paid in cash")

    assert sum(line.held_minor for line in (await till.account(first)).lines) == other.refund.amount_minor
    assert sum(line.held_minor for line in (await till.account(second)).lines) == 7630
