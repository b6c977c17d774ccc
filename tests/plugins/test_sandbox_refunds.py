"""The sandbox's refunds: scripts do what they say, and never more goes back than was charged, whoever asks."""

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.domain.ids import new_id
from recoup_core.flows.guard import Unknown, refund_guarded
from recoup_plugins import (
    Canceled,
    CaptureState,
    ChargeRequest,
    Declined,
    DisputeState,
    FailureCategory,
    GatewayEvent,
    GatewaySettings,
    Method,
    Money,
    NotFound,
    NotSent,
    Pending,
    Refunded,
    RefundRequest,
    Refused,
    Succeeded,
    TakenBack,
)
from recoup_plugins.gateways.sandbox import SandboxFault, SandboxGateway, make_sandbox
from recoup_plugins.gateways.sandbox_books import SHUFFLE_WINDOW_S, KeyReused
from recoup_plugins.gateways.sandbox_events import read_event
from recoup_plugins.gateways.sandbox_holdings import NotHeld
from recoup_plugins.gateways.sandbox_refund_script import parse_refunds
from recoup_plugins.gateways.sandbox_rows import new_name
from recoup_plugins.gateways.sandbox_words import ScriptUnreadable

Build = Callable[..., RefundRequest]
Charge = Callable[..., ChargeRequest]


def a_sandbox(**options: Any) -> SandboxGateway:
    return make_sandbox(GatewaySettings(name="sandbox", plugin="sandbox", options=options))


def eur(amount_minor: int) -> Money:
    return Money(amount_minor, "EUR")


def another(request: RefundRequest, amount: Money) -> RefundRequest:
    """Another refund of the same charge."""
    part_id = new_id()
    return msgspec.structs.replace(request, part_id=part_id, idempotency_key=f"key-{part_id}", amount=amount)


def back(sandbox: SandboxGateway, request: RefundRequest) -> int:
    total = sandbox.bank.refund_totals().by_charge.get(request.charge_ref)
    return total.back_minor if total else 0


def told(sandbox: SandboxGateway) -> list[GatewayEvent]:
    """What the bank would send by now."""
    return [read_event(each.body) for each in sandbox.bank.due_deliveries(100)]


def category(outcome: object) -> FailureCategory:
    assert isinstance(outcome, Refused)
    return outcome.failure.category


# --- where the money comes from ---------------------------------------------------------------------------------------


async def test_a_charge_of_the_bank_is_refunded_by_its_reference(a_request: Charge, a_refund: Build) -> None:
    """What was charged through the sandbox goes back through it, by the script behind the token's `~`."""
    sandbox = a_sandbox()
    charged = await sandbox.charge(a_request("tok_approve~fee:25", payment_reference="inv"))
    assert isinstance(charged, Succeeded)
    request = a_refund(charge_ref=charged.gateway_ref, payment_reference="inv")

    outcome = await sandbox.refund(request)

    assert isinstance(outcome, Refunded)
    assert (outcome.amount, outcome.fee) == (eur(1999), eur(25))
    assert sandbox.bank.refund_totals().by_payment["inv"].back_minor == 1999


async def test_a_charge_that_failed_or_is_unknown_has_nothing_to_refund(a_request: Charge, a_refund: Build) -> None:
    """Only a reported charge is believed; any other reference must be one of the bank's own successes."""
    sandbox = a_sandbox()
    declined = await sandbox.charge(a_request("tok_insufficient_funds"))
    assert isinstance(declined, Declined)

    outcomes = [await sandbox.refund(a_refund(charge_ref=ref)) for ref in (declined.gateway_ref, "sbx_moon", "pi_a")]

    assert {category(outcome) for outcome in outcomes} == {FailureCategory.CONFIGURATION}
    assert sum(total.back_minor for total in sandbox.bank.refund_totals().by_charge.values()) == 0


async def test_a_script_is_checked_when_the_charge_is_made(a_request: Charge, a_refund: Build) -> None:
    """A typing error in a refund's script must not wait for the refund; in a reported reference it is refused."""
    sandbox = a_sandbox()

    charged = await sandbox.charge(a_request("tok_approve~refussed"))
    refunded = await sandbox.refund(a_refund("refussed"))

    assert isinstance(charged, Declined)
    assert charged.decline.code == "invalid_token"
    assert isinstance(refunded, Refused)
    assert refunded.failure.code == "invalid_script"


# --- scripts ----------------------------------------------------------------------------------------------------------


