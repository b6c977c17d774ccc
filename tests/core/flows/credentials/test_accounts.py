"""Which account a token belongs to: one card counts once, and its count never begins anew by another name."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Credential, Method
from recoup_core.flows.reports import ReportedCredential, account_key, renewed_account

names = st.none() | st.text("abc", min_size=1, max_size=3)


def known(fingerprint: str | None = None, par: str | None = None) -> Credential:
    """A credential as it was stored when it was reported so."""
    return Credential(
        id=new_id(),
        merchant_id="default",
        customer_ref="cus-1",
        gateway="sandbox",
        token="tok_1",
        account_key=account_key("sandbox", "tok_1", fingerprint, par),
        method=Method.CARD,
        par=par,
        created_at=datetime(2026, 11, 23, tzinfo=UTC),
    )


@pytest.mark.parametrize(
    ("told", "account"),
    [
        ({}, "sandbox:tok_1"),
        ({"fingerprint": ""}, "sandbox:tok_1"),
        ({"fingerprint": "f"}, "fp:f"),
        ({"par": "P"}, "par:P"),
        ({"fingerprint": "f", "par": "P"}, "par:P"),
    ],
)
def test_the_widest_name_that_is_known_names_the_account(told: dict[str, Any], account: str) -> None:
    """By its payment account reference a card is one at all gateways, by its fingerprint at one."""
    assert ReportedCredential(gateway="sandbox", token="tok_1", method=Method.CARD, **told).account_key == account


@pytest.mark.parametrize(
    ("before", "told", "account"),
    [
        ({"fingerprint": "f"}, {"fingerprint": "f"}, "fp:f"),
        ({"fingerprint": "f"}, {"fingerprint": "g"}, "fp:g"),
        ({"fingerprint": "f"}, {"fingerprint": None}, "fp:f"),
        ({"fingerprint": "f"}, {"fingerprint": "f", "par": "P"}, "fp:f"),
        ({"fingerprint": "f"}, {"fingerprint": "g", "par": "P"}, "par:P"),
        ({"par": "P"}, {"fingerprint": "g"}, "par:P"),
        ({"par": "P"}, {"fingerprint": "g", "par": "P"}, "par:P"),
        ({"par": "P"}, {"fingerprint": None, "par": "Q"}, "par:Q"),
        ({}, {"fingerprint": "f"}, "fp:f"),
    ],
)
def test_another_account_only_where_another_card_is_behind_the_token(
    before: dict[str, Any], told: dict[str, Any], account: str
) -> None:
    """A renewed card keeps its count as long as nothing says that its number is another one."""
    assert renewed_account(known(**before), **told) == account


@given(names, names)
def test_telling_the_same_again_changes_nothing(fingerprint: str | None, par: str | None) -> None:
    """An event that is told any number of times begins no new count."""
    before = known(fingerprint, par)

    assert renewed_account(before, fingerprint, par) == before.account_key
