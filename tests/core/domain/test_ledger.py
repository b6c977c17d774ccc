"""The ledger's entries: balanced in every currency, booked by the chart alone, taken back posting by posting."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.chart import CHART, MOVEMENTS, account_of
from recoup_core.domain.dispute import Dispute, DisputeState
from recoup_core.domain.errors import UnbalancedEntry
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import (
    EntryKind,
    LedgerEntry,
    Posting,
    capture_entry,
    dispute_entries,
    postings,
    refund_entries,
    reversal_of,
    taken_back,
    write_off_entry,
)
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method, Payment
from recoup_core.domain.refund import Destination, PartState, Purpose, Refund, RefundPart, RefundState

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
EARLIER = NOW - timedelta(days=2)
minors = st.integers(-(10**15), 10**15)


def an_entry(*lines: Posting, **fields: Any) -> LedgerEntry:
    return LedgerEntry(
        **{
            "id": new_id(),
            "merchant_id": "default",
            "kind": EntryKind.CAPTURE,
            "payment_id": new_id(),
            "lines": len(lines),
            "postings": lines,
            "occurred_at": EARLIER,
            "created_at": NOW,
            **fields,
        }
    )


def a_part(**fields: Any) -> tuple[RefundPart, Refund]:
    """40.00 EUR, 6.39 of it tax, that have just gone back by the sandbox."""
    purpose = fields.pop("purpose", Purpose.REFUND)
    part = RefundPart(
        **{
            "id": new_id(),
            "merchant_id": "default",
            "refund_id": new_id(),
            "payment_id": new_id(),
            "capture_id": new_id(),
            "number": 1,
            "revision": 1,
            "destination": Destination.ORIGINAL_METHOD,
            "gateway": "sandbox",
            "amount_minor": 4_000,
            "currency": "EUR",
            "tax_minor": 639,
            "state": PartState.SUCCEEDED,
            "successes": 1,
            "created_at": NOW,
            "finished_at": NOW,
            **fields,
        }
    )
    refund = Refund(
        id=part.refund_id,
        merchant_id="default",
        payment_id=part.payment_id,
        customer_ref="cus-1",
        purpose=purpose,
        amount_minor=4_000,
        currency="EUR",
        reason="requested_by_customer",
        requested_by="ana",
        touched_by=("ana",),
        state=RefundState.SUCCEEDED,
        created_at=NOW,
    )
    return part, refund


def a_dispute(state: DisputeState, turns: int = 1) -> Dispute:
    return Dispute(
        id=new_id(),
        merchant_id="default",
        payment_id=new_id(),
        capture_id=new_id(),
        gateway="sandbox",
        gateway_ref="dp_1",
        amount_minor=5_000,
        currency="EUR",
        state=state,
        turns=turns,
        opened_at=NOW,
    )


def moved(*entries: LedgerEntry) -> list[tuple[str, dict[str, int]]]:
    """What each entry posts, by account."""
    return [(entry.kind, {p.account: p.amount_minor for p in entry.postings}) for entry in entries]


def balances(*entries: LedgerEntry) -> dict[str, int]:
    """What the accounts come to, those at zero left out."""
    sums: dict[str, int] = {}
    for posting in (posting for entry in entries for posting in entry.postings):
        sums[posting.account] = sums.get(posting.account, 0) + posting.amount_minor
    return {account: total for account, total in sums.items() if total}


@given(amount_minor=st.integers(1, 2**53 - 1), currency=st.sampled_from(["EUR", "JPY", "KWD"]))
def test_a_capture_moves_the_debt_to_the_gateway(amount_minor: int, currency: str) -> None:
    """What the customer owed is now held by the gateway, to the minor unit."""
    entry = capture_entry(
        entry_id=new_id(),
        merchant_id="default",
        payment_id=new_id(),
        attempt_id=new_id(),
        capture_id=new_id(),
        gateway="stripe",
        amount_minor=amount_minor,
        currency=currency,
        at=NOW,
    )

    assert {(p.account, p.amount_minor, p.currency) for p in entry.postings} == {
        ("gateway_clearing:stripe", amount_minor, currency),
        ("receivable", -amount_minor, currency),
    }


@given(parts=st.lists(st.tuples(st.sampled_from(["EUR", "USD", "JPY"]), minors), min_size=1, max_size=6), off=minors)
def test_an_entry_is_balanced_per_currency_or_refused(parts: list[tuple[str, int]], off: int) -> None:
    """Each currency for itself: a surplus in one never pays for a lack in another."""
    lines = [Posting("one", amount, currency) for currency, amount in parts]
    lines += [Posting("other", -amount, currency) for currency, amount in parts]
    assert an_entry(*lines).postings == tuple(lines)

    if off != 0:
        with pytest.raises(UnbalancedEntry) as refusal:
            an_entry(*lines, Posting("stray", off, "GBP"))
        assert (refusal.value.currency, refusal.value.total_minor) == ("GBP", off)


def test_equal_numbers_of_two_currencies_do_not_balance() -> None:
    """Ten euros are not ten dollars."""
    with pytest.raises(UnbalancedEntry):
        an_entry(Posting("one", 1000, "EUR"), Posting("other", -1000, "USD"))


def test_an_entry_has_the_lines_it_says_it_has() -> None:
    """The database counts them: none can be added later, balanced or not."""
    pair = (Posting("one", 5, "EUR"), Posting("other", -5, "EUR"))

    with pytest.raises(UnbalancedEntry):
        an_entry(*pair, lines=3)


@pytest.mark.parametrize("movement", MOVEMENTS, ids=lambda movement: movement.name)
def test_every_movement_posts_to_two_accounts_of_the_chart(movement: Any) -> None:
    """The data that pages and exports show is what is booked."""
    debit, credit = postings(movement, Money(7, "EUR"), "sandbox")

    assert (account_of(debit.account).name, debit.amount_minor) == (movement.debit, 7)
    assert (account_of(credit.account).name, credit.amount_minor) == (movement.credit, -7)
    assert movement.debit != movement.credit


def test_the_page_about_the_ledger_shows_the_chart_as_it_is() -> None:
    """What accountants read is what is booked: every account and movement in its row."""
    page = (Path(__file__).parents[3] / "docs" / "ledger.md").read_text(encoding="utf-8")
    rows = {tuple(cell.strip(" `") for cell in line.split("|")[1:-1]) for line in page.splitlines() if line[:1] == "|"}

    for account in CHART.values():
        shown = f"{account.name}` (one per gateway)" if account.per_gateway else account.name
        assert (shown, account.kind, account.normal, account.meaning) in rows
    for each in MOVEMENTS:
        assert (each.name.replace("_", " "), each.kind, each.debit, each.credit, each.meaning) in rows


def test_no_account_stands_in_the_chart_for_nothing() -> None:
    """What no movement posts to would only puzzle."""
    assert {each.debit for each in MOVEMENTS} | {each.credit for each in MOVEMENTS} == set(CHART)


def test_a_movement_at_a_gateway_needs_its_name() -> None:
    """Money that nobody holds can't be looked for."""
    captured = next(movement for movement in MOVEMENTS if movement.name == "captured")

    with pytest.raises(ValueError, match="none is given"):
        postings(captured, Money(7, "EUR"))


