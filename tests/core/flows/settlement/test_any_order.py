"""Random lives, told by reports in any order, in pieces and twice, come to the same books to the cent."""

import dataclasses
from collections.abc import Sequence
from datetime import timedelta
from typing import Any

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from recoup_core.domain.money import Money
from recoup_core.domain.settlement import SettlementKind
from recoup_core.flows.settlement.importing import store_report
from recoup_core.flows.settlement.matching import match_report
from recoup_core.ports import ReportedSettlement, SettledLine

CLEARING = "gateway_clearing:sandbox EUR"
K = SettlementKind

LIFE = st.tuples(
    st.integers(100, 50_000),  # what is charged
    st.integers(0, 500),  # its fee
    st.sampled_from(["kept", "refunded", "refund came back", "disputed", "dispute won", "disputed twice"]),
    st.integers(1, 100),  # how much of it, in percent
)


def told(finance: Any, ref: str, life: tuple[int, int, str, int]) -> list[SettledLine]:
    """Return the lines that tell of one charge's life."""
    minor, fee, story, percent = life
    part = max(1, minor * percent // 100)
    money, at = Money(part, "EUR"), {"charge_ref": ref}

    def line(number: int, kind: SettlementKind, settled: int, op: str, fee_minor: int = 0) -> SettledLine:
        made: SettledLine = finance.line(
            f"{ref}-{kind}-{number}", kind, money, settled, operation_ref=f"{op}-{ref}", fee_minor=fee_minor, **at
        )
        return made

    lines = [finance.charge(f"{ref}-charge", ref, minor, fee)]
    if story.startswith("refund"):
        lines.append(line(1, K.REFUND, -part, "re", 25))
    if story == "refund came back":
        lines.append(line(1, K.REFUND_RETURNED, part, "re"))
    if story.startswith("dispute"):
        lines.append(line(1, K.DISPUTE, -part, "dp", 1_500))
    if story in ("dispute won", "disputed twice"):
        lines.append(line(1, K.DISPUTE_RETURNED, part, "dp"))
    if story == "disputed twice":
        lines.append(line(2, K.DISPUTE, -part, "dp", 1_500))
    return lines


def expected(lives: Sequence[tuple[int, int, str, int]]) -> dict[str, int]:
    """Return what was earned, what fees cost, and what is lost or frozen."""
    earned = fees = disputes = refunds = 0
    for minor, fee, story, percent in lives:
        part = max(1, minor * percent // 100)
        fees += fee + 25 * story.startswith("refund") + 1_500 * story.startswith("dispute")
        fees += 1_500 * (story == "disputed twice")
        refunds += part * (story == "refunded")
        disputes += part * (story in ("disputed", "disputed twice"))
        earned += minor
    paid_out = earned - fees - disputes - refunds
    return {"bank EUR": paid_out, "fees EUR": fees, "disputes EUR": disputes, "refunds EUR": refunds}


@settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck))
@given(lives=st.lists(LIFE, min_size=1, max_size=4), data=st.data())
async def test_any_order_and_pieces_and_twice_come_to_the_same_books(finance: Any, lives: Any, data: Any) -> None:
    """The clearing account moves by nothing once the payout is told, and every account stands where it must."""
    before, waiting = await finance.balances(), {each.id for each in await finance.exceptions()}
    lines = [line for life in lives for line in told(finance, await finance.captured(life[0]), life)]
    order = range(len(lines))
    shuffled = [lines[index] for index in data.draw(st.permutations(order))]
    cut = data.draw(st.integers(0, len(lines)))
    again = [lines[index] for index in data.draw(st.sets(st.sampled_from(order), max_size=3))]
    net = sum(line.settled_minor - line.fee_minor for line in lines)
    for piece in (shuffled[:cut], shuffled[cut:], again):
        if piece:
            await finance.bring(*piece, report_ref=f"R-{lines[0].ref}")
    await finance.bring(report_ref=f"R-{lines[0].ref}", paid_out_minor=net, paid_out_at=finance.shop.clock.now())

    finance.shop.clock.advance(timedelta(hours=2))
    await finance.sweep()  # what came before the line that explains it is looked at again

    after = await finance.balances()
    moved = {name: after.get(name, 0) - before.get(name, 0) for name in expected(lives)}
    assert moved == expected(lives)
    assert after.get(CLEARING, 0) == before.get(CLEARING, 0)
    assert {each.id for each in await finance.exceptions()} <= waiting
    await finance.adds_up()


