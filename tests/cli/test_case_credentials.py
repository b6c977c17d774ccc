"""`recoup case credentials` and `recoup case link`: what a customer pays with, and where it is renewed."""

import json
from collections.abc import Callable
from typing import Any

from recoup_core.flows.recover import Opened

Recoup = Callable[..., Any]


def test_a_page_is_printed_and_printed_again(shop: None, reported: Opened, recoup: Recoup) -> None:
    """The address alone on standard output, so that it can be piped; what it does beside it."""
    first = recoup("case", "link", "INV-1")
    again = recoup("case", "link", "INV-1", "--gateway", "sandbox", "--json")

    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert first.out.startswith("https://")
    assert len(first.out.splitlines()) == 1
    assert "the debt can be paid there" in first.err
    assert json.loads(again.out)["url"] == first.out.strip()


def test_a_page_that_can_not_be_had_is_a_line(shop: None, reported: Opened, recoup: Recoup) -> None:
    """An unknown case or gateway."""
    nowhere = recoup("case", "link", "INV-404")
    elsewhere = recoup("case", "link", "INV-1", "--gateway", "elsewhere")

    assert (nowhere.code, elsewhere.code) == (1, 1)
    assert "no case or payment INV-404" in nowhere.err
    assert "elsewhere" in elsewhere.err
    assert "Traceback" not in nowhere.err + elsewhere.err


def test_credentials_are_listed_without_their_tokens(reported: Opened, recoup: Recoup) -> None:
    """Role, gateway, kind, and whether it may be tried."""
    done = recoup("case", "credentials", "INV-1")

    assert done.code == 0
    assert "  primary  sandbox  card visa  valid" in done.out
    assert "approve" not in done.out
