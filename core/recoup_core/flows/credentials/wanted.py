"""When a gateway is asked for a backup: the case's own policy would try one now, and none is known here."""

from typing import Final

import msgspec

from recoup_core.domain.payment import CredentialRole
from recoup_core.flows.draft import Draft
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import RetryFacts
from recoup_core.rules.language.actions.retry import RetrySpec

FIND_BACKUPS: Final = "find_backups"
"""Job kind: ask gateways what else the customer has stored. Subject: the payment."""


def wants_backup(policy: CompiledPolicy, facts: RetryFacts) -> bool:
    """Whether the policy would try a backup now if the customer had one."""
    rule = policy.verdict(msgspec.structs.replace(facts, has_backup=True))
    return any(
        isinstance(action, RetrySpec) and action.credential == CredentialRole.BACKUP
        for action in (rule.action, rule.otherwise)
    )


def lacks_backup(draft: Draft) -> bool:
    """Whether no backup is known here that could be tried."""
    return all(credential.role is not CredentialRole.BACKUP for credential in draft.file.usable())


def sources(draft: Draft) -> dict[str, str]:
    """Return the gateways that may be asked, each with its own name of the customer: the one that was told last."""
    return {
        credential.gateway: credential.gateway_customer
        for credential in draft.file.credentials
        if credential.gateway_customer is not None and credential.gateway in draft.backup_gateways
    }


def ask_for_backups(draft: Draft, policy: CompiledPolicy, facts: RetryFacts) -> None:
    """Have gateways asked, by a job of the transaction that decided; the job sees whether it is too soon."""
    if lacks_backup(draft) and sources(draft) and wants_backup(policy, facts):
        draft.put_job(FIND_BACKUPS, draft.file.payment.id, draft.now)
