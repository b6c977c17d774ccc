"""`recoup customer` and `recoup message`: how customers are reached, and what was said to them."""

import json
from collections.abc import Callable
from typing import Any
from uuid import uuid4

Recoup = Callable[..., Any]


def test_a_customer_from_being_told_of_to_being_erased(shop: None, recoup: Recoup) -> None:
    """What is set is shown; who is not to be contacted is, with the reason; what is erased is gone, the row stays."""
    made = recoup("customer", "set", "c-42", "--name", "Ada", "--locale", "de-AT", "--address", "email=ada@example.com")
    again = recoup("customer", "set", "c-42", "--name", "", "--vulnerable", "--address", "sms=+4930123456")
    silenced = recoup("customer", "do-not-contact", "c-42", "--because", "asked on the phone")
    shown = recoup("customer", "show", "c-42")
    lifted = recoup("customer", "do-not-contact", "c-42", "--lift", "--json")
    erased = recoup("customer", "erase", "c-42", "--because", "wished so", "--yes")

    assert made.out.splitlines()[0] == "customer c-42  Ada"
    assert again.out.splitlines()[:2] == ["customer c-42", "  locale de-AT, vulnerable"]
    assert "not to be contacted: asked on the phone" in silenced.out
    assert "ada@example.com  usable" in shown.out
    assert "+4930123456  usable" in shown.out
    assert json.loads(lifted.out)["record"]["do_not_contact"] is False
    assert "@" not in erased.out
    assert "erased 20" in erased.out


def test_what_can_not_be_is_refused_in_a_line(shop: None, recoup: Recoup) -> None:
    """Nobody of that name, no such address, nothing blocked, no reason."""
    recoup("customer", "set", "c-42", "--address", "email=ada@example.com")
    address = json.loads(recoup("customer", "show", "c-42", "--json").out)["addresses"][0]["id"]

    nobody = recoup("customer", "show", "c-43")
    wrong = recoup("customer", "set", "c-42", "--address", "email=nowhere")
    free = recoup("customer", "release", "c-42", address, "--because", "mailbox is back")
    silent = recoup("customer", "do-not-contact", "c-42")

    assert (nobody.code, wrong.code, free.code, silent.code) == (1, 1, 1, 2)
    assert "has no customer c-43" in nobody.err
    assert "is no e-mail address" in wrong.err
    assert "nothing" not in free.out
    assert "--lift" in silent.err


def test_where_nothing_was_said_nothing_is_listed(shop: None, recoup: Recoup) -> None:
    """An empty list is no failure; a message that nobody knows is."""
    listed = recoup("message", "list", "--state", "failed", "--channel", "email")
    missing = recoup("message", "show", uuid4())
    no_case = recoup("message", "list", "--case", "INV-404")

    assert (listed.code, listed.out) == (0, "")
    assert (missing.code, no_case.code) == (1, 1)
    assert "has no message" in missing.err
