"""Approvals and delegations by the command line: four eyes hold there as they do everywhere."""

import json
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, NamedTuple

import pytest

Recoup = Callable[..., Any]
KeyOf = Callable[..., Path]

TOMORROW = (datetime.now(UTC) + timedelta(days=1)).date().isoformat()


class Asked(NamedTuple):
    """A refund of 605.00 EUR that takes two approvers, and whose key asked for it."""

    refund: str
    by: Path


@pytest.fixture
def asked(captured: Callable[..., None], key_of: KeyOf, recoup: Recoup) -> Asked:
    """Asked for by mia, in review by a support lead."""
    captured("INV-7", 2, 30_000)
    mia = key_of("mia")
    options = ("--amount", "605.00", "EUR", "--reason", "cancellation", "--key-file", mia)
    done = recoup("refund", "request", "INV-7", *options)
    assert "in review by support lead" in done.out
    return Asked(done.out.split()[1], mia)


def approve(recoup: Recoup, refund: str, key: Path, version: int = 1) -> Any:
    return recoup("refund", "approve", refund, "--version", version, "--key-file", key)


def test_two_levels_approve_one_after_the_other(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """The second level is asked only then, and the money is scheduled after both."""
    first = approve(recoup, asked.refund, key_of("sven", approves="support_lead"))
    second = approve(recoup, asked.refund, key_of("fatima", approves="finance"), 2)

    assert "in review by finance" in first.out
    assert "605.00 EUR  approved" in second.out
    story = recoup("refund", "show", asked.refund).out
    assert "approved by sven as support lead (level 1 of revision 1)" in story
    assert "approved by fatima as finance (level 2 of revision 1)" in story


def test_who_asked_never_approves_with_whatever_key(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """Trap 6: keys belong to a principal, and one that approves makes nobody another person."""
    done = approve(recoup, asked.refund, key_of(" MIA ", approves="support_lead"))

    assert done.code == 1
    assert "can't decide this refund" in done.err


def test_an_admin_without_the_role_does_not_approve(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """Roles to approve stand apart from what a key may do; the database's password is none either."""
    done = approve(recoup, asked.refund, key_of("root", role="admin"))

    assert done.code == 1
    assert "support_lead" in done.err


def test_without_a_key_nobody_decides(asked: Asked, recoup: Recoup) -> None:
    """The operating system's user is no principal."""
    done = recoup("refund", "approve", asked.refund, "--version", 1)

    assert done.code == 2
    assert "RECOUP_API_KEY" in done.err


def test_the_queue_is_what_one_may_decide(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """The support lead sees it, finance not yet, and who asked never."""
    queues = [
        recoup("approvals", "list", "--key-file", key)
        for key in (
            key_of("sven", approves="support_lead"),
            key_of("fatima", approves="finance"),
            key_of("mia", approves="support_lead"),
        )
    ]

    assert [asked.refund in queue.out for queue in queues] == [True, False, False]
    assert "asked by mia" in queues[0].out
    assert "nothing waits for you" in queues[1].err


def test_sent_back_changed_and_handed_in_again(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """The comment reaches the requester; who hands it in has touched it."""
    sven = key_of("sven", approves="support_lead")
    ben = key_of("ben", approves="support_lead")

    back = recoup(
        "refund", "send-back", asked.refund, "--version", 1, "--comment", "which of them?", "--key-file", sven
    )
    again = recoup("refund", "submit", asked.refund, "--version", 2, "--key-file", ben)
    own = approve(recoup, asked.refund, ben, 3)

    assert "sent back" in back.out
    assert "in review by support lead" in again.out
    assert own.code == 1
    assert "which of them?" in recoup("refund", "show", asked.refund).out


def test_a_rejection_says_why_and_is_for_good(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """Without a comment the call is wrong."""
    sven = key_of("sven", approves="support_lead")

    silent = recoup("refund", "reject", asked.refund, "--version", 1, "--key-file", sven)
    rejected = recoup("refund", "reject", asked.refund, "--version", 1, "--comment", "used", "--key-file", sven)
    late = approve(recoup, asked.refund, sven, 2)

    assert (silent.code, rejected.code, late.code) == (2, 0, 1)
    assert "rejected" in rejected.out


def test_a_lent_role_decides_until_it_is_taken_back(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """The approval names both; once revoked the role is worth nothing."""
    sven, ben = key_of("sven", approves="support_lead"), key_of("ben")
    key_of("fatima", approves="finance")
    lend = ("delegation", "create", "--to", "ben", "--role", "support_lead", "--until", TOMORROW)

    lent = recoup(*lend, "--key-file", sven)
    queue = recoup("approvals", "list", "--key-file", ben)
    revoked = recoup("delegation", "revoke", lent.out.split()[0], "--key-file", sven)
    late = approve(recoup, asked.refund, ben)

    assert "sven -> ben" in lent.out
    assert "on behalf of sven" in queue.out
    assert "revoked" in revoked.out
    assert late.code == 1
    assert "sven -> ben" in recoup("delegation", "list", "--owner", "Sven").out


def test_who_asked_cannot_lend_the_role_to_decide(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """Nor does somebody decide for whoever touched it."""
    mia, ben = key_of("mia", approves="support_lead"), key_of("ben")
    lend = ("delegation", "create", "--to", "ben", "--role", "support_lead", "--until", TOMORROW)

    lent = recoup(*lend, "--key-file", mia)
    done = approve(recoup, asked.refund, ben)

    assert (lent.code, done.code) == (0, 1)
    assert "mia" in done.err


def test_roles_of_others_are_lent_by_an_admin_only(key_of: KeyOf, recoup: Recoup) -> None:
    """For somebody who is away."""
    key_of("sven", approves="support_lead")
    lend = ("delegation", "create", "--owner", "sven", "--to", "ben", "--role", "support_lead", "--until", TOMORROW)

    by_agent = recoup(*lend, "--key-file", key_of("mia"))
    by_admin = recoup(*lend, "--key-file", key_of("root", role="admin"))

    assert (by_agent.code, by_admin.code) == (1, 0)


def test_the_queue_says_what_is_not_as_usual(captured: Callable[..., None], key_of: KeyOf, recoup: Recoup) -> None:
    """An approver sees that it is a gesture and no money, and which order is meant, without opening each."""
    captured("INV-7", 2, 30_000, order_ref="ORDER")
    gesture = ("--amount", "30.00", "EUR", "--reason", "late_delivery", "--goodwill", "--store-credit")
    order = ("--amount", "100.00", "EUR", "--reason", "cancellation", "--order", "ORDER")
    for options in (("INV-7", *gesture), order):
        asked = recoup("refund", "request", *options, "--key-file", key_of("mia"))
        assert "in review by support lead" in asked.out, asked

    queue = recoup("approvals", "list", "--key-file", key_of("sven", approves="support_lead"))

    assert "late delivery, goodwill, as store credit" in queue.out
    assert "order ORDER" in queue.out


def test_many_are_decided_at_once_and_each_is_told_of(
    asked: Asked, captured: Callable[..., None], key_of: KeyOf, recoup: Recoup
) -> None:
    """One that was changed since it was read holds up no other, and the exit code says that not all went."""
    captured("INV-8", 2, 30_000)
    options = ("--amount", "605.00", "EUR", "--reason", "cancellation", "--key-file", asked.by)
    other = recoup("refund", "request", "INV-8", *options).out.split()[1]
    sven = key_of("sven", approves="support_lead")

    done = recoup("approvals", "decide", "approve", f"{asked.refund}@1", f"{other}@7", "--key-file", sven)

    assert done.code == 1
    assert f"{asked.refund}  in_review" in done.out
    assert f"{other}  refused: the refund has changed since" in done.out
    assert "in review by finance" in recoup("refund", "show", asked.refund).out


def test_what_is_no_refund_at_a_version_is_refused_before_anything(key_of: KeyOf, recoup: Recoup) -> None:
    """A bulk is read whole before it begins."""
    done = recoup("approvals", "decide", "approve", "0199a2f4", "--key-file", key_of("sven", approves="support_lead"))

    assert done.code == 2
    assert "the version that you read" in done.err


def test_a_part_is_settled_by_hand_by_operators_only(asked: Asked, key_of: KeyOf, recoup: Recoup) -> None:
    """Who says what became of money answers for it; a part that waits for nobody can't be settled."""
    part = json.loads(recoup("refund", "show", asked.refund, "--json").out)["file"]["parts"][0]["id"]
    said = ("refund", "resolve", part, "--outcome", "succeeded", "--evidence", "the bank's list", "--key-file")

    refused = recoup(*said, asked.by)
    too_early = recoup(*said, key_of("otto", role="operator"))

    assert (refused.code, too_early.code) == (1, 1)
    assert "none of the roles operator" in refused.err
    assert "a refund part that is reserved" in too_early.err