CLEARING, CREDIT = "gateway_clearing:sandbox", "store_credit"
CREDITED: dict[str, Any] = {"destination": Destination.STORE_CREDIT, "gateway": None}


@pytest.mark.parametrize(
    ("fields", "debited", "credited"),
    [
        ({}, "refunds", CLEARING),
        (CREDITED, "refunds", CREDIT),
        ({"purpose": Purpose.GOODWILL}, "goodwill", CLEARING),
        ({"purpose": Purpose.GOODWILL, "capture_id": None, **CREDITED}, "goodwill", CREDIT),
    ],
    ids=["refund", "store credit", "goodwill", "goodwill as store credit"],
)
def test_money_given_back_is_booked_by_purpose_and_way(fields: dict[str, Any], debited: str, credited: str) -> None:
    """Four ways; the tax within is taken out of what was debited, so revenue and goodwill stand net."""
    part, refund = a_part(**fields)

    entries = refund_entries(part=part, refund=refund, at=NOW, occurred_at=EARLIER)

    assert moved(*entries) == [
        ("refund", {debited: 4_000, credited: -4_000}),
        ("tax", {"tax": 639, debited: -639}),
    ]
    assert {(entry.part_id, entry.refund_id, entry.occurred_at, entry.created_at) for entry in entries} == {
        (part.id, refund.id, EARLIER, NOW)
    }


def test_a_refund_without_tax_is_one_entry() -> None:
    """No entry over nothing."""
    part, refund = a_part(tax_minor=0)

    assert [entry.kind for entry in refund_entries(part=part, refund=refund, at=NOW)] == ["refund"]


def test_a_fee_is_booked_in_its_own_currency() -> None:
    """A gateway may settle in another currency than the customer paid in."""
    part, refund = a_part(tax_minor=0)

    _, fee = refund_entries(part=part, refund=refund, fee=Money(25, "USD"), at=NOW)

    assert (fee.kind, fee.postings) == (EntryKind.FEE, (Posting("fees", 25, "USD"), Posting(CLEARING, -25, "USD")))


