"""The notices of a charge: decided anew whenever something about it changes; what is planned follows the decision."""

from collections.abc import Mapping
from typing import Any, Final

import msgspec

from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.upcoming import ChargeFile, ChargeState, Notice, NoticeEvent, last_day_of
from recoup_core.flows.upcoming.draft import ChargeDraft
from recoup_core.rules.deciding.notice import (
    NoticeDecision,
    Notices,
    NoticeSituation,
    WantedNotice,
    decide_notice,
    notice_days,
)
from recoup_core.rules.engine.texts import UnreadablePolicy
from recoup_core.rules.facts import CustomerFacts, NoticeFacts, PolicyKind, SubscriptionFacts
from recoup_core.storage.changes import StoredDecision

UNREADABLE: Final = "the policy that it keeps can't be read any more"


def notice_facts(file: ChargeFile, now: Any) -> NoticeFacts:
    """Return what conditions may test about this charge."""
    charge, customer = file.charge, file.charge.customer
    expires = None if file.expires_on is None else last_day_of(file.expires_on)
    days = notice_days(now, charge.charge_at, expires, zone=file.customer_zone, country=file.country)
    plan, interval = charge.subscription.get("plan"), charge.subscription.get("interval")
    return NoticeFacts(
        amount=charge.amount,
        method=charge.method,
        network=charge.network,
        gateway=charge.gateway,
        country=file.country,
        segment=customer.segment,
        charge_in_days=days.charge_in_days,
        card_expires_in_days=days.card_expires_in_days,
        card_expires_before_charge=days.card_expires_before_charge,
        has_backup=file.has_backup,
        customer=CustomerFacts(
            tier=customer.tier,
            tenure_days=customer.tenure_days,
            vulnerable=file.vulnerable,
            country=file.country,
            segment=customer.segment,
        ),
        subscription=SubscriptionFacts(plan=plan, interval=interval) if charge.subscription else None,
    )


def plan_notices(draft: ChargeDraft) -> None:
    """Decide what is still to be said and plan, move and leave out until the notices say so.

    A charge that no policy covers has none. A decision that changes nothing is not written down, except the first.
    """
    policy, file = draft.policy, draft.file
    if policy is None or file.charge.state is not ChargeState.ANNOUNCED:
        return
    if isinstance(policy, UnreadablePolicy):
        for notice in file.planned:
            draft.skip(notice, UNREADABLE)
        return
    facts = notice_facts(file, draft.now)
    situation = _situation(draft)
    decision = decide_notice(policy, facts, situation)
    wanted = decision.outcome.steps if isinstance(decision.outcome, Notices) else ()
    planned, wants = {notice.key: notice for notice in file.planned}, {each.key: each for each in wanted}
    moved = [(planned[key], each) for key, each in wants.items() if key in planned and _differs(draft, planned, each)]
    fresh = [each for key, each in wants.items() if key not in planned]
    gone = [notice for key, notice in planned.items() if key not in wants]
    if not (fresh or moved or gone) and file.notices:
        return
    stored = _keep(draft, decision, facts, situation)
    reasons = {trace.key: trace.because[-1] for trace in decision.explanation.steps if trace.because}
    for notice in gone:
        draft.skip(notice, reasons.get(notice.key, f"the rule {decision.rule!r} does not want it"))
    for notice, to in moved:
        changed = draft.move_notice(
            notice, NoticeEvent.MOVE, due_at=to.at, latest_at=to.latest, detail=_as_stored(to.detail),
            held_until=None, held_because=None,
        )  # fmt: skip
        draft.wake(changed, changed.due_at)
    _plan(draft, fresh, stored)


def _situation(draft: ChargeDraft) -> NoticeSituation:
    file = draft.file
    return NoticeSituation(
        now=draft.now,
        announced_at=file.charge.announced_at,
        charge_at=file.charge.charge_at,
        card_expires=None if file.expires_on is None else last_day_of(file.expires_on),
        settled=tuple(dict.fromkeys(notice.key for notice in file.notices if notice.had_turn)),
        customer_zone=file.customer_zone,
        country=file.country,
    )


def _differs(draft: ChargeDraft, planned: Mapping[str, Notice], wanted: WantedNotice) -> bool:
    """Whether a planned notice must change; one that is due stays due, and one that is held stays held."""
    notice = planned[wanted.key]
    waits = notice.held_until is not None and wanted.at <= notice.due_at <= wanted.latest
    same_time = notice.due_at == wanted.at or waits or (notice.due_at <= draft.now and wanted.at <= draft.now)
    return not same_time or notice.latest_at != wanted.latest or dict(notice.detail) != _as_stored(wanted.detail)


def _as_stored(detail: Mapping[str, Any]) -> dict[str, Any]:
    return {name: list(value) if isinstance(value, tuple) else value for name, value in detail.items()}


def _keep(
    draft: ChargeDraft, decision: NoticeDecision, facts: NoticeFacts, situation: NoticeSituation
) -> StoredDecision:
    """Write down what was decided, with everything to decide it once more (promise 9)."""
    charge = draft.file.charge
    assert charge.policy_digest is not None  # the decision was made with its text
    stored = StoredDecision(
        id=new_id(),
        merchant_id=charge.merchant_id,
        charge_id=charge.id,
        kind=PolicyKind.NOTICE,
        policy_digest=charge.policy_digest,
        rule=decision.rule,
        facts=msgspec.Raw(msgspec.json.encode(facts)),
        situation=msgspec.Raw(msgspec.json.encode(situation)),
        outcome=msgspec.Raw(msgspec.json.encode(decision.outcome)),
        explanation=msgspec.Raw(msgspec.json.encode(decision.explanation)),
        decided_at=draft.now,
    )
    draft.changes.add(stored)
    return stored


def _plan(draft: ChargeDraft, fresh: list[WantedNotice], stored: StoredDecision) -> None:
    told = []
    for wanted in fresh:
        notice = Notice(
            id=new_id(),
            merchant_id=draft.file.charge.merchant_id,
            charge_id=draft.file.charge.id,
            key=wanted.key,
            kind=wanted.kind,
            due_at=wanted.at,
            latest_at=wanted.latest,
            rule=stored.rule,
            decision_id=stored.id,
            detail=_as_stored(wanted.detail),
            created_at=draft.now,
        )
        draft.add(notice)
        told.append({"notice": str(notice.id), "key": notice.key, "due_at": notice.due_at.isoformat()})
    if told:
        draft.tell(EventKind.NOTICE_PLANNED, rule=stored.rule, notices=told)
