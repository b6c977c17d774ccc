"""What gateways' events say about means of payment: any number of times, in any order, one final state.

An event was stored before it comes here. Of one token the last thing to have happened counts, not the last to have
arrived: whatever is older than something told already changes nothing.
"""

from collections.abc import Sequence
from datetime import datetime
from functools import partial
from typing import Final

import asyncpg
import msgspec

from recoup_core.domain.happened import EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.payment import OBJECTED, BlockedBecause, Credential, CredentialRole
from recoup_core.flows.context import Context, count_events
from recoup_core.flows.credentials.asking import broken_credential
from recoup_core.flows.credentials.blocking import MAX_REPLACED, Told, block, lock_objected
from recoup_core.flows.credentials.reconsider import put_reconsidering
from recoup_core.flows.refunds.news import NOTHING_NEW, Inbound, Taken
from recoup_core.flows.reports import account_key, renewed_account
from recoup_core.ports import CredentialChange, CredentialNews, GatewayEvent, StoredCredential
from recoup_core.storage.changes import Changes
from recoup_core.storage.credentials import (
    credentials_of_customer,
    customers_at,
    lock_tokens,
    tokens_of_charge,
    told_of_token,
)
from recoup_core.storage.lookups import close_inbound

_ENDS: Final = frozenset({CredentialChange.REMOVED, CredentialChange.SUSPECTED, CredentialChange.REPLACED})
"""What ends the token that an event names."""


async def take_credential_news(context: Context, inbound: Inbound, news: CredentialNews) -> Taken:
    """Record what an event says about a means of payment, for every customer it was reported for.

    The cases in which they are still asked to pay decide anew, by jobs of the same transaction.
    """
    async with context.database.transaction() as connection:
        taking = _Taking(connection, inbound, news, context.clock.now())
        if not await taking.run():
            return Taken.NOT_OURS
        await taking.finish()
    count_events(context, taking.changes)
    return Taken.CLOSED