TAMPERED = st.sampled_from(["amount", "unknown", "twice", "currency"])


@settings(max_examples=10, deadline=None, suppress_health_check=list(HealthCheck))
@given(minors=st.lists(st.integers(100, 9_999), min_size=2, max_size=5), how=TAMPERED, data=st.data())
async def test_exceptions_are_exactly_where_a_report_was_tampered_with(
    finance: Any, shop: Any, minors: list[int], how: str, data: Any
) -> None:
    """One line is wrong, and the exception names it; all others are matched, and the ledger adds up to the cent."""
    known = {each.id for each in await finance.exceptions()}
    refs = [await finance.captured(minor) for minor in minors]
    lines = [finance.charge(f"{ref}-l", ref, minor) for ref, minor in zip(refs, minors, strict=True)]
    at = data.draw(st.integers(0, len(lines) - 1))
    ref, minor = refs[at], minors[at]
    wrong = {
        "amount": finance.charge(f"{ref}-l", ref, minor - 1),
        "unknown": finance.charge(f"{ref}-l", f"nobody-{ref}", minor),
        "twice": finance.charge(f"{ref}-again", ref, minor),
        "currency": finance.charge(f"{ref}-l", ref, minor, amount=Money(minor, "USD")),
    }[how]
    told_lines = [*lines, wrong] if how == "twice" else [wrong if each.ref == wrong.ref else each for each in lines]

    order = data.draw(st.permutations(range(len(told_lines))))
    await finance.bring(*(told_lines[index] for index in order), report_ref=f"R-{refs[0]}")

    new = [each for each in await finance.exceptions() if each.id not in known]
    named = {"amount": "amount_differs", "unknown": "unknown_charge", "twice": "settled_twice"}
    assert [str(each.kind) for each in new] == [named.get(how, "currency_differs")]
    [line] = await finance.lines(id=new[0].line_id)
    assert line.ref in ({f"{ref}-l", f"{ref}-again"} if how == "twice" else {wrong.ref})
    await finance.adds_up()


async def test_a_matching_that_breaks_off_goes_on(finance: Any, shop: Any) -> None:
    """Killed after any batch: what is booked stays booked once, and the next run does the rest."""
    refs = [await finance.captured(1_000) for _ in range(20)]
    lines = tuple(finance.charge(f"{ref}-l", ref, 1_000, 10) for ref in refs)
    report = ReportedSettlement(report_ref="R-1", currency="EUR", lines=lines, paid_out_minor=19_800)
    stored = await store_report(finance.context, "sandbox", report, None, shop.by())

    class Killed(BaseException):
        """The process is gone."""

    class Dying:
        """A clock that stops the process at the given look at it."""

        def __init__(self, looks: int) -> None:
            self.looks = looks

        def now(self) -> Any:
            self.looks -= 1
            if self.looks < 0:
                raise Killed
            return shop.clock.now()

    for looks in range(4):
        dying = dataclasses.replace(finance.context, clock=Dying(looks))
        try:
            await match_report(dying, stored.report.id, 100)
        except Killed:
            continue
    shop.clock.advance(timedelta(hours=1))
    await shop.run_due()

    assert {line.state for line in await finance.lines()} == {"matched"}
    assert (await finance.balances()).get(CLEARING) is None
    assert (await finance.balances())["bank EUR"] == 19_800
    await finance.adds_up()
