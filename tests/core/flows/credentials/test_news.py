"""What gateways tell of means of payment: in any order, any number of times, and never beyond the limits."""

import asyncio
import contextvars
import itertools
from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.attempt import AttemptState
from recoup_core.domain.payment import BlockedBecause, CredentialRole, Network
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.context import locked_cases
from recoup_core.flows.inbound_closing import EARLY_WAIT
from recoup_core.flows.operate import pause, resume, update_credential
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import PriorAttempt, ReportedCredential

OTHERWISE_DONE_S = 1.0
"""Without the lock the news would be applied well within it, and be overwritten then."""

EXPIRED = {"code": "expired_card"}
SOFT = {"code": "insufficient_funds"}


async def test_a_renewed_card_is_tried_at_once(teller: Any) -> None:
    """A card updater mends what only the customer could: the exhausted case goes on, and the account is another one."""
    opened = await teller.open("tok_approve", **EXPIRED)
    assert (await teller.shop.file(opened.payment.id)).case.state is CaseState.EXHAUSTED

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve", now={"token": "tok_approve", "fingerprint": "reissued"})

    file = await teller.shop.file(opened.payment.id)
    assert (file.case.state, teller.moved()) == (CaseState.RECOVERED, 1999)
    assert file.credentials[0].account_key == "fp:reissued"
    told = await teller.told("credential.updated")
    assert [(each["change"], each["customer"]) for each in told] == [("updated", "cus-1")]
    assert "tok_approve" not in str(told)


async def test_a_network_token_keeps_its_account(teller: Any) -> None:
    """The same card in a new dress is tried, and its earlier tries go on counting."""
    opened = await teller.open("tok_approve", **EXPIRED)
    before = (await teller.shop.file(opened.payment.id)).credentials[0].account_key

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve", now={"token": "tok_approve", "fingerprint": before.removeprefix("fp:")})

    file = await teller.shop.file(opened.payment.id)
    assert (file.case.state, file.credentials[0].account_key) == (CaseState.RECOVERED, before)


async def test_a_renewed_card_waits_where_the_money_was_short(teller: Any) -> None:
    """Renewing a card fills no account: what the policy planned stands, on the same token."""
    opened = await teller.open("tok_approve", **SOFT)
    planned = (await teller.shop.file(opened.payment.id)).planned_retry

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve", now={"token": "tok_approve", "fingerprint": "reissued"})

    file = await teller.shop.file(opened.payment.id)
    assert (file.planned_retry, teller.moved()) == (planned, 0)
    assert file.credentials[0].renewed_at is not None


async def test_a_replaced_token_hands_over_its_role(teller: Any) -> None:
    """The old one is never tried again; the new one is tried at once, even where a later try was planned."""
    opened = await teller.open("tok_do_not_honor", **SOFT)

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("replaced", "tok_do_not_honor", now={"token": "tok_approve", "fingerprint": "other"})

    file = await teller.shop.file(opened.payment.id)
    old, new = file.credentials
    assert (old.valid, old.blocked_because) == (False, BlockedBecause.REPLACED)
    assert (new.token, new.role, new.gateway_customer) == ("tok_approve", CredentialRole.PRIMARY, None)
    assert (file.case.state, [a.credential_id for a in file.attempts][-1]) == (CaseState.RECOVERED, new.id)


async def test_a_card_that_the_customer_added_is_tried_at_once(teller: Any) -> None:
    """It is known by the bank's own name of the customer, and becomes the one to pay with."""
    opened = await teller.open("tok_lost_card", code="lost_card")

    teller.shop.clock.advance(timedelta(minutes=1))
    added = {"token": "tok_approve", "fingerprint": "added", "gateway_customer": "cus_anna"}
    await teller.tell("added", now=added)

    file = await teller.shop.file(opened.payment.id)
    assert (file.case.state, teller.moved()) == (CaseState.RECOVERED, 1999)
    assert (file.usable()[0].token, file.usable()[0].role) == ("tok_approve", CredentialRole.PRIMARY)


