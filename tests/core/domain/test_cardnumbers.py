"""Promise 11: no card number passes, wherever and however it is written; what is none passes."""

import string
from collections.abc import Callable
from typing import Any
from uuid import UUID

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from recoup_core.domain.cardnumbers import (
    HIDDEN,
    hide_card_numbers,
    holds_card_number,
    luhn_valid,
    refuse_card_numbers,
    refuse_card_numbers_in,
)
from recoup_core.domain.errors import CardNumberRefused
from recoup_core.domain.ids import new_id
from recoup_core.telemetry import redact_event

KNOWN_TEST_CARDS = [
    "4242424242424242", "5555555555554444", "378282246310005", "6011111111111117", "4222222222222",
    "6304000000000000000",
]  # fmt: skip
"""Published by Stripe and Adyen for tests: Visa, Mastercard, Amex (15), Discover, Visa of 13, Maestro of 19 digits."""


class Holder(msgspec.Struct):
    """A struct as reports are."""

    note: Any


def check_digit(digits: str) -> str:
    """ISO/IEC 7812-1, written another way than the code under test: try all ten."""
    table = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    total = sum(table[int(d)] if i % 2 == 0 else int(d) for i, d in enumerate(reversed(digits)))
    return str(-total % 10)


@st.composite
def card_numbers(draw: Callable[[Any], Any]) -> str:
    """A Luhn-valid run of 13 to 19 digits, with single blanks or hyphens anywhere between them."""
    body = draw(st.text("0123456789", min_size=12, max_size=18))
    digits = body + check_digit(body)
    gaps = draw(st.lists(st.sampled_from(["", "", "", " ", "-"]), min_size=len(digits) - 1, max_size=len(digits) - 1))
    return digits[0] + "".join(gap + digit for gap, digit in zip(gaps, digits[1:], strict=True))


around = st.text(st.characters(codec="utf-8", exclude_categories=["Nd"], exclude_characters=" -"), max_size=8)
keys = st.text(string.ascii_lowercase, min_size=1, max_size=6)


@st.composite
def hidden_in_a_structure(draw: Callable[[Any], Any]) -> tuple[Any, str, str]:
    """A card number in a text, somewhere in lists and mappings; with the field that must be named."""
    number = draw(card_numbers())
    value: Any = draw(around) + number + draw(around)
    path = ""
    for _ in range(draw(st.integers(0, 4))):
        if draw(st.booleans()):
            key = draw(keys)
            value, path = {"aa": 1, key: value, "zz": [None, True]}, f".{key}{path}"
        else:
            before = draw(st.integers(0, 2))
            value, path = [*["ok"] * before, value, 7], f"[{before}]{path}"
    return value, f"${path}", number


@pytest.mark.parametrize("number", KNOWN_TEST_CARDS)
def test_published_card_numbers_are_recognized(number: str) -> None:
    """Real formats, with and without their usual gaps."""
    grouped = " ".join(number[i : i + 4] for i in range(0, len(number), 4))

    assert luhn_valid(number)
    assert holds_card_number(f"pay with {number}.")
    assert holds_card_number(grouped)
    assert holds_card_number(grouped.replace(" ", "-"))


@given(hidden=hidden_in_a_structure())
def test_a_card_number_is_refused_wherever_it_hides(hidden: tuple[Any, str, str]) -> None:
    """The field is named, its value is never repeated."""
    value, field, number = hidden

    with pytest.raises(CardNumberRefused) as refusal:
        refuse_card_numbers(value)

    assert refusal.value.field == field
    assert number not in str(refusal.value)


@given(hidden=hidden_in_a_structure())
def test_a_whole_struct_is_refused_as_its_parts_are(hidden: tuple[Any, str, str]) -> None:
    """The quick pass over the JSON misses nothing that the walk would find."""
    value, _, number = hidden

    with pytest.raises(CardNumberRefused) as refusal:
        refuse_card_numbers_in(Holder(value))

    assert number not in str(refusal.value)


