"""Another route is no fresh start: whatever policies say, a card is tried as often as its network allows in all."""

from datetime import UTC, datetime, timedelta
from itertools import cycle, islice
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from recoup_core.domain.attempt import Attempt, AttemptState, Origin
from recoup_core.domain.capture import CaptureState
from recoup_core.domain.casefile import CaseFile
from recoup_core.domain.decline import DeclineSource
from recoup_core.domain.ids import new_id
from recoup_core.domain.money import Money
from recoup_core.domain.payment import (
    Credential,
    CredentialRole,
    Customer,
    Method,
    Network,
    Payment,
    PaymentState,
    may_be_one_account,
)
from recoup_core.domain.recovery import CaseState, RecoveryCase
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.requests import request_refund
from recoup_core.flows.situation import situation_of
from recoup_core.ports import Declined, Succeeded
from recoup_core.reference import classify
from recoup_core.rules.deciding.decide import Retry, act, check_account
from recoup_core.rules.deciding.limits import Allowed, LimitQuestion, PastAttempt, check_limits
from recoup_core.rules.language.schema import RetrySpec, Rule

START = datetime(2026, 11, 23, tzinfo=UTC)
GATEWAYS = ("a", "b", "c")
TRIES = 50
"""More than any network allows on one card in a month."""
CARDS = {
    "x": (CredentialRole.PRIMARY, Network.VISA),
    "y": (CredentialRole.BACKUP, Network.VISA),
    "z": (CredentialRole.PRIMARY, Network.MASTERCARD),
}
"""A customer's real cards; that the backup is another card than the primary is the merchant's word."""

CASCADE = """
kind: retry
name: cascade
applies_to: {method: card}
rules:
  - {name: elsewhere, when: {retryable: yes, attempt: 1}, retry: {after: [1h], gateway: b}}
  - {name: second card, when: {retryable: yes, attempt: 2}, retry: {after: [1h], credential: backup, gateway: c}}
  - {name: again, when: {retryable: yes}, retry: {after: [1d, 1d, 1d, 1d, 1d]}}
  - {name: elsewhere after all, retry: {after: [1h], gateway: b}, otherwise: {stop: not_retryable}}
examples:
  - {given: {decline: insufficient_funds, retryable: yes}, expect: elsewhere}
  - {given: {decline: insufficient_funds, retryable: yes, attempt: 2}, expect: second card}
  - {given: {decline: insufficient_funds, retryable: yes, attempt: 3}, expect: again}
  - {given: {retryable: no}, expect: elsewhere after all}
"""


def credential(card: str, gateway: str, *, par: bool, number: int = 0, **fields: Any) -> Credential:
    """A card stored at a gateway; fingerprints are each gateway's own."""
    role, network = CARDS[card]
    known: dict[str, Any] = {"role": role, "network": network, "par": f"par-{card}" if par else None}
    known["account_key"] = f"par:{card}" if par else f"fp:{gateway}-{card}"
    return Credential(
        id=new_id(),
        merchant_id="default",
        customer_ref="cus",
        gateway=gateway,
        token=f"{gateway}-{card}",
        method=Method.CARD,
        created_at=START + timedelta(seconds=number),
        **(known | fields),
    )


def a_file(credentials: list[Credential]) -> CaseFile:
    """A payment that has just failed on the first of them."""
    payment = Payment(
        id=new_id(),
        merchant_id="default",
        reference="inv",
        customer=Customer(ref="cus"),
        amount_minor=1999,
        currency="EUR",
        gateway="a",
        method=Method.CARD,
        first_failed_at=START,
        created_at=START,
    )
    case = RecoveryCase(
        id=new_id(), merchant_id="default", payment_id=payment.id, policy_name="", policy_digest="", opened_at=START
    )
    file = CaseFile(payment=payment, case=case, credentials=tuple(credentials))
    return file.with_attempt(an_attempt(file, credentials[0], START, "insufficient_funds"))


def an_attempt(file: CaseFile, on: Credential, at: datetime, code: str) -> Attempt:
    """A try that was declined."""
    return Attempt(
        id=new_id(),
        merchant_id="default",
        payment_id=file.payment.id,
        case_id=file.case.id,
        number=len(file.attempts) + 1,
        origin=Origin.REPORTED,
        gateway=on.gateway,
        credential_id=on.id,
        account_key=on.account_key,
        method=on.method,
        network=on.network,
        amount_minor=1999,
        currency="EUR",
        state=AttemptState.DECLINED,
        decline=classify(DeclineSource.STRIPE, code, network=on.network),
        created_at=at,
        submitted_at=at,
        finished_at=at,
    )


