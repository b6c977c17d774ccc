"""A policy's backup, looked for at the gateways that keep the customer's means of payment.

Only where the case's own policy would try a backup now and none is known here: nobody's other card is touched
otherwise. Each gateway is asked once a day for a case at most, outside any transaction.
"""

from collections.abc import Mapping, Sequence
from datetime import timedelta
from typing import Final

import structlog

from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import Credential, CredentialRole, PaymentState
from recoup_core.domain.recovery import CaseState
from recoup_core.flows.context import Context, Locked, locked_cases
from recoup_core.flows.credentials.asking import list_guarded
from recoup_core.flows.credentials.trying import reopen
from recoup_core.flows.credentials.wanted import FIND_BACKUPS, lacks_backup, sources, wants_backup
from recoup_core.flows.draft import POLICY, SYSTEM, Draft
from recoup_core.flows.guard import Unknown
from recoup_core.flows.planning import plan_next, skip_retry
from recoup_core.flows.reports import account_key
from recoup_core.flows.situation import facts_of, situation_of
from recoup_core.ports import StoredCredential
from recoup_core.rules.deciding.decide import Retry, decide_retry
from recoup_core.rules.engine.texts import Pinned, UnreadablePolicy
from recoup_core.storage.changes import JobRef
from recoup_core.storage.credentials import Search, keep_search, searches

ASK_AGAIN: Final = timedelta(days=1)
"""How long a gateway's answer about a case stands; a case decides anew several times a day at most."""

WAITS: Final = (timedelta(minutes=1), timedelta(minutes=10), timedelta(hours=1))
"""Waits before a gateway that could not be asked is asked again; then it is given up until `ASK_AGAIN` is over."""

MAX_GATEWAYS: Final = 5
"""Gateways that are asked for one case."""

FOUND: Final = "a backup was found"
"""Why a case went on, or left out what was planned."""

Answers = Mapping[str, Sequence[StoredCredential] | Unknown]
"""What each gateway said that was asked."""

log = structlog.get_logger(__name__)


async def run_find_backups(context: Context, refs: Sequence[JobRef]) -> None:
    """Ask the gateways for each of these payments, keep what is new, and decide anew with it."""
    for ref in refs:
        wanted = await _wanted(context, ref)
        answers = {name: await list_guarded(context.gateways[name], customer) for name, customer in wanted.items()}
        await _take_in(context, ref, wanted, answers)


async def _wanted(context: Context, ref: JobRef) -> Mapping[str, str]:
    """Return the gateways to be asked now, each with its own name of the customer; none where nobody needs them."""
    async with locked_cases(context, [ref.subject_id]) as locked:
        draft = locked.draft(ref.subject_id, SYSTEM, ref.correlation_id)
        if draft is None or not _lacking(draft, locked.policy(draft)):
            return {}
        known = await searches(locked.connection, draft.file.case.id)
        due = {name: customer for name, customer in sources(draft).items() if _is_due(known.get(name), locked)}
        return dict(list(due.items())[:MAX_GATEWAYS])


def _lacking(draft: Draft, policy: Pinned) -> bool:
    """Whether the case would still try a backup, and has none."""
    file = draft.file
    running = file.case.state in (CaseState.OPEN, CaseState.PAUSED, CaseState.EXHAUSTED)
    if not running or file.payment.state is not PaymentState.OWED or isinstance(policy, UnreadablePolicy):
        return False
    return lacks_backup(draft) and wants_backup(policy, facts_of(file, draft.now))


def _is_due(search: Search | None, locked: Locked) -> bool:
    return search is None or search.asked_at is None or search.asked_at <= locked.now - ASK_AGAIN


async def _take_in(context: Context, ref: JobRef, asked: Mapping[str, str], answers: Answers) -> None:
    async with locked_cases(context, [ref.subject_id], accounts=True) as locked:
        draft = locked.draft(ref.subject_id, SYSTEM, ref.correlation_id)
        if draft is None or not answers:
            locked.changes.finish(ref)
            return
        wait = await _keep_searches(locked, draft, answers)
        if wait is None:
            locked.changes.finish(ref)
        else:
            draft.put_job(FIND_BACKUPS, ref.subject_id, locked.now + wait)
        policy = locked.policy(draft)
        found = [
            credential
            for name, listed in answers.items()
            if not isinstance(listed, Unknown)
            for credential in _add_new(draft, name, asked[name], listed)
        ]
        if found:
            _decide_with(draft, policy, found)


async def _keep_searches(locked: Locked, draft: Draft, answers: Answers) -> timedelta | None:
    """Write down how asking went; return how long to wait for those who could not be asked, None where none is left."""
    case = draft.file.case
    known = await searches(locked.connection, case.id)
    waits: list[timedelta] = []
    for name, answer in answers.items():
        tries = known[name].tries + 1 if name in known else 1
        if isinstance(answer, Unknown) and tries <= len(WAITS):
            log.warning("backups_not_listed", gateway=name, case_id=str(case.id), reason=answer.reason)
            waits.append(WAITS[tries - 1])
            search = Search(gateway=name, asked_at=None, tries=tries)
        else:
            search = Search(gateway=name, asked_at=locked.now, tries=0)
        await keep_search(locked.connection, case.merchant_id, case.id, search)
    return min(waits, default=None)


def _add_new(draft: Draft, gateway: str, gateway_customer: str, listed: Sequence[StoredCredential]) -> list[Credential]:
    """Keep as backups what is not known yet: another token of an account that failed is no other means of payment."""
    added: list[Credential] = []
    payment = draft.file.payment
    for stored in listed:
        account = account_key(gateway, stored.token, stored.fingerprint)
        owned = draft.file.credentials
        if any((c.gateway, c.token) == (gateway, stored.token) or c.account_key == account for c in owned):
            continue
        credential = Credential(
            id=new_id(),
            merchant_id=payment.merchant_id,
            customer_ref=payment.customer.ref,
            gateway=gateway,
            token=stored.token,
            gateway_customer=stored.gateway_customer or gateway_customer,
            account_key=account,
            method=stored.method,
            network=stored.network,
            role=CredentialRole.BACKUP,
            issuer_country=stored.country,
            expires_on=stored.expires_on,
            created_at=draft.now,
        )
        draft.add_credential(credential)
        draft.tell(EventKind.CREDENTIAL_FOUND, credential=str(credential.id), gateway=gateway)
        added.append(credential)
    return added


def _decide_with(draft: Draft, policy: Pinned, found: Sequence[Credential]) -> None:
    """Decide anew, where the policy would use what was found; a case that stopped only for want of it goes on."""
    file = draft.file
    idle = file.live_attempt is None and file.payment.state is PaymentState.OWED
    if not idle or isinstance(policy, UnreadablePolicy):
        return
    outcome = decide_retry(policy, facts_of(file, draft.now), situation_of(file, draft.now)).outcome
    if not isinstance(outcome, Retry) or outcome.credential_id not in {credential.id for credential in found}:
        return
    if file.case.state is CaseState.EXHAUSTED:
        reopen(draft, FOUND)
    elif file.planned_retry is not None and file.planned_retry.planned_by == POLICY:
        skip_retry(draft, FOUND)
    plan_next(draft, policy)
