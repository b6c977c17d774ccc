"""The ledger's entries: balanced in every currency, or they don't come into being."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.errors import UnbalancedEntry
from recoup_core.domain.ids import new_id
from recoup_core.domain.ledger import EntryKind, LedgerEntry, Posting, capture_entry

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
minors = st.integers(-(10**15), 10**15)


def an_entry(*postings: Posting) -> LedgerEntry:
    return LedgerEntry(
        id=new_id(),
        merchant_id="default",
        kind=EntryKind.CAPTURE,
        payment_id=new_id(),
        attempt_id=new_id(),
        postings=postings,
        created_at=NOW,
    )


@given(amount_minor=st.integers(1, 2**53 - 1), currency=st.sampled_from(["EUR", "JPY", "KWD"]))
def test_a_capture_moves_the_debt_to_the_gateway(amount_minor: int, currency: str) -> None:
    """What the customer owed is now held by the gateway, to the minor unit."""
    entry = capture_entry(
        entry_id=new_id(),
        merchant_id="default",
        payment_id=new_id(),
        attempt_id=new_id(),
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
    postings = [Posting("one", amount, currency) for currency, amount in parts]
    postings += [Posting("other", -amount, currency) for currency, amount in parts]
    assert an_entry(*postings).postings == tuple(postings)

    if off != 0:
        with pytest.raises(UnbalancedEntry) as refusal:
            an_entry(*postings, Posting("stray", off, "GBP"))
        assert (refusal.value.currency, refusal.value.total_minor) == ("GBP", off)


def test_equal_numbers_of_two_currencies_do_not_balance() -> None:
    """Ten euros are not ten dollars."""
    unequal: Any = [Posting("one", 1000, "EUR"), Posting("other", -1000, "USD")]

    with pytest.raises(UnbalancedEntry):
        an_entry(*unequal)