class _Taking:
    """One event on its way in, in its transaction."""

    def __init__(self, connection: asyncpg.Connection, inbound: Inbound, news: CredentialNews, now: datetime) -> None:
        self.changes = Changes()
        self._connection = connection
        self._inbound = inbound
        self._news = news
        self._now = now
        self._told = Told(
            merchant_id=inbound.merchant, actor=inbound.actor, now=now, correlation_id=inbound.ref.correlation_id
        )
        self._customers: set[str] = set()
        """Whose means of payment have changed."""

    async def run(self) -> bool:
        """Apply the event; return whether it is about anything we know."""
        match self._news.change:
            case CredentialChange.REMOVED:
                return await self._remove()
            case CredentialChange.SUSPECTED:
                return await self._suspect()
            case CredentialChange.REPLACED:
                return await self._replace()
            case CredentialChange.UPDATED:
                return await self._update()
            case CredentialChange.ADDED:
                return await self._add()

    async def finish(self) -> None:
        """Have the customers' cases decide anew, and close the event."""
        told = self._told
        if self._customers:
            await put_reconsidering(
                self._connection, self.changes, told.merchant_id, self._customers, told.now, told.correlation_id
            )
        state, note = ("applied", None) if self._customers else ("ignored", NOTHING_NEW)
        await close_inbound(self._connection, self._inbound.stored.id, state, note, told.now)
        self.changes.finish(self._inbound.ref)
        await self.changes.write(self._connection)

    async def _remove(self) -> bool:
        rows = await self._named()
        for row in rows:
            if not await self._overtaken(row.token):
                self._block(row, BlockedBecause.REMOVED)
        return bool(rows)

    async def _suspect(self) -> bool:
        """Block the account under all its names; no later word of the gateway's lifts that, so none overtakes it."""
        rows = await lock_objected(
            self._connection, self._inbound.merchant, self._inbound.gateway, await self._tokens()
        )
        for row in rows:
            self._block(row, BlockedBecause.SUSPECTED_FRAUD)
        return bool(rows)

    async def _update(self) -> bool:
        rows = await self._named()
        for row in rows:
            if not await self._overtaken(row.token):
                self._renew(row, self._news.now)
        return bool(rows)

    async def _replace(self) -> bool:
        """Block the old token; the new one takes over its role, and what was objected to goes along with it."""
        expected = await self._successor()
        rows = await self._named(*(() if expected is None else (expected.token,)))
        successor = await self._successor()  # once more: what was told while the locks were waited for counts
        for row in rows:
            if not await self._overtaken(row.token):
                self._block(row, BlockedBecause.REPLACED)
            if successor is not None:
                objected = row.blocked_because if row.blocked_because in OBJECTED else None
                await self._put(row.customer_ref, successor, row.role, objected)
        return bool(rows)

    async def _add(self) -> bool:
        now = _usable(self._news)
        if now is None:
            return False
        await lock_tokens(self._connection, self._inbound.merchant, self._inbound.gateway, [now.token])
        latest = await self._latest(now.token)
        customer = now.gateway_customer or self._news.gateway_customer or ""
        refs = await customers_at(self._connection, self._inbound.merchant, self._inbound.gateway, customer)
        if latest is None or not _ends(latest, now.token):
            for ref in refs:
                await self._put(ref, _left(latest, now), CredentialRole.PRIMARY, None)
        return bool(refs)

    async def _named(self, *more: str) -> Sequence[Credential]:
        """Return, locked, every row of the token that the event is about; `more` tokens are locked along with it."""
        tokens = await self._tokens()
        merchant, gateway = self._inbound.merchant, self._inbound.gateway
        locked = await lock_tokens(self._connection, merchant, gateway, [*tokens, *more])
        return [row for row in locked if row.token in tokens]

    async def _tokens(self) -> list[str]:
        """Return the token that the event names, or what the charge was made with that it names."""
        news = self._news
        if news.token is not None:
            return [news.token]
        refs = [ref for ref in (news.charge_ref, *news.other_charge_refs) if ref is not None]
        return await tokens_of_charge(self._connection, self._inbound.merchant, self._inbound.gateway, refs)

    async def _overtaken(self, token: str) -> bool:
        """Whether something newer was told of the token; of one moment, an end counts more than a beginning."""
        latest = await self._latest(token)
        return latest is not None and _order(latest, token) > _order(self._inbound.event, token)

    async def _latest(self, token: str) -> GatewayEvent | None:
        """Return the last thing that has happened to a token, as far as its gateway told."""
        told = await told_of_token(self._connection, self._inbound.gateway, token)
        return max(told, key=partial(_order, token=token), default=None)

    async def _successor(self) -> StoredCredential | None:
        """Return what is there in the end: the new token may itself have been replaced, or removed, by now."""
        now = _usable(self._news)
        for _ in range(MAX_REPLACED):
            if now is None:
                return None
            latest = await self._latest(now.token)
            if latest is None or not _ends(latest, now.token):
                return _left(latest, now)
            now = _described(latest)
        return None

    def _block(self, row: Credential, because: BlockedBecause) -> None:
        if block(self.changes, row, because, self._told):
            self._customers.add(row.customer_ref)

    async def _put(
        self, customer_ref: str, now: StoredCredential, role: CredentialRole, objected: BlockedBecause | None
    ) -> None:
        """Add a means of payment to a customer's, or renew it; where its account was objected to, it comes blocked."""
        merchant, gateway = self._inbound.merchant, self._inbound.gateway
        owned = await credentials_of_customer(self._connection, merchant, customer_ref)
        locked = await lock_tokens(self._connection, merchant, gateway, [now.token])
        known = next((each for each in locked if each.customer_ref == customer_ref), None)
        if known is not None:
            if objected is not None:
                self._block(known, objected)
            else:
                self._renew(known, now)
            return
        account = account_key(gateway, now.token, now.fingerprint)
        same = (each.blocked_because for each in owned if each.account_key == account)
        objected = objected or next((because for because in same if because in OBJECTED), None)
        added = Credential(
            id=new_id(),
            merchant_id=merchant,
            customer_ref=customer_ref,
            gateway=gateway,
            token=now.token,
            gateway_customer=now.gateway_customer or self._news.gateway_customer,
            account_key=account,
            method=now.method,
            network=now.network,
            role=role,
            issuer_country=now.country,
            expires_on=now.expires_on,
            valid=objected is None,
            blocked_because=objected,
            renewed_at=self._at,
            created_at=self._now,
        )
        self.changes.add(added)
        self._tell(added)

    def _renew(self, row: Credential, now: StoredCredential | None) -> None:
        """Take over what is new about a token; what was objected to stays blocked until somebody gives it again."""
        if now is not None and broken_credential(now) is not None:
            now = None
        fields = {} if now is None else _fields(row, now)
        if row.blocked_because not in OBJECTED:
            renewed_at = max(self._at, row.renewed_at or self._at)
            fields |= {"valid": True, "blocked_because": None, "renewed_at": renewed_at}
            if self._news.change is CredentialChange.UPDATED:  # another card: the old one's month is not its own
                fields["expires_on"] = None if now is None else now.expires_on
        renewed = msgspec.structs.replace(row, **fields)
        if renewed != row:
            self.changes.update(renewed)
            self._tell(renewed)

    def _tell(self, credential: Credential) -> None:
        self._customers.add(credential.customer_ref)
        blocked = {} if credential.blocked_because is None else {"blocked": str(credential.blocked_because)}
        event = self._told.event(EventKind.CREDENTIAL_UPDATED, credential, change=str(self._news.change), **blocked)
        self.changes.add(event)

    @property
    def _at(self) -> datetime:
        """When it happened; a gateway's clock may be ahead of ours."""
        return min(self._inbound.event.occurred_at, self._now)


def _usable(news: CredentialNews) -> StoredCredential | None:
    """Return the means of payment as an event describes it, unless it can't be kept."""
    return None if news.now is None or broken_credential(news.now) is not None else news.now


def _described(event: GatewayEvent | None) -> StoredCredential | None:
    """Return the means of payment as an event leaves it, where it says so."""
    return _usable(event.credential) if event is not None and event.credential is not None else None


def _left(latest: GatewayEvent | None, now: StoredCredential) -> StoredCredential:
    """Return what the last event leaves; where that one says nothing of it, the month told before may be over."""
    described = _described(latest)
    if described is None and latest is not None:
        return msgspec.structs.replace(now, expires_on=None)
    return described or now


def _fields(row: Credential, now: StoredCredential) -> dict[str, object]:
    return {
        "account_key": renewed_account(row, now.fingerprint),
        "method": now.method,
        "network": now.network or row.network,
        "issuer_country": now.country or row.issuer_country,
        "gateway_customer": now.gateway_customer or row.gateway_customer,
        "expires_on": now.expires_on or row.expires_on,
    }


def _order(event: GatewayEvent, token: str) -> tuple[datetime, bool]:
    return event.occurred_at, _ends(event, token)


def _ends(event: GatewayEvent, token: str) -> bool:
    """Whether the token is not there any more after the event."""
    news = event.credential
    return news is not None and news.change in _ENDS and news.token == token
