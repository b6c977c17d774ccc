"""A credential that is not tried any more: taken back, replaced, suspected of fraud, or its charge was disputed.

Retries planned on it are left out by the cases' own jobs (`reconsider`), put in the same transaction; until these have
run, whoever sends a due retry sees under lock that the credential is blocked.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.payment import OBJECTED, BlockedBecause, Credential
from recoup_core.flows.credentials.reconsider import put_reconsidering
from recoup_core.flows.refunds.draft import LockedRefunds
from recoup_core.ports import CredentialChange
from recoup_core.storage.changes import Changes
from recoup_core.storage.credentials import credential_of_attempt, ids_of_tokens, lock_accounts_of, told_of_token

MAX_REPLACED: Final = 10
"""Tokens that may have taken each other's place, one after the other."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """Who tells of credentials and when, and which payment it was about, if any."""

    merchant_id: str
    actor: str
    now: datetime
    correlation_id: str | None = None
    payment_id: UUID | None = None

    def event(self, kind: EventKind, credential: Credential, **data: str) -> Event:
        """Return the event that tells what became of a credential; its token is in none."""
        about = {
            "credential": str(credential.id),
            "customer": credential.customer_ref,
            "gateway": credential.gateway,
            "role": str(credential.role),
        }
        return Event(
            at=self.now,
            merchant_id=self.merchant_id,
            kind=kind,
            actor=self.actor,
            payment_id=self.payment_id,
            correlation_id=self.correlation_id,
            data=about | data,
        )


def block(changes: Changes, credential: Credential, because: BlockedBecause, told: Told) -> bool:
    """Block a credential; return whether that is new. What was objected to stays so, whatever is told after it."""
    if credential.blocked_because == because or credential.blocked_because in OBJECTED:
        return False
    changes.update(msgspec.structs.replace(credential, valid=False, blocked_because=because))
    changes.add(told.event(EventKind.CREDENTIAL_BLOCKED, credential, because=str(because)))
    return True


async def block_disputed(locked: LockedRefunds, capture_id: UUID, told: Told) -> None:
    """Block what a disputed charge was made with, under every name of it, in the transaction that freezes the money.

    A dispute that is won unblocks nothing: charging the same account again unasked brings the next one. The caller
    holds the payments' locks and takes no other but the merchant's bounds' afterwards.
    """
    assert told.payment_id is not None  # a dispute is about a charge of a payment
    capture = locked.accounts[told.payment_id].capture(capture_id)
    if capture is None or capture.attempt_id is None:
        return  # collected elsewhere: nobody told with what
    used = await credential_of_attempt(locked.connection, capture.attempt_id)
    if used is None:
        return
    found = await lock_objected(locked.connection, told.merchant_id, used.gateway, [used.token])
    blocked = [each for each in found if block(locked.changes, each, BlockedBecause.DISPUTED, told)]
    customers = {each.customer_ref for each in blocked}
    await put_reconsidering(
        locked.connection, locked.changes, told.merchant_id, customers, told.now, told.correlation_id
    )


async def lock_objected(
    connection: asyncpg.Connection, merchant_id: str, gateway: str, tokens: Sequence[str]
) -> Sequence[Credential]:
    """Return, locked, all that an objection against these tokens is about: what took their place, each under all names.

    So it makes no difference whether the objection or the replacement is told first.
    """
    about = list(tokens)
    for token in about:  # grows while it is walked: what took a token's place may have been replaced itself
        for event in await told_of_token(connection, gateway, token):
            news = event.credential
            replaced = news is not None and news.change is CredentialChange.REPLACED and news.token == token
            if news is not None and news.now is not None and replaced and news.now.token not in about:
                about.append(news.now.token)
        if len(about) > MAX_REPLACED:
            break
    return await lock_accounts_of(connection, await ids_of_tokens(connection, merchant_id, gateway, about))
