"""A try at once, in place of what was planned: asked for by a person, or called for by a new means of payment."""

from datetime import datetime

import msgspec

from recoup_core.domain.decline import Retryable
from recoup_core.domain.happened import EventKind
from recoup_core.domain.payment import Credential
from recoup_core.domain.recovery import CaseEvent
from recoup_core.flows.draft import Draft
from recoup_core.flows.outcomes import ASKING_WHAT_NEXT
from recoup_core.flows.planning import plan_by_hand
from recoup_core.flows.situation import situation_of
from recoup_core.rules.deciding.decide import Retry, check_account, is_last_account


class NotNow(msgspec.Struct, frozen=True):
    """Promise 6 allows no try at once: neither a network limit nor a final decline is overruled."""

    because: str
    possible_at: datetime | None = None
    """When it will be allowed, where that is known."""


def forbidden_now(draft: Draft, credential: Credential) -> NotNow | None:
    """Return why a try on the credential may not be made at once; None where it may."""
    situation = situation_of(draft.file, draft.now)
    final = situation.last_decline.retryable is Retryable.NO
    if final and is_last_account(situation, credential):
        return NotNow(f"the decline {situation.last_decline.code} is final for this account")
    allowed_at, findings = check_account(situation, credential, draft.now)
    if allowed_at is not None and allowed_at <= draft.now:
        return None
    rules = ", ".join(sorted({finding.rule for finding in findings}))
    return NotNow(f"network limits forbid an attempt now: {rules}", allowed_at)


def try_now(draft: Draft, credential: Credential, rule: str, planned_by: str) -> NotNow | None:
    """Plan a try at once in place of whatever was planned, if it may be made; else change nothing and say why."""
    refusal = forbidden_now(draft, credential)
    if refusal is None:
        retry = Retry(at=draft.now, credential_id=credential.id, gateway=credential.gateway)
        plan_by_hand(draft, retry, rule, planned_by)
    return refusal


def reopen(draft: Draft, because: str) -> None:
    """Let an exhausted case go on: what it had stopped for has changed."""
    draft.move_case(CaseEvent.REOPEN, stop_reason=None)
    draft.tell(EventKind.CASE_REOPENED, because=because)
    draft.close_tasks(ASKING_WHAT_NEXT, f"the case went on: {because}")
