"""A disputed charge: what it was made with is tried for no other debt, until somebody gives it again."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.payment import BlockedBecause
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.operate import update_credential
from recoup_core.flows.reports import ReportedCredential

LATER = {"code": "insufficient_funds"}
SOON = {"code": "processing_error"}
CUSTOMER = {"ref": "cus-one"}


async def collected(teller: Any, token: str = "tok_approve") -> Any:
    """A payment that was collected by one of our own attempts; return it with its charge."""
    opened = await teller.open(token, customer=CUSTOMER, **SOON)
    await teller.shop.live()
    charge = (await teller.shop.file(opened.payment.id)).attempts[-1].gateway_ref
    assert teller.moved() == 1999
    return opened, charge


async def dispute(post: Any, charge: str, standing: str, **more: Any) -> None:
    """The bank tells how a dispute stands."""
    data = {"charge_id": charge, "amount_minor": 1999, "currency": "EUR", "dispute_id": "dp-1", "standing": standing}
    await post.send(f"dispute.{standing}", **data, **more)


@pytest.mark.parametrize("standing", ["open", "lost"])
async def test_a_dispute_stops_retries_on_what_it_was_charged_to(teller: Any, post: Any, standing: str) -> None:
    """In the transaction that freezes the money, for every debt of the customer, and no bank is asked again."""
    paid, charge = await collected(teller)
    other = await teller.open("tok_approve", customer=CUSTOMER, **LATER)

    await dispute(post, charge, standing)
    await teller.shop.live()

    file = await teller.shop.file(other.payment.id)
    assert [(c.valid, c.blocked_because) for c in file.credentials] == [(False, BlockedBecause.DISPUTED)]
    assert (len(file.attempts), file.case.state, teller.moved()) == (1, CaseState.EXHAUSTED, 1999)
    assert [s.state for s in file.steps if s.credential_id is not None] == [StepState.SKIPPED]
    [told] = await teller.told("credential.blocked")
    assert (told["because"], told["customer"], told["gateway"]) == ("disputed", "cus-one", "sandbox")
    assert "credential.blocked" in await teller.shop.events(paid.payment.id)


async def test_other_names_of_the_disputed_card_are_blocked_and_other_cards_are_not(teller: Any, post: Any) -> None:
    """The account objected, not the token; the customer's other card may still pay other debts."""
    _, charge = await collected(teller)
    await teller.open("tok_second|approve", "tok_third|approve", customer=CUSTOMER, **LATER)
    await teller.shop.rows(
        "UPDATE credential SET account_key = (SELECT account_key FROM credential WHERE token = 'tok_approve')"
        " WHERE token = 'tok_second|approve'"
    )

    await dispute(post, charge, "open")

    assert await teller.usable("cus-one") == {"tok_third|approve"}


async def test_what_took_the_disputed_cards_place_is_blocked_as_well(teller: Any, post: Any) -> None:
    """Whether the bank replaces the token before the dispute or after it: the customer has objected to both."""
    _, charge = await collected(teller)
    await teller.tell("replaced", "tok_approve", now={"token": "tok_new|approve", "fingerprint": "reissued"})
    assert await teller.usable("cus-one") == {"tok_new|approve"}

    await dispute(post, charge, "open")

    assert await teller.usable("cus-one") == set()


async def test_an_inquiry_blocks_nothing(teller: Any, post: Any) -> None:
    """The bank has only asked; no money has moved."""
    _, charge = await collected(teller)

    await dispute(post, charge, "inquiry")

    assert await teller.usable("cus-one") == {"tok_approve"}


async def test_a_won_dispute_unblocks_nothing_and_giving_it_again_does(teller: Any, post: Any) -> None:
    """The money is ours, and the customer has objected all the same: only an explicit act brings the card back."""
    _, charge = await collected(teller)
    other = await teller.open("tok_approve", customer=CUSTOMER, **LATER)
    await dispute(post, charge, "open")
    await dispute(post, charge, "won")
    await teller.shop.live()
    assert await teller.usable("cus-one") == set()

    given = {"gateway": "sandbox", "token": "tok_approve", "method": "card", "network": "visa"}
    given = msgspec.convert(given, ReportedCredential)
    await update_credential(teller.shop.context, other.case.id, teller.shop.by(), given)
    await teller.shop.live()

    assert await teller.usable("cus-one") == {"tok_approve"}
    assert (await teller.shop.file(other.payment.id)).case.state is CaseState.RECOVERED


async def test_a_due_retry_sees_that_its_card_is_blocked(teller: Any) -> None:
    """Whatever became of the case's own job: under lock, at the last moment, a blocked card is not charged."""
    opened = await teller.open("tok_approve", **SOON)
    await teller.shop.rows("UPDATE credential SET valid = false, blocked_because = 'disputed'")

    await teller.shop.live()

    file = await teller.shop.file(opened.payment.id)
    assert (teller.moved(), len(file.attempts)) == (0, 1)
    assert "the credential is no longer valid" in [s.skipped_because for s in file.steps]


async def test_the_question_for_evidence_moves_with_the_banks_date(teller: Any, post: Any) -> None:
    """A person who sorts tasks by their date must not miss a bank that asks sooner."""
    _, charge = await collected(teller)
    first, sooner = (teller.shop.clock.now() + timedelta(days=days) for days in (14, 7))

    await dispute(post, charge, DisputeState.OPEN.value, evidence_due_at=first.isoformat())
    await dispute(post, charge, DisputeState.OPEN.value, evidence_due_at=sooner.isoformat())

    [task] = await teller.shop.rows("SELECT due_at FROM human_task WHERE kind = 'dispute_evidence'")
    assert task["due_at"] == sooner