SPECS = st.builds(
    RetrySpec,
    after=st.sampled_from([(timedelta(minutes=1),) * 40, (timedelta(hours=6),) * 40, (timedelta(days=1),) * 40]),
    credential=st.sampled_from(["primary", "backup"]),
    gateway=st.sampled_from([None, *GATEWAYS]),
)
HELD = st.lists(
    st.tuples(st.sampled_from(sorted(CARDS)), st.sampled_from(GATEWAYS), st.booleans()),
    min_size=2,
    max_size=7,
    unique_by=lambda held: held[:2],
)
CODES = st.sampled_from(["insufficient_funds", "generic_decline", "processing_error", "try_again_later"])


@settings(max_examples=80, deadline=None)
@given(held=HELD, rules=st.lists(st.tuples(SPECS, CODES), min_size=1, max_size=4))
def test_no_schedule_over_gateways_exceeds_what_a_network_allows(held: Any, rules: Any) -> None:
    """Each try on a real card, at whichever gateway, is one that the strictest limit allows given all before it."""
    credentials = [credential(card, gate, par=par, number=n) for n, (card, gate, par) in enumerate(held)]
    cards = {one.id: card for one, (card, _, _) in zip(credentials, held, strict=True)}
    file, now = a_file(credentials), START
    for number, (spec, code) in enumerate(islice(cycle(rules), TRIES)):
        outcome, _ = act(Rule(name=f"rule {number}", when=None, action=spec, line=1), situation_of(file, now))
        if not isinstance(outcome, Retry):
            continue
        now = max(now, outcome.at)
        on = next(one for one in credentials if one.id == outcome.credential_id)
        allowed_at, _ = check_account(situation_of(file, now), on, now)
        assert allowed_at == now  # under lock the limits say what they said when it was planned
        require_allowed(file, cards, on, now)
        file = file.with_attempt(an_attempt(file, on, now, code))


def require_allowed(file: CaseFile, cards: dict[UUID, str], on: Credential, at: datetime) -> None:
    """Ask the limits once more, knowing what nobody else does: which real card each token stands for."""
    history = tuple(
        PastAttempt(
            at=a.made_at,
            amount_minor=1999,
            currency="EUR",
            payment_id=a.payment_id,
            succeeded=False,
            category=a.decline.category,
            source=a.decline.source,
            code=a.decline.code,
        )
        for a in file.attempts
        if a.decline is not None and a.credential_id is not None and cards[a.credential_id] == cards[on.id]
    )
    question = LimitQuestion(
        at=at,
        method=Method.CARD,
        network=CARDS[cards[on.id]][1],
        amount_minor=1999,
        currency="EUR",
        payment_id=file.payment.id,
        acquirer_country=None,
        history=history,
    )
    verdict = check_limits(question)
    assert isinstance(verdict, Allowed)
    assert verdict.at == at


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (credential("x", "a", par=False), credential("x", "b", par=False), True),
        (credential("x", "a", par=True), credential("x", "b", par=True), True),
        (credential("x", "a", par=False), credential("y", "b", par=False), False),
        (credential("x", "a", par=False), credential("z", "b", par=False), False),
        (credential("x", "a", par=True), credential("z", "b", par=True), False),
        (credential("x", "a", par=True), credential("x", "b", par=False), True),
        (credential("x", "a", par=False), credential("x", "a", par=False, account_key="fp:other"), False),
        (credential("x", "a", par=False, issuer_country="DE"),
         credential("x", "b", par=False, issuer_country="FR"), False),
        (credential("x", "a", par=False, network=Network.OTHER), credential("x", "b", par=False), True),
        (credential("x", "a", par=False, network=None), credential("z", "b", par=False), True),
    ],
)  # fmt: skip
def test_what_may_be_one_card(one: Credential, other: Credential, same: bool) -> None:
    """Without proof of difference two tokens at two gateways are one account; within a gateway fingerprints tell."""
    assert may_be_one_account(one, other) is same
    assert may_be_one_account(other, one) is same