def test_a_void_books_nothing() -> None:
    """What was only authorised never came in."""
    part, refund = a_part(void=True)

    assert refund_entries(part=part, refund=refund, at=NOW) == ()


def test_what_a_gateway_takes_back_and_sends_again_is_booked_each_time() -> None:
    """A refund fails after it succeeded, and succeeds in the end: the fee was charged, the money left once."""
    part, refund = a_part()
    first = refund_entries(part=part, refund=refund, fee=Money(25, "EUR"), at=NOW)

    back = taken_back(first, at=NOW)
    again = refund_entries(part=msgspec.structs.replace(part, successes=2), refund=refund, at=NOW)

    assert balances(*first, *back) == {"fees": 25, CLEARING: -25}
    assert {entry.reverses for entry in back} == {first[0].id, first[1].id}
    assert {entry.turn for entry in again} == {2}
    assert balances(*first, *back, *again) == {"refunds": 3_361, "tax": 639, "fees": 25, CLEARING: -4_025}


def test_a_reversal_negates_every_posting_of_what_it_names() -> None:
    """And keeps what the entry was about, so that it is found there."""
    entry = an_entry(Posting("fees", 5, "EUR"), Posting("tax", -5, "EUR"), kind=EntryKind.FEE, dispute_id=new_id())

    back = reversal_of(entry=entry, at=NOW)

    assert (back.kind, back.reverses, back.payment_id, back.dispute_id) == (
        EntryKind.REVERSAL,
        entry.id,
        entry.payment_id,
        entry.dispute_id,
    )
    assert back.id != entry.id
    assert balances(entry, back) == {}


TAKEN = {"disputes": 5_000, CLEARING: -5_000}
LOST = {"bad_debt": 5_000, CLEARING: -5_000}
_S = DisputeState


@pytest.mark.parametrize(
    ("story", "ends"),
    [
        ([_S.INQUIRY], {}),
        ([_S.INQUIRY, _S.CLOSED], {}),
        ([_S.OPEN], TAKEN),
        ([_S.OPEN, _S.OPEN], TAKEN),
        ([_S.OPEN, _S.WON], {}),
        ([_S.OPEN, _S.LOST], LOST),
        ([_S.OPEN, _S.LOST, _S.LOST], LOST),
        ([_S.INQUIRY, _S.LOST], LOST),
        ([_S.OPEN, _S.LOST, _S.WON], {}),
        ([_S.OPEN, _S.WON, _S.OPEN], TAKEN),
        ([_S.OPEN, _S.WON, _S.LOST], LOST),
        ([_S.OPEN, _S.WON, _S.OPEN, _S.LOST, _S.WON], {}),
    ],
    ids=lambda value: ">".join(value) if isinstance(value, list) else None,
)
def test_the_ledger_says_what_the_dispute_says(story: list[DisputeState], ends: dict[str, int]) -> None:
    """However it got there; and no two entries of one turn are of one kind, which the database would refuse."""
    dispute = a_dispute(_S.INQUIRY, turns=0)
    booked: list[LedgerEntry] = []
    for state in story:
        dispute = msgspec.structs.replace(dispute, state=state, turns=dispute.turns + 1)
        taken = {entry.reverses for entry in booked}
        standing = [e for e in booked if e.kind is not EntryKind.REVERSAL and e.id not in taken]
        booked += dispute_entries(dispute=dispute, booked=standing, at=NOW)

    assert balances(*booked) == ends
    told_apart = [(entry.kind, entry.turn) for entry in booked if entry.kind is not EntryKind.REVERSAL]
    assert len(told_apart) == len(set(told_apart))


def test_a_disputes_fee_stays_charged_when_it_is_won() -> None:
    """Gateways keep it."""
    dispute = a_dispute(DisputeState.OPEN)
    opened = dispute_entries(dispute=dispute, booked=[], fee=Money(1_500, "EUR"), at=NOW)

    won = dispute_entries(
        dispute=msgspec.structs.replace(dispute, state=DisputeState.WON, turns=2), booked=opened, at=NOW
    )

    assert balances(*opened, *won) == {"fees": 1_500, CLEARING: -1_500}


def test_a_write_off_is_over_all_that_is_outstanding() -> None:
    """Not over what has come in."""
    payment = Payment(
        id=new_id(),
        merchant_id="default",
        reference="inv-1",
        customer=Customer(ref="cus-1"),
        amount_minor=5_000,
        currency="EUR",
        captured_minor=1_200,
        gateway="sandbox",
        method=Method.CARD,
        created_at=NOW,
    )

    entry = write_off_entry(payment=payment, case_id=new_id(), at=NOW)

    assert moved(entry) == [("write_off", {"write_offs": 3_800, "receivable": -3_800})]
