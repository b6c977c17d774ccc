"""What the banks said, in the codes of their scheme."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_gocardless.declines import BY_CAUSE, decline_of
from recoup_gocardless.objects import Details
from recoup_plugins import DeclineCategory, DeclineSource, Method, Retryable, classify


@pytest.mark.parametrize(("scheme", "reason", "code", "source", "category"), [
    ("sepa_core", "AM04", "AM04", DeclineSource.SEPA, DeclineCategory.INSUFFICIENT_FUNDS),
    ("bacs", "ARUDD-0", "0", DeclineSource.BACS, DeclineCategory.INSUFFICIENT_FUNDS),
    ("bacs", "arudd-b", "B", DeclineSource.BACS, DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS),
    ("ach", "R09", "R09", DeclineSource.ACH, DeclineCategory.INSUFFICIENT_FUNDS),
])  # fmt: skip
def test_the_banks_own_code_decides(
    scheme: str, reason: str, code: str, source: DeclineSource, category: DeclineCategory
) -> None:
    """Network limits are written in these; GoCardless's cause is kept beside it."""
    decline = decline_of(Details(cause="other", scheme=scheme, reason_code=reason), Method.ACH_DEBIT)

    assert (decline.code, decline.source, decline.category) == (code, source, category)
    assert decline.message == "other"


def test_a_code_of_another_bacs_report_is_not_taken_for_one_of_unpaid_debits() -> None:
    """ADDACS-0 says that the instruction is canceled, ARUDD-0 that the money is missing."""
    details = Details(cause="mandate_cancelled", scheme="bacs", reason_code="ADDACS-0")

    decline = decline_of(details, Method.BACS_DEBIT)

    assert (decline.code, decline.category) == ("ADDACS-0", DeclineCategory.REVOKED_MANDATE)
    assert decline.retryable is not Retryable.YES


@pytest.mark.parametrize("method", [Method.SEPA_DEBIT, Method.BACS_DEBIT, Method.ACH_DEBIT])
def test_without_a_code_the_cause_stands_for_one(method: Method) -> None:
    """GoCardless always says the cause; banks don't always say their code."""
    missing = decline_of(Details(cause="insufficient_funds"), method)
    closed = decline_of(Details(cause="bank_account_closed"), method)

    assert missing.category is DeclineCategory.INSUFFICIENT_FUNDS
    assert closed.category is DeclineCategory.EXPIRED_OR_INVALID_CREDENTIALS


def test_every_code_that_a_cause_stands_for_is_known() -> None:
    """A stand-in that no table knows would make a known cause unknown."""
    unknown = [
        (cause, code)
        for cause, codes in BY_CAUSE.items()
        for source, code in codes.items()
        if classify(source, code).category is DeclineCategory.UNKNOWN
    ]

    assert not unknown


@given(cause=st.one_of(st.none(), st.text(max_size=80)), reason=st.one_of(st.none(), st.text(max_size=80)))
def test_what_nobody_knows_gets_no_retry(cause: str | None, reason: str | None) -> None:
    """Whatever GoCardless sends tomorrow is an answer, and never a reason to try again unattended."""
    decline = decline_of(Details(cause=f"new {cause}", scheme="sepa_core", reason_code=f"?{reason}"), Method.SEPA_DEBIT)

    assert decline.category is DeclineCategory.UNKNOWN
    assert decline.retryable is Retryable.NO
    assert len(decline.code) <= 64
