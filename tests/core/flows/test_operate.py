"""What people may do to a case; never above the limits, never twice for one call."""

from datetime import timedelta
from typing import Any

import msgspec
import pytest

from recoup_core.domain.attempt import AttemptState, Origin
from recoup_core.domain.errors import CardNumberRefused, IllegalTransition
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import CredentialRole, Method, Network, PaymentState
from recoup_core.domain.recovery import CaseState, StepState
from recoup_core.flows.operate import (
    NotAllowedNow,
    NotFound,
    cancel,
    pause,
    resume,
    retry_now,
    update_credential,
)
from recoup_core.flows.recover import open_case
from recoup_core.flows.reports import PriorAttempt, ReportedCredential, UnknownGateway
from recoup_core.storage.calls import Call, IdempotencyKeyReused

FINAL = {"code": "stolen_card"}
SOFT = {"code": "generic_decline"}


def moved(shop: Any) -> int:
    """Money the bank moved in all."""
    return sum(total.moved_minor for total in shop.gateway.bank.totals().values())


def a_credential(token: str = "tok_approve", **fields: Any) -> ReportedCredential:
    given = {"gateway": "sandbox", "method": Method.CARD, "network": Network.VISA, "fingerprint": f"new-{token}"}
    return ReportedCredential(token=token, **{**given, **fields})


async def worn_out(shop: Any, token: str, failures: int, network: Network = Network.VISA, hours: int = 12) -> Any:
    """A case whose card was declined so often, so many hours apart, that the network's window is full."""
    report = shop.report(token, network=network, **SOFT)
    decline = report.attempts[0].decline
    times = [shop.clock.now() - timedelta(hours=hours * n) for n in range(failures)]
    report = msgspec.structs.replace(report, attempts=tuple(PriorAttempt(at=at, decline=decline) for at in times))
    return await open_case(shop.context, report, "key:shop", None)


