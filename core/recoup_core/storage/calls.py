"""Idempotent API calls: the same key with the same request gets the same answer, another request is refused."""

from datetime import datetime
from hashlib import sha256
from typing import Self

import asyncpg
import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.storage.changes import IdempotentCall


class Call(msgspec.Struct, frozen=True):
    """One call: the client's key and what it asked for."""

    key: str
    request: bytes
    """Method, path and body, as the client sent them."""

    @property
    def request_hash(self) -> str:
        """The request's digest, as PostgreSQL reads bytea."""
        return "\\x" + sha256(self.request).hexdigest()

    def said_by(self, person: str) -> Self:
        """Return the call as one person's own: where who asks is part of what is asked, the same words of somebody
        else under the same key are another request, and not answered with the first one's answer."""
        return msgspec.structs.replace(self, request=b"\n".join([person.encode(), self.request]))


class IdempotencyKeyReused(DomainError):
    """The key was used before for another request."""

    code = "idempotency_key_reused"

    def __init__(self) -> None:
        super().__init__("this Idempotency-Key was used before with a different request")


def remember(call: Call, merchant_id: str, body: bytes, now: datetime, status: int = 200) -> IdempotentCall:
    """Return the row that keeps a call's answer; written in the transaction that does what was asked."""
    return IdempotentCall(
        merchant_id=merchant_id,
        key=call.key,
        request_hash=call.request_hash,
        status=status,
        body=body.decode(),
        created_at=now,
    )


async def recall(connection: asyncpg.Connection, merchant_id: str, call: Call) -> bytes | None:
    """Return the kept answer of this call, None if it is new; a key of another request raises."""
    row = await connection.fetchrow(
        "SELECT request_hash, body FROM idempotent_call WHERE merchant_id = $1 AND key = $2", merchant_id, call.key
    )
    if row is None:
        return None
    if row["request_hash"] != sha256(call.request).digest():
        raise IdempotencyKeyReused
    body: str = row["body"]
    return body.encode()


async def forget_before(connection: asyncpg.Connection, moment: datetime, limit: int) -> int:
    """Delete up to `limit` answers older than the moment; return how many went."""
    done: str = await connection.execute(
        "DELETE FROM idempotent_call WHERE (merchant_id, key) IN"
        " (SELECT merchant_id, key FROM idempotent_call WHERE created_at < $1 LIMIT $2)",
        moment,
        limit,
    )
    return int(done.split()[-1])