async def test_a_chain_is_walked_one_step_per_refund(a_refund: Build) -> None:
    """Each new key takes the next step; a re-send stays on its own."""
    sandbox = a_sandbox()
    first = a_refund("refused:declined|low_balance|approve", amount=eur(500))
    tries = [first, first, *(another(first, eur(500)) for _ in range(3))]

    outcomes = [await sandbox.refund(one) for one in tries]

    assert outcomes[0] == outcomes[1]
    assert category(outcomes[1]) is FailureCategory.REFUSED
    assert category(outcomes[2]) is FailureCategory.INSUFFICIENT_BALANCE
    assert all(isinstance(outcome, Refunded) for outcome in outcomes[3:])
    assert back(sandbox, first) == 1000


@pytest.mark.parametrize("script", ["low_balance*2", "refund_low_balance*2", "low_balance*2|approve"])
async def test_a_low_balance_passes_after_so_many_tries(a_refund: Build, script: str) -> None:
    """Two refunds are refused for want of balance; the third, with a key of its own, goes through."""
    sandbox, first = a_sandbox(), a_refund(script)
    tries = [first, another(first, first.amount), another(first, first.amount)]

    outcomes = [await sandbox.refund(one) for one in tries]

    assert [category(outcome) for outcome in outcomes[:2]] == [FailureCategory.INSUFFICIENT_BALANCE] * 2
    assert isinstance(outcomes[2], Refunded)


@pytest.mark.parametrize(
    ("script", "code", "expected"),
    [
        ("refused:lost_or_stolen_card", "lost_or_stolen_card", FailureCategory.METHOD_GONE),
        ("refund_refused:refund_window_passed", "refund_window_passed", FailureCategory.TOO_OLD),
        ("refused:disputed", "disputed", FailureCategory.DISPUTED),
        ("refused:brand_new:unknown", "brand_new", FailureCategory.UNKNOWN),
        ("not_found", "resource_missing", FailureCategory.CONFIGURATION),
        ("refund_not_found", "resource_missing", FailureCategory.CONFIGURATION),
    ],
)
async def test_a_refusal_is_scripted_by_code_or_category(
    a_refund: Build, script: str, code: str, expected: FailureCategory
) -> None:
    """Codes of the reference table, categories of ours, or any code with its category."""
    sandbox, request = a_sandbox(), a_refund(script)

    outcome = await sandbox.refund(request)

    assert isinstance(outcome, Refused)
    assert (outcome.failure.code, outcome.failure.category) == (code, expected)
    assert back(sandbox, request) == 0


@pytest.mark.parametrize(
    "script",
    [
        "moon",
        "refused",
        "refused:",
        "refused:brand_new",
        "refused:brand_new:moon",
        "approve+refused:declined",
        "refused:declined+low_balance",
        "taken_back",
        "taken_back:soon",
        "taken_back:1d:brand_new",
        "lose+hang",
        "pending:100d",
        "fee:much",
        "insufficient_funds",
        "x" * 600,
        "|".join(["approve"] * 50),
    ],
)
def test_what_is_not_in_the_language_is_refused(script: str) -> None:
    """A script that is read wrong would test something else."""
    with pytest.raises(ScriptUnreadable):
        parse_refunds(script)


@pytest.mark.parametrize("script", ["unreachable", "refund_busy"])
async def test_what_is_not_sent_did_nothing_and_goes_through_next_time(a_refund: Build, script: str) -> None:
    """The same key again, and the outcome of the step applies."""
    sandbox, request = a_sandbox(), a_refund(script)

    first = await sandbox.refund(request)
    before = await sandbox.find_refund(request)
    second = await sandbox.refund(request)

    assert isinstance(first, NotSent)
    assert before == NotFound()
    assert isinstance(second, Refunded)
    assert back(sandbox, request) == 1999


@pytest.mark.parametrize(("script", "moved"), [("lose_before", 0), ("error500", 0), ("lose", 1999)])
async def test_lost_answers_raise_with_or_without_the_money(a_refund: Build, script: str, moved: int) -> None:
    """Both look the same from outside; the look-up tells, and the same key moves nothing more."""
    sandbox, request = a_sandbox(), a_refund(script)

    with pytest.raises(SandboxFault):
        await sandbox.refund(request)
    found, was = await sandbox.find_refund(request), back(sandbox, request)
    again = await sandbox.refund(request)

    assert was == moved
    assert isinstance(found, Refunded) == bool(moved)
    assert isinstance(again, Refunded)
    assert back(sandbox, request) == 1999


