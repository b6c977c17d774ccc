"""`recoup keys create --approves`: keys by which people decide on refunds."""

from collections.abc import Callable
from typing import Any


def test_a_key_says_what_it_approves(configured: str, recoup: Callable[..., Any]) -> None:
    """Each role once, in the list, too; the principal is shown in the one form it is kept in."""
    made = recoup(
        *("keys", "create", "--principal", "Anna Meier", "--role", "viewer"),
        *("--approves", "support_lead", "--approves", "finance", "--approves", "finance"),
    )

    listed = recoup("keys", "list")

    assert made.code == 0
    assert "of anna meier for" in made.err
    assert "anna meier  [viewer]  approves [finance, support_lead]" in listed.out


def test_a_key_that_approves_nothing_says_nothing_of_it(configured: str, recoup: Callable[..., Any]) -> None:
    """Not even an administrator's stands for an approval role."""
    recoup("keys", "create", "--principal", "root", "--role", "admin")

    assert "approves" not in recoup("keys", "list").out


def test_a_role_that_no_policy_could_name_is_refused(configured: str, recoup: Callable[..., Any]) -> None:
    """With how to write one; no key is made."""
    done = recoup("keys", "create", "--principal", "anna", "--role", "viewer", "--approves", "Support Lead")

    assert done.code == 1
    assert "approves" in done.err
    assert "support_lead" in done.err
    assert "has no keys" in recoup("keys", "list").err


def test_a_name_of_nobody_is_refused(configured: str, recoup: Callable[..., Any]) -> None:
    """Blanks are no principal."""
    done = recoup("keys", "create", "--principal", "  ", "--role", "viewer")

    assert done.code == 1
    assert "principal: names nobody" in done.err
    assert "support_lead" not in done.err