async def test_a_final_decline_holds_for_the_same_card_at_another_gateway(market_with: Any) -> None:
    """What the issuer called final is not tried elsewhere: the card may be the same."""
    market = await market_with(CASCADE)
    stolen = market.report(code="stolen_card").attempts

    opened = await market.open(market.credential("card"), market.credential("card", "b"), attempts=stolen)

    assert opened.next_step is None
    other = market.credential("card", "b", network=Network.MASTERCARD)
    opened = await market.open(market.credential("card"), other, attempts=stolen)
    assert opened.next_step is not None
    assert opened.next_step.gateway == "b"


async def test_one_payment_goes_over_three_gateways_with_one_live_attempt(market_with: Any, backup: Any) -> None:
    """Primary at a, the same card at b, the second card at c: one budget of attempts, one at a time, then back."""
    market = await market_with(CASCADE)
    cards = (market.credential("x"), market.credential("x", "b"), market.credential("y", "c", role=backup))
    opened = await market.open(*cards)
    for _ in range(3):
        await market.day(1.1)

    file = await market.file(opened.payment.id)
    assert [a.gateway for a in file.attempts] == ["a", "b", "c", "a"]
    assert [a.number for a in file.attempts] == [1, 2, 3, 4]
    assert [g.requests[0].debt_ref for g in market.gateways.values()] == ["pi_0", None, None]


async def test_the_payments_own_gateway_comes_first_where_a_policy_names_none(market: Any) -> None:
    """A card stored at two gateways is tried where the payment failed, unless the policy says another place."""
    for order in ((0, 1), (1, 0)):
        cards = [market.credential("x"), market.credential("x", "b")]
        opened = await market.open(*(cards[n] for n in order))
        assert opened.next_step is not None
        assert opened.next_step.gateway == "a"


async def test_money_stays_with_the_gateway_that_took_it(market_with: Any) -> None:
    """Collected at b, and late at a as well: both are booked where they are, and refunds go back the same way."""
    refunds = (
        "kind: refund\nname: all\napplies_to: {purpose: refund}\nrules:\n"
        "  - {name: pays, approve: {within: 400d}, otherwise: {deny: too_old}}\n"
        "examples:\n  - {given: {amount: {EUR: 5.00}}, expect: pays}\n"
    )
    market = await market_with(CASCADE, refunds)
    opened = await market.open(market.credential("x"), market.credential("x", "b"))
    market.b.answers = [Succeeded(gateway_ref="b_pi", amount=Money(1999, "EUR"), try_ref="b_1")]
    await market.day(0.1)
    (paid,) = await market.told("payment.paid")
    assert paid["left_open"] == [{"gateway": "a", "gateway_ref": "pi_0"}]

    await market.succeeded("pi_0", try_ref="late")  # the customer paid what was left open at a

    assert await market.tasks() == ["overcollected"]
    captures = await market.captures(opened.payment.id)
    assert [(c.gateway, c.gateway_ref, c.state) for c in captures] == [
        ("b", "b_pi", CaptureState.CAPTURED), ("a", "pi_0", CaptureState.CAPTURED),
    ]  # fmt: skip
    ask = RefundAsk(payment_id=opened.payment.id, amount_minor=3998, currency="EUR", reason="requested_by_customer")
    parts = (await request_refund(market.context, ask, market.by())).parts
    assert {(part.gateway, part.capture_id) for part in parts} == {(c.gateway, c.id) for c in captures}
    await market.books_hold()


async def test_a_webhook_of_another_gateway_counts_for_that_gateway(market_with: Any, decline: Any) -> None:
    """The customer pays on the object that we left at b: the money is at b, though the debt is a's."""
    market = await market_with(CASCADE)
    opened = await market.open(market.credential("x"), market.credential("x", "b"))
    market.b.answers = [Declined(decline=decline(), gateway_ref="b_pi", try_ref="b_1")]
    await market.day(0.1)
    own = (await market.file(opened.payment.id)).attempts[-1]

    await market.succeeded("b_pi", try_ref="b_2", gateway="b", attempt_id=own.id)

    file = await market.file(opened.payment.id)
    assert (file.payment.state, file.case.state) == (PaymentState.PAID, CaseState.RECOVERED)
    assert [c.gateway for c in await market.captures(opened.payment.id)] == ["b"]
    await market.books_hold()