async def test_a_hang_outlasts_patience_after_the_money_moved(a_refund: Build) -> None:
    """Nobody answers, and yet the customer has it."""
    sandbox, request = a_sandbox(), a_refund("hang")

    outcome = await refund_guarded(sandbox, request, timeout_s=0.05)

    assert isinstance(outcome, Unknown)
    assert isinstance(await sandbox.find_refund(request), Refunded)


async def test_a_key_belongs_to_one_request(a_refund: Build) -> None:
    """The same key with another amount, charge or part is an error and moves nothing more."""
    sandbox, request = a_sandbox(), a_refund(amount=eur(500))
    await sandbox.refund(request)
    others = [{"amount": eur(501)}, {"part_id": new_id()}, {"charge_ref": "sbx_reported_b"}, {"void": True}]

    for changes in others:
        with pytest.raises(KeyReused):
            await sandbox.refund(msgspec.structs.replace(request, **changes))

    assert back(sandbox, request) == 500


# --- never more than was charged --------------------------------------------------------------------------------------


async def test_partials_sum_to_the_charge_and_no_cent_more(a_refund: Build) -> None:
    """The bank itself says no; a refusal takes nothing of what is left."""
    sandbox, first = a_sandbox(), a_refund(amount=eur(1000))

    outcomes = [await sandbox.refund(one) for one in (first, another(first, eur(1000)), another(first, eur(999)))]
    late = await sandbox.refund(another(first, eur(1)))

    assert isinstance(outcomes[0], Refunded)
    assert category(outcomes[1]) is FailureCategory.ALREADY_REFUNDED
    assert isinstance(outcomes[2], Refunded)
    assert category(late) is FailureCategory.ALREADY_REFUNDED
    assert back(sandbox, first) == 1999


async def test_a_new_file_is_opened_by_many_at_once(tmp_path: Path) -> None:
    """API and workers start together: each finds the bank open, whoever was first to make it."""
    for number in range(30):
        path = str(tmp_path / f"bank-{number}.sqlite")
        sandboxes = [a_sandbox(path=path, durable=True) for _ in range(8)]

        await asyncio.gather(*(sandbox.health() for sandbox in sandboxes))

        for sandbox in sandboxes:
            sandbox.bank.close()


async def test_many_at_once_over_one_file_let_exactly_those_pass_that_fit(tmp_path: Path, a_refund: Build) -> None:
    """Two gateways on one file, threads in each: the sum never exceeds the charge."""
    sandboxes = [a_sandbox(path=str(tmp_path / "bank.sqlite"), durable=True) for _ in range(2)]
    first = a_refund(amount=eur(300))
    tries = [first, *(another(first, eur(300)) for _ in range(19))]

    outcomes = await asyncio.gather(*(sandboxes[n % 2].refund(one) for n, one in enumerate(tries)))

    assert sum(isinstance(outcome, Refunded) for outcome in outcomes) == 6
    assert back(sandboxes[0], first) == 1800
    for sandbox in sandboxes:
        sandbox.bank.close()


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["refund", "elsewhere", "take_back", "cancel", "forward", "dispute", "win"]),
            st.integers(1, 1200),
        ),
        max_size=25,
    ),
    st.sampled_from(["approve", "pending:1h|approve|pending:1h+refused:declined|taken_back:2h", "lose|low_balance"]),
)
def test_whatever_happens_the_books_never_hold_more_than_was_charged(acts: list[tuple[str, int]], script: str) -> None:
    """Refunds of ours and of others, returns, cancellations and disputes in any order."""
    clock = Moving()
    sandbox = a_sandbox(clock=clock)
    charge_ref = f"sbx_reported_{new_name()}~{script}"
    sandbox.bank.hold(charge_ref, "inv", eur(2000))
    requests: list[RefundRequest] = []
    dispute = ""

    for act, number in acts:
        match act:
            case "refund":
                requests.append(a_part(charge_ref, eur(number)))
                asyncio.run(refund_guarded(sandbox, requests[-1]))
            case "elsewhere" | "take_back" if number % 2 or requests:
                unless_refused(sandbox, act, charge_ref, number, requests)
            case "cancel" if requests:
                asyncio.run(sandbox.cancel_refund(requests[number % len(requests)]))
            case "forward":
                clock.at += timedelta(minutes=number)
            case "dispute":
                dispute = sandbox.bank.open_dispute(charge_ref)
            case "win" if dispute:
                sandbox.bank.move_dispute(dispute, DisputeState.WON)
        total = sandbox.bank.refund_totals().by_charge.get(charge_ref)
        assert total is None or 0 <= total.back_minor + total.pending_minor <= 2000