async def test_a_removed_card_is_not_tried_again(teller: Any) -> None:
    """What was planned on it is left out, and the policy says what comes instead."""
    opened = await teller.open("tok_approve", **SOFT)

    await teller.tell("removed", "tok_approve")
    await teller.shop.live()

    file = await teller.shop.file(opened.payment.id)
    assert (teller.moved(), len(file.attempts)) == (0, 1)
    assert [(step.state, step.skipped_because) for step in file.steps if step.credential_id] == [
        (StepState.SKIPPED, "the credential is no longer valid")
    ]
    assert file.case.state is CaseState.EXHAUSTED
    assert [each["because"] for each in await teller.told("credential.blocked")] == ["removed"]
    assert await teller.tasks() == []


async def test_a_fraud_warning_blocks_the_account_and_asks_a_person(teller: Any) -> None:
    """All names of the card at this customer are blocked, and a retry that was planned becomes a question."""
    opened = await teller.open("tok_approve", "tok_processing_error|approve", **SOFT)
    await teller.shop.rows("UPDATE credential SET account_key = 'fp:same'")

    await teller.tell("suspected", "tok_approve", reason="made_with_stolen_card")
    await teller.shop.live()

    file = await teller.shop.file(opened.payment.id)
    assert {each.blocked_because for each in file.credentials} == {BlockedBecause.SUSPECTED_FRAUD}
    assert (teller.moved(), await teller.tasks()) == (0, ["manual_review"])


async def test_a_fraud_warning_may_name_only_the_charge(teller: Any) -> None:
    """The attempt says what it was made with; other debts of the customer are not tried on it any more."""
    paid = await teller.open("tok_approve", code="processing_error", customer={"ref": "cus-one"})
    await teller.shop.live()
    other = await teller.open("tok_approve", customer={"ref": "cus-one"}, **SOFT)
    charge = (await teller.shop.file(paid.payment.id)).attempts[-1].gateway_ref

    await teller.tell("suspected", charge_ref="elsewhere", other_charge_refs=[charge])
    await teller.shop.live()

    file = await teller.shop.file(other.payment.id)
    assert (file.credentials[0].valid, len(file.attempts), await teller.tasks()) == (False, 1, ["manual_review"])


async def test_one_token_of_two_customers_is_blocked_for_both(teller: Any) -> None:
    """A token is one means of payment, whoever it was reported for."""
    first = await teller.open("tok_approve", **SOFT)
    second = await teller.open("tok_approve", **SOFT)

    await teller.tell("removed", "tok_approve")
    await teller.shop.live()

    assert [each.valid for each in await teller.stored("tok_approve")] == [False, False]
    for opened in (first, second):
        assert (await teller.shop.file(opened.payment.id)).case.state is CaseState.EXHAUSTED
    assert teller.moved() == 0


async def test_a_token_nobody_reported_is_looked_at_again_and_then_left(teller: Any) -> None:
    """Its report may be on the way; else it is about a customer of somebody else's."""
    await teller.tell("updated", "tok_unknown", now={"token": "tok_unknown"})
    [waiting] = await teller.shop.rows("SELECT state FROM inbound_event")
    teller.shop.clock.advance(EARLY_WAIT)
    await teller.shop.run_due()
    [left] = await teller.shop.rows("SELECT state FROM inbound_event")

    assert (waiting["state"], left["state"]) == ("received", "ignored")
    assert await teller.stored("tok_unknown") == []


def change(kind: str, token: str | None, now: str | None = None) -> dict[str, Any]:
    """One thing that happened to a token; `{}` stands for the customer's number."""
    return {"change": kind, "token": token, "now": now}


