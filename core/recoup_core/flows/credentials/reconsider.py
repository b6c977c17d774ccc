"""A case decides anew because the customer's means of payment changed: blocked, renewed, replaced or added.

What to do is read off the case file alone, so that any number of changes, in any order, lead to the same plan.
"""

from collections.abc import Collection, Sequence
from datetime import datetime
from typing import Final

import asyncpg
import msgspec

from recoup_core.domain.decline import Retryable
from recoup_core.domain.happened import TaskKind
from recoup_core.domain.payment import BlockedBecause, Credential, CredentialRole, PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.collect import BY_HAND, CUSTOMER
from recoup_core.flows.context import Context, locked_cases
from recoup_core.flows.credentials.trying import forbidden_now, reopen, try_now
from recoup_core.flows.draft import SYSTEM, Draft
from recoup_core.flows.planning import accompany, open_task, plan_next, skip_retry
from recoup_core.flows.reports import ReportedCredential, account_key, credential_of, renewed_account
from recoup_core.flows.situation import facts_of, situation_of
from recoup_core.flows.upcoming.draft import put_charges
from recoup_core.rules.deciding.decide import Retry, decide_retry
from recoup_core.rules.engine.texts import Pinned, UnreadablePolicy
from recoup_core.storage.changes import Changes, JobRef, NewJob
from recoup_core.storage.credentials import payments_asked_for

RECONSIDER: Final = "reconsider"
"""Job kind: decide anew, since the customer's means of payment changed. Subject: the payment."""

MAX_CASES: Final = 200
"""Cases of one customer that decide anew at once; more would find out when their retry is due."""

NEW_CREDENTIAL: Final = "a new credential"
"""Why a case went on, or left out what was planned."""


async def put_reconsidering(
    connection: asyncpg.Connection,
    changes: Changes,
    merchant_id: str,
    customers: Collection[str],
    now: datetime,
    correlation_id: str | None,
) -> None:
    """Have every case decide anew in which these customers are still asked to pay, and charges to come."""
    for payment_id in await payments_asked_for(connection, merchant_id, customers, MAX_CASES):
        changes.add(NewJob(kind=RECONSIDER, subject_id=payment_id, due_at=now, correlation_id=correlation_id))
    await put_charges(connection, changes, merchant_id, customers, now, correlation_id)


async def run_reconsider(context: Context, refs: Sequence[JobRef]) -> None:
    """Decide anew in each of these cases, under the locks of its payment and of the accounts behind it."""
    for ref in refs:
        async with locked_cases(context, [ref.subject_id], accounts=True) as locked:
            draft = locked.draft(ref.subject_id, SYSTEM, ref.correlation_id)
            if draft is not None:
                reconsider(draft, locked.policy(draft))
            locked.changes.finish(ref)


def reconsider(draft: Draft, policy: Pinned) -> None:
    """Bring a case's plan in line with the customer's means of payment as they are now.

    A retry planned on one that is blocked is left out. One that was given or renewed since the last try is tried at
    once where the rules allow. Whatever else comes next the case's own policy decides; a case that is paused, or whose
    attempt is still out, sees it then.
    """
    if draft.file.payment.state is not PaymentState.OWED or draft.file.live_attempt is not None:
        return
    _leave_out_blocked(draft)
    fresh = _given_since_last_try(draft)
    if draft.file.case.state is CaseState.OPEN:
        if fresh is not None and not _may_wait(draft, fresh):
            use_new(draft, fresh, policy)
        else:
            plan_next(draft, policy)
    elif draft.file.case.state is CaseState.EXHAUSTED and fresh is not None and _would_try(draft, fresh, policy):
        reopen(draft, NEW_CREDENTIAL)
        use_new(draft, fresh, policy)


def use_new(draft: Draft, credential: Credential, policy: Pinned) -> None:
    """Try a credential that was just given at once, where an open case's rules allow; else decide anew with it."""
    if draft.file.case.state is not CaseState.OPEN or draft.file.live_attempt is not None:
        accompany(draft)  # paused, or an answer is awaited: the next decision sees it
        return
    if credential.role is CredentialRole.PRIMARY:
        if try_now(draft, credential, BY_HAND, CUSTOMER) is None:
            return
        skip_retry(draft, NEW_CREDENTIAL)  # what was planned is for the old one
    plan_next(draft, policy)


def take_credential(draft: Draft, given: ReportedCredential) -> Credential:
    """Store a credential that the customer or a person gives, or renew it where it is known.

    Whatever had blocked it is lifted: who gives it again wants it to be used. A new primary goes before older ones.
    """
    payment = draft.file.payment
    known = next((c for c in draft.file.credentials if (c.gateway, c.token) == (given.gateway, given.token)), None)
    if known is None:
        credential = credential_of(payment.merchant_id, payment.customer.ref, given, draft.now)
        credential = msgspec.structs.replace(credential, renewed_at=draft.now)
        draft.add_credential(credential)
        return credential
    nameless = known.account_key == account_key(known.gateway, known.token, None)
    account = known.account_key if nameless else renewed_account(known, given.fingerprint, given.par)
    return draft.change_credential(
        known,
        role=given.role,
        valid=True,
        blocked_because=None,
        account_key=account,
        par=given.par or known.par,
        expires_on=given.expires_on,
        renewed_at=draft.now,
    )


def _leave_out_blocked(draft: Draft) -> None:
    planned = draft.file.planned_retry
    on = draft.file.credential(planned.credential_id) if planned is not None else None
    if planned is None or on is None or on.valid:
        return
    draft.skip_step(planned, "the credential is no longer valid")
    if on.blocked_because is BlockedBecause.SUSPECTED_FRAUD:
        reason = "the network warns of fraud on the means of payment that the next retry was planned on"
        open_task(draft, TaskKind.MANUAL_REVIEW, reason)


def _given_since_last_try(draft: Draft) -> Credential | None:
    """Return what was given or renewed last, primaries first, unless something was tried since."""
    tried_at = max((attempt.made_at for attempt in draft.file.attempts), default=draft.file.payment.created_at)
    given = [(c.role is CredentialRole.PRIMARY, c.renewed_at, c) for c in draft.file.usable() if c.renewed_at]
    fresh = [each for each in given if each[1] > tried_at]
    return max(fresh, key=lambda each: each[:2])[2] if fresh else None


def _may_wait(draft: Draft, renewed: Credential) -> bool:
    """Whether the plan stands: a try on it is due already, or the same token goes on and was not the trouble."""
    planned = draft.file.planned_retry
    if planned is not None and planned.credential_id == renewed.id and planned.due_at <= draft.now:
        return True
    declined = draft.file.last_declined
    soft = declined is not None and declined.decline is not None and declined.decline.retryable is Retryable.YES
    known_before = declined is not None and renewed.created_at <= declined.made_at
    reported_with = renewed.created_at <= draft.file.payment.created_at
    return planned is not None and soft and (known_before or reported_with)


def _would_try(draft: Draft, fresh: Credential, policy: Pinned) -> bool:
    """Whether an exhausted case has anything to try again: it is not reopened only to end once more."""
    if fresh.role is CredentialRole.PRIMARY and forbidden_now(draft, fresh) is None:
        return True
    if isinstance(policy, UnreadablePolicy):
        return False
    decision = decide_retry(policy, facts_of(draft.file, draft.now), situation_of(draft.file, draft.now))
    return isinstance(decision.outcome, Retry)