class Moving:
    def __init__(self) -> None:
        self.at = datetime(2026, 11, 23, 9, 0, tzinfo=UTC)

    def now(self) -> datetime:
        return self.at


def a_part(charge_ref: str, amount: Money) -> RefundRequest:
    part_id = new_id()
    return RefundRequest(
        idempotency_key=f"key-{part_id}",
        part_id=part_id,
        payment_reference="inv",
        charge_ref=charge_ref,
        charged=eur(2000),
        amount=amount,
        method=Method.CARD,
        first_sent_at=datetime(2026, 11, 23, 9, 0, tzinfo=UTC),
    )


def unless_refused(
    sandbox: SandboxGateway, act: str, charge_ref: str, number: int, requests: list[RefundRequest]
) -> None:
    try:
        if act == "elsewhere":
            sandbox.bank.refund_elsewhere(charge_ref, eur(number))
        elif requests:
            part = requests[number % len(requests)]
            refund = sandbox.bank.find_refund(str(part.part_id), part.idempotency_key)
            sandbox.bank.take_back(refund.refund_id if refund else "sbr_none")
    except NotHeld:
        return


# --- authorised charges -----------------------------------------------------------------------------------------------


async def test_a_promise_is_voided_and_not_refunded(a_refund: Build) -> None:
    """An authorised charge refuses refunds, takes one void, and then nothing is left of it."""
    sandbox, refund = a_sandbox(), a_refund("authorized")
    void = msgspec.structs.replace(another(refund, refund.amount), void=True)

    outcomes = [await sandbox.refund(one) for one in (refund, void, void, another(refund, eur(1)))]

    assert category(outcomes[0]) is FailureCategory.NOT_CAPTURED
    assert isinstance(outcomes[1], Refunded)
    assert outcomes[2] == outcomes[1]
    assert category(outcomes[3]) is FailureCategory.ALREADY_REFUNDED
    total = sandbox.bank.refund_totals().by_charge[refund.charge_ref]
    assert (total.back_minor, total.voided_minor) == (0, 1999)


async def test_what_was_captured_meanwhile_is_not_voided(a_refund: Build) -> None:
    """Void instead of refund is refused with the word that says what to do instead."""
    sandbox, refund = a_sandbox(), a_refund("authorized")
    sandbox.bank.hold(refund.charge_ref, "inv", refund.charged)
    sandbox.bank.capture(refund.charge_ref)

    void = await sandbox.refund(msgspec.structs.replace(another(refund, refund.amount), void=True))
    whole = await sandbox.refund(refund)

    assert category(void) is FailureCategory.ALREADY_CAPTURED
    assert isinstance(whole, Refunded)


async def test_captures_and_voids_made_elsewhere_are_told(a_refund: Build) -> None:
    """Recoup hears of both by webhook only; neither happens twice."""
    sandbox = a_sandbox()
    refs = [a_refund("authorized").charge_ref for _ in range(2)]
    for ref in refs:
        sandbox.bank.hold(ref, "inv", eur(1999))

    sandbox.bank.capture(refs[0])
    sandbox.bank.void_elsewhere(refs[1])

    news = {event.capture.charge_ref: event.capture for event in told(sandbox) if event.capture}
    assert [news[ref].standing for ref in refs] == [CaptureState.CAPTURED, CaptureState.VOIDED]
    assert [news[ref].amount for ref in refs] == [eur(1999)] * 2
    with pytest.raises(NotHeld):
        sandbox.bank.capture(refs[1])


def test_only_reported_charges_are_held_on_somebodys_word() -> None:
    """The bank does not believe that it charged what it never charged."""
    with pytest.raises(NotHeld):
        a_sandbox().bank.hold("sbx_moon", "inv", eur(100))


# --- later ----------------------------------------------------------------------------------------------------------


async def test_a_pending_refund_counts_and_is_settled_in_time(standing_clock: Any, a_refund: Build) -> None:
    """Until then nothing else fits; then the result stands, and the look-up tells it."""
    sandbox = a_sandbox(clock=standing_clock)
    request = a_refund("pending:2d")

    first = await sandbox.refund(request)
    beside = await sandbox.refund(another(request, eur(1)))
    early = await sandbox.find_refund(request)
    standing_clock.forward(days=2)

    assert isinstance(first, Pending)
    assert category(beside) is FailureCategory.ALREADY_REFUNDED
    assert early == first
    assert isinstance(await sandbox.find_refund(request), Refunded)


