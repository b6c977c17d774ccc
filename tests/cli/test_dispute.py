"""`recoup dispute`: told by hand, its money is frozen, and what was to be refunded is decided anew."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

Recoup = Callable[..., Any]

OPEN = ("dispute", "report", "INV-7", "--ref", "dp_1", "--amount", "35.00", "EUR")


def test_what_is_disputed_is_not_refundable(
    captured: Callable[..., None], key_of: Callable[..., Path], recoup: Recoup
) -> None:
    """An open dispute freezes the money; once it is won the money is free again."""
    captured("INV-7", 2, 1500)
    request = ("refund", "request", "INV-7", "--amount", "5.00", "EUR", "--reason", "withdrawal")
    mia = key_of("mia")

    opened = recoup(*OPEN, "--state", "open", "--reason", "fraudulent", "--evidence-by", "2026-12-10T23:59:00Z")
    refused = recoup(*request, "--key-file", mia)
    won = recoup(*OPEN, "--state", "won")
    taken = recoup(*request, "--key-file", mia)

    assert "35.00 EUR  open" in opened.out
    assert "evidence by 2026-12-10 23:59 UTC" in opened.out
    assert refused.code == 1
    assert "35.00 EUR  won" in won.out
    assert taken.code == 0


def test_what_had_not_left_is_denied(
    captured: Callable[..., None], key_of: Callable[..., Path], recoup: Recoup
) -> None:
    """The customer is never paid twice for the same money."""
    captured("INV-7", 2, 1500)
    options = ("--amount", "30.00", "EUR", "--reason", "withdrawal", "--key-file", key_of("mia"))
    recoup("refund", "request", "INV-7", *options)

    recoup(*OPEN, "--state", "open")

    assert "denied (disputed)" in recoup("refund", "list").out


def test_disputes_are_listed_by_state_and_payment(captured: Callable[..., None], recoup: Recoup) -> None:
    """One that is told again moves on and is no second one."""
    captured("INV-7", 2, 1500)
    recoup(*OPEN, "--state", "inquiry")
    recoup(*OPEN, "--state", "open")

    everything = recoup("dispute", "list", "--payment", "INV-7")
    inquiries = recoup("dispute", "list", "--state", "inquiry")
    nowhere = recoup("dispute", "list", "--payment", "INV-404")

    assert [line.split()[3] for line in everything.out.splitlines()] == ["open"]
    assert "no such dispute" in inquiries.err
    assert nowhere.code == 1