@given(number=card_numbers(), before=around, after=around)
def test_logs_show_no_card_number(number: str, before: str, after: str) -> None:
    """Where nothing can be refused, the number is taken out and the rest stays."""
    shown = hide_card_numbers(f"{before}{number}{after}")

    assert shown == f"{before}{HIDDEN}{after}"
    assert not holds_card_number(shown)


def test_numbers_and_keys_are_looked_at_as_texts_are() -> None:
    """A card number sent as a JSON number, or as the name of a field, is one all the same."""
    for value in (4242424242424242, {"4242 4242 4242 4242": "x"}, {"a": [{"b": 378282246310005}]}):
        with pytest.raises(CardNumberRefused) as refusal:
            refuse_card_numbers(value)
        assert "4242" not in str(refusal.value)


@given(digits=st.text("0123456789", min_size=13, max_size=19))
def test_a_run_that_fails_the_luhn_check_passes(digits: str) -> None:
    """Nine in ten long numbers are no card numbers and pass."""
    if digits[-1] == check_digit(digits[:-1]):
        digits = digits[:-1] + str((int(digits[-1]) + 1) % 10)

    refuse_card_numbers({"order": digits, "also": [digits]})


@given(digits=st.text("0123456789", min_size=20, max_size=40) | st.text("0123456789", max_size=12))
def test_shorter_and_longer_runs_pass(digits: str) -> None:
    """A card number has 13 to 19 digits; a longer run is something else."""
    refuse_card_numbers(digits)


@given(bits=st.integers(0, 2**128 - 1))
def test_no_uuid_is_ever_refused(bits: int) -> None:
    """Ids of ours and of others travel everywhere; by chance one in 500 would hold a Luhn-valid run."""
    refuse_card_numbers({"id": str(UUID(int=bits)), "text": f"attempt {UUID(int=bits)} is unknown"})


@given(when=st.datetimes())
def test_no_timestamp_is_ever_refused(when: Any) -> None:
    """ISO 8601, with and without microseconds and zone."""
    refuse_card_numbers({"at": when.isoformat() + "+00:00", "day": f"{when:%Y-%m-%d}", "time": f"{when:%H:%M:%S}"})


def test_ordinary_fields_of_a_report_pass() -> None:
    """Gateways' ids, phone numbers, amounts and our own keys."""
    refuse_card_numbers(
        {
            "token": "pm_1PQr2sT3uV4wX5yZ",
            "customer": "cus_NffrFeUfNV2Hib",
            "phone": "+49 30 901820",
            "iban_end": "3000",
            "amount_minor": 199_900,
            "flags": [True, False, None],
            "key": f"recoup-{new_id()}",
        }
    )


@pytest.mark.parametrize("reference", ["8815658961765255", "7914073381342283", "AUTHORISATION:8815658961765255:true"])
def test_a_gateways_own_reference_may_be_all_digits(reference: str) -> None:
    """In a field made for references, what begins as no card number does is none; anywhere else it is refused."""
    refuse_card_numbers({"gateway_ref": reference, "news": {"other_charge_refs": [reference]}})

    for elsewhere in ({"note": reference}, {"reference": reference}, [reference], {"gateway_ref": {"x": reference}}):
        with pytest.raises(CardNumberRefused):
            refuse_card_numbers(elsewhere)


@pytest.mark.parametrize(
    "number", [*KNOWN_TEST_CARDS, "8123456789012340", "8600123456789012", "9792123456789018", "8815 6589 6176 5255"]
)
def test_a_card_number_is_refused_in_a_reference_too(number: str) -> None:
    """Every payment network's numbers, and any digits that are grouped as people write card numbers."""
    for value in (number, f"ref {number}"):
        with pytest.raises(CardNumberRefused):
            refuse_card_numbers({"gateway_ref": value})


def test_a_log_line_keeps_references_and_hides_card_numbers() -> None:
    """Operators find a charge by its reference; a card's number never reaches a log, whatever the field."""
    line = redact_event(None, "", {"gateway_ref": "8815658961765255", "charge": "8815658961765255"})
    assert line == {"gateway_ref": "8815658961765255", "charge": HIDDEN}
    assert redact_event(None, "", {"gateway_ref": "4242424242424242"}) == {"gateway_ref": HIDDEN}