async def test_a_pending_refund_that_is_refused_frees_the_money(standing_clock: Any, a_refund: Build) -> None:
    """The customer's bank says no after days; another way can be tried."""
    sandbox = a_sandbox(clock=standing_clock)
    request = a_refund("pending:2d+refused:lost_or_stolen_card|approve")
    await sandbox.refund(request)
    standing_clock.forward(days=2)

    found = await sandbox.find_refund(request)
    other = await sandbox.refund(another(request, request.amount))

    assert category(found) is FailureCategory.METHOD_GONE
    assert isinstance(other, Refunded)


async def test_a_pending_refund_can_be_canceled_and_a_finished_one_can_not(
    standing_clock: Any, a_refund: Build
) -> None:
    """Canceled, its result never comes, by no way; too late is a refusal."""
    sandbox = a_sandbox(clock=standing_clock)
    request, done = a_refund("pending:2d+taken_back:1d"), a_refund()
    never = a_refund()
    await sandbox.refund(request)
    await sandbox.refund(done)

    canceled, again = await sandbox.cancel_refund(request), await sandbox.cancel_refund(request)
    late, missing = await sandbox.cancel_refund(done), await sandbox.cancel_refund(never)
    standing_clock.forward(days=9)

    assert isinstance(canceled, Canceled)
    assert again == canceled
    assert isinstance(late, Refused)
    assert late.failure.code == "too_late"
    assert category(missing) is FailureCategory.CONFIGURATION
    assert await sandbox.find_refund(request) == canceled
    assert back(sandbox, request) == 0
    kinds = [event.kind for event in told(sandbox) if event.refund and event.refund.part_id == request.part_id]
    assert kinds == ["refund.pending", "refund.canceled"]


async def test_a_success_can_come_back(standing_clock: Any, a_refund: Build) -> None:
    """A week after the success the money is with the merchant again: told, found, counted, and free."""
    sandbox = a_sandbox(clock=standing_clock)
    request = a_refund("taken_back:7d:lost_or_stolen_card|approve")
    first = await sandbox.refund(request)
    standing_clock.forward(days=7)

    found = await sandbox.find_refund(request)
    resent = await sandbox.refund(request)
    after = await sandbox.refund(another(request, request.amount))

    assert isinstance(first, Refunded)
    assert isinstance(found, TakenBack)
    assert found.failure.category is FailureCategory.METHOD_GONE
    assert resent == first
    assert isinstance(after, Refunded)
    total = sandbox.bank.refund_totals().by_charge[request.charge_ref]
    assert (total.back_minor, total.taken_back_minor, total.refunds, total.keys) == (1999, 1999, 1, 2)
    news = [event.refund for event in told(sandbox) if event.refund and event.refund.part_id == request.part_id]
    assert [type(one.outcome) for one in news] == [Refunded, TakenBack]


async def test_a_success_can_be_taken_back_by_hand_once(a_refund: Build) -> None:
    """For tests that choose the moment themselves."""
    sandbox, request = a_sandbox(), a_refund("taken_back:9d")
    done = await sandbox.refund(request)
    assert isinstance(done, Refunded)

    sandbox.bank.take_back(done.gateway_ref, "declined")

    with pytest.raises(NotHeld):
        sandbox.bank.take_back(done.gateway_ref)
    taken = [event.refund.outcome for event in told(sandbox) if event.refund]
    assert isinstance(taken[-1], TakenBack)
    assert taken[-1].failure.category is FailureCategory.REFUSED
    assert sandbox.bank.waiting_deliveries() == 2


# --- elsewhere --------------------------------------------------------------------------------------------------------


async def test_a_refund_made_elsewhere_counts_and_is_told_without_a_part(a_refund: Build) -> None:
    """Somebody uses the bank's own dashboard: known by the charge, no part of ours; the rest stays refundable."""
    sandbox, request = a_sandbox(), a_refund(amount=eur(1500))
    sandbox.bank.hold(request.charge_ref, request.payment_reference, request.charged)

    ref = sandbox.bank.refund_elsewhere(request.charge_ref, eur(500))
    ours = await sandbox.refund(request)
    rest = await sandbox.refund(another(request, eur(1499)))

    (event,) = [one for one in told(sandbox) if one.refund and one.refund.refund_ref == ref]
    assert event.refund is not None
    assert (event.refund.part_id, event.refund.charge_ref, event.refund.amount) == (None, request.charge_ref, eur(500))
    assert isinstance(event.refund.outcome, Refunded)
    assert category(ours) is FailureCategory.ALREADY_REFUNDED
    assert isinstance(rest, Refunded)
    total = sandbox.bank.refund_totals().by_payment[request.payment_reference]
    assert (total.back_minor, total.elsewhere_minor, total.keys) == (1999, 500, 2)
    with pytest.raises(NotHeld):
        sandbox.bank.refund_elsewhere(request.charge_ref, eur(1))