STORIES = {
    "added and removed": ([change("added", None, "b{}"), change("removed", "b{}")], {"a{}"}),
    "removed and added": ([change("removed", "a{}"), change("added", None, "a{}")], {"a{}"}),
    "updated and removed": ([change("updated", "a{}", "a{}"), change("removed", "a{}")], set[str]()),
    "replaced twice": ([change("replaced", "a{}", "b{}"), change("replaced", "b{}", "c{}")], {"c{}"}),
    "replaced and removed": ([change("replaced", "a{}", "b{}"), change("removed", "b{}")], set[str]()),
    "suspected and updated": ([change("suspected", "a{}"), change("updated", "a{}", "a{}")], set[str]()),
    "suspected and replaced": ([change("suspected", "a{}"), change("replaced", "a{}", "b{}")], set[str]()),
    "three": (
        [change("added", None, "b{}"), change("updated", "b{}", "b{}"), change("removed", "a{}")],
        {"b{}"},
    ),
}


@pytest.mark.parametrize("times", [1, 2])
@pytest.mark.parametrize("story", STORIES)
async def test_any_order_and_number_ends_in_the_same_state(teller: Any, story: str, times: int) -> None:
    """Every order of what happened, each thing told once, and again under ids of its own."""
    happened, usable = STORIES[story]
    start = teller.shop.clock.now()
    for number, order in enumerate(itertools.permutations(range(len(happened)))):
        name = "x" * (number + 1)
        ref = f"cus-{name}"
        await teller.open(f"a{name}", known_as=f"bank-{name}", customer={"ref": ref}, **SOFT)
        for place in order * times:
            told = happened[place]
            now = told["now"] and {
                "token": told["now"].format(name),
                "fingerprint": f"card-{told['now'].format(name)}",
                "gateway_customer": f"bank-{name}",
            }
            token = told["token"] and told["token"].format(name)
            await teller.tell(told["change"], token, at=start + timedelta(seconds=place), now=now)
        teller.shop.clock.advance(EARLY_WAIT)
        await teller.shop.run_due()

        assert await teller.usable(ref) == {each.format(name) for each in usable}, order


async def test_what_was_objected_to_comes_back_only_by_hand(teller: Any) -> None:
    """Neither a card updater nor a new token of the same account lifts a fraud warning; giving it again does."""
    opened = await teller.open("tok_approve", **SOFT)
    account = (await teller.stored("tok_approve"))[0].account_key.removeprefix("fp:")
    await teller.tell("suspected", "tok_approve")
    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve", now={"token": "tok_approve", "fingerprint": "reissued"})
    again = {"token": "tok_again", "fingerprint": "reissued", "gateway_customer": "cus_anna"}
    await teller.tell("added", now=again)
    assert await teller.usable("cus-1") == set()
    assert account != "reissued"

    told = {"gateway": "sandbox", "token": "tok_approve", "method": "card", "network": "visa"}
    given = msgspec.convert(told, ReportedCredential)
    await update_credential(teller.shop.context, opened.case.id, teller.shop.by(), given)
    await teller.shop.run_due()

    assert await teller.usable("cus-1") == {"tok_approve"}
    assert teller.moved() == 1999


async def test_a_renewed_card_is_never_tried_beyond_the_limits(teller: Any) -> None:
    """Promise 6: where the network's window is full the renewed card waits, and nothing is sent."""
    report = teller.shop.report("tok_approve", network=Network.VISA, code="expired_card")
    decline = report.attempts[0].decline
    times = [teller.shop.clock.now() - timedelta(hours=12 * n) for n in range(20)]
    report = msgspec.structs.replace(report, attempts=tuple(PriorAttempt(at=at, decline=decline) for at in times))
    opened = await open_case(teller.shop.context, report, "key:shop", None)
    await teller.shop.run_due()

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve")

    file = await teller.shop.file(opened.payment.id)
    assert (teller.moved(), len(file.attempts)) == (0, 20)
    assert file.credentials[0].renewed_at is not None


async def test_a_final_decline_stays_final_for_its_account(teller: Any) -> None:
    """A stolen card that is said to be renewed under the same account is not tried."""
    opened = await teller.open("tok_approve", code="stolen_card")

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve")

    file = await teller.shop.file(opened.payment.id)
    assert (teller.moved(), file.case.state) == (0, CaseState.EXHAUSTED)
    assert "case.reopened" not in await teller.shop.events(opened.payment.id)


