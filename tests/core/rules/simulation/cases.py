"""Past cases made up for simulation: decided by a real text, told as history tells them."""

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import msgspec

from recoup_core.domain.decline import Decline, DeclineCategory, DeclineSource, Retryable
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Credential, CredentialRole, Method, Network
from recoup_core.rules.deciding.decide import Retry, Situation, decide_retry
from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import RETRY
from recoup_core.rules.language.schema import parse_policy
from recoup_core.rules.sets.simulation import SimulationPlan, SimulationReport, Simulator, TextIn
from recoup_core.rules.study.history import HistoryCase, HistoryDecision

START = datetime(2026, 3, 2, 10, tzinfo=UTC)

OLD = """
kind: retry
name: cards
applies_to: {method: card}
rules:
  - {name: lost cards, when: {decline: lost_or_stolen}, stop: not_retryable}
  - {name: wait, when: {decline: issuer_generic}, retry: {after: [1d, 2d, 3d]}}
  - {name: give up, stop: exhausted}
examples:
  - {given: {decline: lost_or_stolen}, expect: lost cards}
  - {given: {}, expect: wait}
  - {given: {decline: fraud}, expect: give up}
"""


def simulated(cases: Sequence[HistoryCase], *new: str, others: Sequence[str] = ()) -> SimulationReport:
    """What these texts would change in these cases."""
    plan = SimulationPlan(
        new=tuple(TextIn(source=f"new{number}.yaml", text=text) for number, text in enumerate(new)),
        others=tuple(TextIn(source=f"live{number}.yaml", text=text) for number, text in enumerate(others)),
    )
    return Simulator(plan)(cases)


def a_case(
    *declines: str,
    name: str = "case-1",
    text: str = OLD,
    result: str = "exhausted",
    amount_minor: int = 4900,
    currency: str = "EUR",
    made: bool = True,
    **facts: Any,
) -> HistoryCase:
    """A case that failed so often, each retry exactly when it was planned; `made` False: nobody made them."""
    compiled = compile_policy(parse_policy(text, source="old.yaml"), engine=EngineChoice.CLOSURES)
    decisions: list[HistoryDecision] = []
    uses: dict[str, int] = {}
    now = START
    for number, decline in enumerate(declines or ("issuer_generic",), 1):
        given = {"decline": decline, "attempt": number, "amount": Money(amount_minor, currency), **facts}
        known = RETRY.given(RETRY.baseline, given)
        situation = a_situation(now, decline, uses, Money(amount_minor, currency))
        decision = decide_retry(compiled, known, situation)
        decisions.append(
            HistoryDecision(
                at=now,
                rule=decision.rule,
                facts=msgspec.json.encode(known).decode(),
                situation=msgspec.json.encode(situation).decode(),
                outcome=msgspec.json.encode(decision.outcome).decode(),
            )
        )
        if not isinstance(decision.outcome, Retry):
            break
        if made:
            uses = {**uses, decision.rule: uses.get(decision.rule, 0) + 1}
        now = decision.outcome.at
    return HistoryCase(
        case=name,
        kind="retry",
        policy=compiled.policy.name,
        digest=compiled.digest,
        amount_minor=amount_minor,
        currency=currency,
        result=result,
        recovered_at=now if result == "recovered" else None,
        decisions=tuple(decisions),
    )


def a_situation(now: datetime, decline: str, uses: dict[str, int], amount: Money) -> Situation:
    """What timing needs of a case with one good Visa card."""
    return Situation(
        now=now,
        payment_id=UUID(int=1),
        amount=amount,
        first_failed_at=START,
        last_failed_at=now,
        last_decline=Decline(
            code="generic_decline",
            source=DeclineSource.STRIPE,
            category=DeclineCategory(decline),
            retryable=Retryable.YES,
        ),
        last_account="tok_secret",
        credentials=(
            Credential(
                id=UUID(int=2),
                merchant_id="default",
                customer_ref="anna@example.com",
                gateway="sandbox",
                token="tok_secret",
                gateway_customer="cus_secret",
                account_key="tok_secret",
                method=Method.CARD,
                network=Network.VISA,
                role=CredentialRole.PRIMARY,
                created_at=START - timedelta(days=100),
            ),
        ),
        history={"tok_secret": ()},
        acquirer_country=None,
        uses=uses,
        customer_zone="Europe/Berlin",
        country="DE",
        seed="seed",
    )