@pytest.mark.parametrize(
    ("standing", "frozen"),
    [
        (DisputeState.INQUIRY, False),
        (DisputeState.OPEN, True),
        (DisputeState.LOST, True),
        (DisputeState.WON, False),
        (DisputeState.CLOSED, False),
    ],
)
async def test_disputed_money_is_not_refunded(a_refund: Build, standing: DisputeState, frozen: bool) -> None:
    """What the customer's bank took back, or has for good, does not go back a second time."""
    sandbox, request = a_sandbox(), a_refund()
    sandbox.bank.hold(request.charge_ref, "inv", request.charged)
    dispute = sandbox.bank.open_dispute(request.charge_ref)
    sandbox.bank.move_dispute(dispute, standing)

    outcome = await sandbox.refund(request)

    assert (isinstance(outcome, Refused) and outcome.failure.category is FailureCategory.DISPUTED) == frozen
    assert isinstance(outcome, Refunded) != frozen


async def test_disputes_are_told_with_what_is_known_of_them(standing_clock: Any, a_refund: Build) -> None:
    """Reference, amount, standing, reason, the day evidence is due, and the fee."""
    sandbox, request = a_sandbox(clock=standing_clock), a_refund()
    sandbox.bank.hold(request.charge_ref, "inv", request.charged)
    due = standing_clock.now() + timedelta(days=9)

    ref = sandbox.bank.open_dispute(
        request.charge_ref, eur(700), standing=DisputeState.INQUIRY, evidence_due_at=due, fee_minor=1500
    )
    sandbox.bank.move_dispute(ref, DisputeState.CLOSED)

    news = [event.dispute for event in told(sandbox) if event.dispute]
    assert [one.standing for one in news] == [DisputeState.INQUIRY, DisputeState.CLOSED]
    assert {one.dispute_ref for one in news} == {ref}
    assert (news[0].charge_ref, news[0].amount, news[0].fee) == (request.charge_ref, eur(700), eur(1500))
    assert (news[0].reason, news[0].evidence_due_at) == ("fraudulent", due)
    with pytest.raises(NotHeld):
        sandbox.bank.move_dispute("dsp_none", DisputeState.WON)


# --- webhooks ---------------------------------------------------------------------------------------------------------


async def test_every_refund_is_told_with_our_part_and_the_direct_answer(a_refund: Build) -> None:
    """Success and refusal alike; the same reference, amount, fee and reason as the answer."""
    sandbox = a_sandbox()
    requests = [a_refund("fee:30"), a_refund("refused:declined"), a_refund("duplicate_webhook")]
    answers = {one.part_id: await sandbox.refund(one) for one in requests}

    news = [event.refund for event in told(sandbox) if event.refund]

    assert {one.part_id: one.outcome for one in news} == answers
    assert {one.charge_ref for one in news} == {one.charge_ref for one in requests}
    assert sorted(each.copies for each in sandbox.bank.due_deliveries(10)) == [1, 1, 2]
    assert all(event.outcome is None and event.attempt_id is None for event in told(sandbox))


async def test_webhooks_come_late_and_out_of_order_as_scripted(standing_clock: Any, a_refund: Build) -> None:
    """A late one waits its time; shuffled, "pending" leaves after the result."""
    sandbox = a_sandbox(clock=standing_clock)
    late, shuffled = a_refund("refund_late_webhook:1h"), a_refund("pending:1s+refund_shuffled_webhooks")
    await sandbox.refund(late)
    await sandbox.refund(shuffled)
    at_once = told(sandbox)

    standing_clock.forward(seconds=1 + 2 * SHUFFLE_WINDOW_S)
    mixed = [event.kind for event in told(sandbox)]
    standing_clock.forward(hours=1)

    assert at_once == []
    assert mixed == ["refund.succeeded", "refund.pending"]
    assert {event.refund.part_id for event in told(sandbox) if event.refund} == {late.part_id, shuffled.part_id}