async def test_a_backup_that_is_there_again_lets_an_exhausted_case_go_on(teller: Any) -> None:
    """The gateway said that it was gone, and says that it is back: the policy uses it as it would have."""
    opened = await teller.open("tok_expired_card", "tok_approve", **SOFT)
    await teller.tell("removed", "tok_approve")
    await teller.shop.live()
    ended = (await teller.shop.file(opened.payment.id)).case.state

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("updated", "tok_approve", now={"token": "tok_approve"})
    await teller.shop.live()

    file = await teller.shop.file(opened.payment.id)
    assert (ended, file.case.state, teller.moved()) == (CaseState.EXHAUSTED, CaseState.RECOVERED, 1999)


async def test_a_paused_case_uses_the_renewed_card_when_it_is_resumed(teller: Any) -> None:
    """A pause is a person's word: nothing is sent meanwhile."""
    opened = await teller.open("tok_do_not_honor", **SOFT)
    await pause(teller.shop.context, opened.case.id, teller.shop.by())

    teller.shop.clock.advance(timedelta(minutes=1))
    await teller.tell("replaced", "tok_do_not_honor", now={"token": "tok_approve", "fingerprint": "other"})
    waiting = await teller.shop.file(opened.payment.id)
    await resume(teller.shop.context, opened.case.id, teller.shop.by())
    await teller.shop.live()

    assert (waiting.case.state, waiting.planned_retry, len(waiting.attempts)) == (CaseState.PAUSED, None, 1)
    assert (await teller.shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_news_while_an_answer_is_awaited_wait_for_it(teller: Any) -> None:
    """One attempt at a time: the answer decides first, then the renewed card is seen."""
    opened = await teller.open("tok_pending:1h+insufficient_funds", code="processing_error")
    while (await teller.shop.file(opened.payment.id)).live_attempt is None:
        teller.shop.clock.set(await teller.shop.next_due())
        await teller.shop.run_due()

    token = "tok_pending:1h+insufficient_funds"
    await teller.tell("replaced", token, now={"token": "tok_approve", "fingerprint": "other"})
    meanwhile = await teller.shop.file(opened.payment.id)
    await teller.shop.live()

    assert [a.state for a in meanwhile.attempts if a.live] == [AttemptState.PENDING]
    assert (await teller.shop.file(opened.payment.id)).case.state is CaseState.RECOVERED
    assert teller.moved() == 1999


async def test_a_block_is_never_overwritten_by_an_older_copy(teller: Any) -> None:
    """Who rewrites a credential holds its lock from reading to writing; the news waits for it, or goes first."""
    opened = await teller.open("tok_approve", **SOFT)
    async with locked_cases(teller.shop.context, [opened.payment.id], accounts=True) as locked:
        draft = locked.draft(opened.payment.id, "test", None)
        telling = asyncio.create_task(teller.tell("removed", "tok_approve"), context=contextvars.Context())
        await asyncio.wait({telling}, timeout=OTHERWISE_DONE_S)
        draft.change_credential(draft.file.credentials[0], role=CredentialRole.BACKUP)
    await telling

    [row] = await teller.stored("tok_approve")
    assert (row.valid, row.role) == (False, CredentialRole.BACKUP)


async def test_an_event_about_what_can_not_be_kept_is_left(teller: Any) -> None:
    """A plugin that tells of a card number in place of a token stores nothing."""
    await teller.open("tok_approve", **SOFT)

    await teller.tell("added", now={"token": "4242 4242 4242 4242", "gateway_customer": "cus_anna"})

    rows = await teller.shop.rows("SELECT token FROM credential")
    assert [row["token"] for row in rows] == ["tok_approve"]
    [stored] = await teller.shop.rows("SELECT body::text FROM inbound_event")
    assert "4242" not in stored["body"]