async def test_a_paused_case_sends_nothing_until_it_is_resumed(shop: Any) -> None:
    """What was planned is skipped; resuming decides anew, from the present."""
    opened = await shop.open("tok_approve", **SOFT)

    file = await pause(shop.context, opened.case.id, shop.by())
    await shop.live(until=timedelta(days=10))
    untouched = moved(shop)
    shop.clock.advance(timedelta(days=10))
    resumed = await resume(shop.context, opened.case.id, shop.by())
    await shop.live()

    assert file.case.state is CaseState.PAUSED
    assert [(s.state, s.skipped_because) for s in file.steps] == [(StepState.SKIPPED, "the case is paused")]
    assert untouched == 0
    assert resumed.planned_retry is not None
    assert resumed.planned_retry.due_at >= opened.case.opened_at + timedelta(days=10)
    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_pausing_takes_back_an_attempt_that_certainly_never_left(shop: Any) -> None:
    """Written down, gateway unreachable: canceled, and made anew after the pause."""
    opened = await shop.open("tok_unreachable*9+approve|approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    assert (await shop.file(opened.payment.id)).attempts[-1].state is AttemptState.SCHEDULED

    file = await pause(shop.context, opened.case.id, shop.by())
    await shop.live(until=timedelta(days=2))
    assert moved(shop) == 0
    await resume(shop.context, opened.case.id, shop.by())
    await shop.live()

    assert file.attempts[-1].state is AttemptState.CANCELED
    assert file.steps[-1].state is StepState.SKIPPED
    after = await shop.file(opened.payment.id)
    assert [a.state for a in after.attempts[1:]] == [AttemptState.CANCELED, AttemptState.SUCCEEDED]
    assert moved(shop) == 1999


async def test_what_may_have_left_is_settled_though_the_case_is_paused(shop: Any) -> None:
    """A pause never makes us forget money."""
    opened = await shop.open("tok_lose+approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()

    file = await pause(shop.context, opened.case.id, shop.by())
    await shop.live()

    assert file.attempts[-1].state is AttemptState.UNKNOWN
    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_a_decline_during_a_pause_plans_nothing(shop: Any) -> None:
    """The answer is recorded; what follows waits for the resume."""
    opened = await shop.open("tok_pending:2h+generic_decline|approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()
    await pause(shop.context, opened.case.id, shop.by())
    await shop.live()

    file = await shop.file(opened.payment.id)

    assert file.attempts[-1].state is AttemptState.DECLINED
    assert (file.case.state, file.planned_retry) == (CaseState.PAUSED, None)


async def test_a_canceled_case_is_over(shop: Any) -> None:
    """Nothing more is planned or sent, the payment is closed, and it can't be resumed or tried."""
    opened = await shop.open("tok_approve", **SOFT)

    file = await cancel(shop.context, opened.case.id, shop.by(), "customer left")
    await shop.live()

    assert (file.case.state, file.payment.state) == (CaseState.CANCELED, PaymentState.CLOSED)
    assert file.case.closed_at is not None
    assert moved(shop) == 0
    assert await shop.next_due() is None
    with pytest.raises(IllegalTransition):
        await resume(shop.context, opened.case.id, shop.by())
    with pytest.raises(NotAllowedNow):
        await retry_now(shop.context, opened.case.id, shop.by())


async def test_retry_now_takes_the_place_of_what_was_planned(shop: Any) -> None:
    """At once, on the primary, in the operator's name."""
    opened = await shop.open("tok_approve", **SOFT)

    planned = await retry_now(shop.context, opened.case.id, shop.by())
    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert planned.planned_retry is not None
    assert planned.planned_retry.due_at == opened.case.opened_at
    assert [s.state for s in planned.steps].count(StepState.SKIPPED) == 1
    assert (file.attempts[-1].origin, file.attempts[-1].state) == (Origin.OPERATOR, AttemptState.SUCCEEDED)
    assert file.case.state is CaseState.RECOVERED
    assert await shop.next_due() is None


async def test_retry_now_reopens_an_exhausted_case(shop: Any) -> None:
    """The policy gave up; a person may still try, and the policy decides what follows."""
    opened = await shop.open(f"tok_{'generic_decline|' * 5}approve", **SOFT)
    await shop.live()
    assert (await shop.file(opened.payment.id)).case.state is CaseState.EXHAUSTED

    for _ in range(2):
        await retry_now(shop.context, opened.case.id, shop.by())
        await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert file.case.state is CaseState.RECOVERED
    assert (await shop.events(opened.payment.id)).count("case.reopened") == 2


@pytest.mark.parametrize("code", ["stolen_card", "fraudulent", "lost_card"])
async def test_retry_now_never_overrules_a_final_decline(shop: Any, code: str) -> None:
    """Never again with the same account, whoever asks; the case stays as it was."""
    opened = await shop.open("tok_approve", code=code)
    before = await shop.file(opened.payment.id)

    with pytest.raises(NotAllowedNow, match="final"):
        await retry_now(shop.context, opened.case.id, shop.by())

    assert await shop.file(opened.payment.id) == before
    assert before.case.state is CaseState.EXHAUSTED


async def test_retry_now_never_goes_beyond_the_network_limits(shop: Any) -> None:
    """Visa's window is full: refused, with the time from which on it is possible."""
    opened = await worn_out(shop, "tok_approve", 15)

    with pytest.raises(NotAllowedNow, match="visa_category_2_3_4") as refusal:
        await retry_now(shop.context, opened.case.id, shop.by())

    assert refusal.value.possible_at is not None
    shop.clock.set(refusal.value.possible_at - timedelta(microseconds=1))
    with pytest.raises(NotAllowedNow):
        await retry_now(shop.context, opened.case.id, shop.by())
    shop.clock.set(refusal.value.possible_at)
    assert (await retry_now(shop.context, opened.case.id, shop.by())).planned_retry is not None


async def test_retry_now_waits_for_an_answer_that_is_due(shop: Any) -> None:
    """One live attempt per payment, whoever starts it."""
    opened = await shop.open("tok_lose+approve", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()

    with pytest.raises(NotAllowedNow, match="live"):
        await retry_now(shop.context, opened.case.id, shop.by())


async def test_the_same_call_is_done_once(shop: Any) -> None:
    """Twice the same key and request: one try, one answer; another request under the key is refused."""
    opened = await shop.open("tok_generic_decline", **SOFT)
    by = shop.by(call=Call("key-1", b"retry-now"))

    first = await retry_now(shop.context, opened.case.id, by)
    await shop.run_due()
    second = await retry_now(shop.context, opened.case.id, by)
    await shop.run_due()

    assert second == first
    assert len((await shop.file(opened.payment.id)).attempts) == 2
    with pytest.raises(IdempotencyKeyReused):
        await pause(shop.context, opened.case.id, shop.by(call=Call("key-1", b"pause")))


async def test_nobody_works_on_another_merchants_case(shop: Any) -> None:
    """As if it did not exist."""
    opened = await shop.open("tok_approve", **SOFT)
    stranger = msgspec.structs.replace(shop.by(), merchant_id="other")

    for operation in (pause, resume, retry_now):
        with pytest.raises(NotFound):
            await operation(shop.context, opened.case.id, stranger)
    with pytest.raises(NotFound):
        await pause(shop.context, new_id(), shop.by())
    assert (await shop.file(opened.payment.id)).case.state is CaseState.OPEN


async def test_a_new_credential_is_tried_at_once(shop: Any) -> None:
    """Expired card, no backup: exhausted; the customer gives a new card, and it is tried in the customer's name."""
    opened = await shop.open("tok_approve", code="expired_card")
    before = (await shop.file(opened.payment.id)).case

    given = await update_credential(shop.context, opened.case.id, shop.by(), a_credential())
    await shop.run_due()

    file = await shop.file(opened.payment.id)
    assert (before.state, before.stop_reason) == (CaseState.EXHAUSTED, "needs_customer")
    assert given.case.state is CaseState.OPEN
    assert file.case.state is CaseState.RECOVERED
    assert file.attempts[-1].origin is Origin.CUSTOMER
    assert file.credentials[-1].token == "tok_approve"


async def test_a_known_backup_given_as_primary_is_tried_at_once(shop: Any) -> None:
    """The role it has now counts, not the one it had."""
    opened = await shop.open("tok_generic_decline", "tok_approve", **SOFT)

    file = await update_credential(
        shop.context, opened.case.id, shop.by(), a_credential("tok_approve", role=CredentialRole.PRIMARY)
    )
    await shop.run_due()

    assert file.planned_retry is not None
    assert file.planned_retry.due_at == opened.case.opened_at
    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_where_limits_forbid_it_the_new_credential_is_used_when_they_allow(shop: Any) -> None:
    """Another token of the same full account: nothing at once, and the next try is on the new token."""
    opened = await worn_out(shop, "tok_generic_decline", 9, Network.MASTERCARD, hours=1)
    old = (await shop.file(opened.payment.id)).credentials[0]
    same_account = a_credential("tok_approve", network=Network.MASTERCARD, fingerprint=old.account_key[len("fp:") :])

    file = await update_credential(shop.context, opened.case.id, shop.by(), same_account)
    untouched = moved(shop)
    await shop.live()

    assert untouched == 0
    assert file.planned_retry is not None
    assert file.planned_retry.due_at > opened.case.opened_at
    assert file.planned_retry.credential_id == file.credentials[-1].id != old.id
    assert (await shop.file(opened.payment.id)).case.state is CaseState.RECOVERED


async def test_a_planned_retry_moves_to_the_new_credential(shop: Any) -> None:
    """A case that waits for its next try tries the new card now, not the old one later."""
    opened = await shop.open("tok_generic_decline", **SOFT)

    file = await update_credential(shop.context, opened.case.id, shop.by(), a_credential())
    await shop.live()

    assert [s.state for s in file.steps].count(StepState.PLANNED) == 1
    after = await shop.file(opened.payment.id)
    assert [a.state for a in after.attempts] == [AttemptState.DECLINED, AttemptState.SUCCEEDED]


async def test_while_an_answer_is_awaited_a_new_credential_is_only_kept(shop: Any) -> None:
    """The next decision sees it."""
    opened = await shop.open("tok_pending:2h+generic_decline|generic_decline", **SOFT)
    shop.clock.set(await shop.next_due())
    await shop.run_due()

    file = await update_credential(shop.context, opened.case.id, shop.by(), a_credential())
    await shop.live()

    assert file.planned_retry is None
    after = await shop.file(opened.payment.id)
    assert after.case.state is CaseState.RECOVERED
    assert after.attempts[-1].credential_id == file.credentials[-1].id


async def test_a_credential_of_a_closed_debt_is_refused(shop: Any) -> None:
    """Nothing is owed, so nothing is tried and nothing is kept."""
    opened = await shop.open("tok_approve", **SOFT)
    await cancel(shop.context, opened.case.id, shop.by(), "x")

    with pytest.raises(NotAllowedNow):
        await update_credential(shop.context, opened.case.id, shop.by(), a_credential())
    assert len((await shop.file(opened.payment.id)).credentials) == 1


@pytest.mark.parametrize(
    ("fields", "refusal"),
    [
        ({"token": "4242 4242 4242 4242"}, CardNumberRefused),
        ({"fingerprint": "4242424242424242"}, CardNumberRefused),
        ({"gateway": "nowhere"}, UnknownGateway),
    ],
)
async def test_a_credential_that_is_none_is_refused(shop: Any, fields: Any, refusal: Any) -> None:
    """A card number, or a gateway that this merchant doesn't have."""
    opened = await shop.open("tok_approve", **SOFT)
    before = await shop.file(opened.payment.id)

    with pytest.raises(refusal):
        await update_credential(
            shop.context, opened.case.id, shop.by(), msgspec.structs.replace(a_credential(), **fields)
        )

    assert await shop.file(opened.payment.id) == before
