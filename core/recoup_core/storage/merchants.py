"""Merchants and their API keys. Keys are kept as hashes; a key is shown once, when it is made."""

import re
import secrets
from collections.abc import Collection
from datetime import datetime
from enum import StrEnum
from hashlib import sha256
from typing import Any, Final
from uuid import UUID

import asyncpg
import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import Event, EventKind
from recoup_core.domain.ids import new_id
from recoup_core.domain.principal import canonical
from recoup_core.storage.changes import Changes
from recoup_core.storage.engine import Database
from recoup_core.storage.tables import ApiKeyRow, MerchantRow

KEY_PREFIX: Final = "rk_"
"""Marks our keys, so that secret scanners and our own redaction know them."""

KEY_BYTES: Final = 32

MAX_PRINCIPAL: Final = 200
"""Characters of a principal's name in its canonical form."""

APPROVAL_ROLE: Final = r"[a-z][a-z0-9_]{0,59}"
"""How policies write the roles of their levels."""


class Role(StrEnum):
    """What a key may do; a key may have several."""

    VIEWER = "viewer"
    """Reads."""
    AGENT = "agent"
    """Reports payments and works on cases."""
    POLICY_AUTHOR = "policy_author"
    """Checks policies and puts them in force."""
    OPERATOR = "operator"
    """Settles by hand what nobody else can."""
    ADMIN = "admin"
    """Everything, keys included."""


class ApiKey(msgspec.Struct, frozen=True, kw_only=True):
    """Who may call, for which merchant, in which roles; never the key itself."""

    id: UUID
    merchant_id: str
    principal: str
    """The person or system behind the key, in its canonical form; one person's keys share it."""
    roles: tuple[Role, ...]
    approves: tuple[str, ...] = ()
    """Roles of refund policies by which it decides on refunds; no `Role` stands for one, not even `admin`."""
    hint: str
    """The key's last four characters, to tell keys apart."""
    created_at: datetime
    expires_at: datetime | None = None
    revoked_at: datetime | None = None

    def usable(self, now: datetime) -> bool:
        """Whether the key is neither revoked nor expired."""
        return self.revoked_at is None and (self.expires_at is None or self.expires_at > now)


class KeyInvalid(DomainError):
    """A key was asked for in a name that is none, or with an approval role that no policy could name."""

    code = "key_invalid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}")
        self.field = field


class MintedKey(msgspec.Struct, frozen=True):
    """A new key, the only time its secret is at hand."""

    key: ApiKey
    secret: str


_SHOWN: Final = tuple(column for column in ApiKeyRow.all_columns() if column._meta.name != "key_hash")

LISTED_KEYS: Final = 1_000


def key_hash(secret: str) -> bytes:
    """Return what is kept of a key: it holds 256 random bits, so one SHA-256 is as good as a slow hash."""
    return sha256(secret.encode()).digest()


async def ensure_merchants(
    database: Database,
    names: Collection[str],
    acquirer_country: str | None,
    now: datetime,
    *,
    timezone: str | None = None,
) -> None:
    """Create the merchants that don't exist yet; a `timezone` (IANA) is given to those that do, too."""
    zone = timezone or "UTC"
    rows = [
        MerchantRow(id=name, name=name, acquirer_country=acquirer_country, timezone=zone, created_at=now)
        for name in sorted(names)
    ]
    async with database.transaction():
        await MerchantRow.insert(*rows).on_conflict(target=MerchantRow.id, action="DO NOTHING")
        if timezone is not None:
            moved = MerchantRow.id.is_in(sorted(names)) & (MerchantRow.timezone != timezone)
            await MerchantRow.update({MerchantRow.timezone: timezone}).where(moved)


async def mint_key(
    database: Database,
    merchant_id: str,
    principal: str,
    roles: Collection[Role],
    now: datetime,
    *,
    actor: str,
    expires_at: datetime | None = None,
    approves: Collection[str] = (),
) -> MintedKey:
    """Make a key; its secret is in the answer and nowhere else. The principal is kept in its canonical form.

    Raises `KeyInvalid`.
    """
    secret = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    key = ApiKey(
        id=new_id(),
        merchant_id=merchant_id,
        principal=_principal(principal),
        roles=tuple(sorted(roles)),
        approves=_approval_roles(approves),
        hint=secret[-4:],
        created_at=now,
        expires_at=expires_at,
    )
    async with database.transaction() as connection:
        await ApiKeyRow.insert(
            ApiKeyRow(
                id=key.id,
                merchant_id=merchant_id,
                principal=key.principal,
                roles=[str(role) for role in key.roles],
                approves=list(key.approves),
                hint=key.hint,
                key_hash=key_hash(secret),
                created_at=now,
                expires_at=expires_at,
            )
        )
        await _tell(connection, key, EventKind.API_KEY_CREATED, actor, now)
    return MintedKey(key, secret)


async def revoke_key(database: Database, merchant_id: str, key_id: UUID, now: datetime, *, actor: str) -> ApiKey | None:
    """Take a key back for good; None where the merchant has no such key. Processes notice within seconds."""
    async with database.transaction() as connection:
        own = (ApiKeyRow.id == key_id) & (ApiKeyRow.merchant_id == merchant_id)
        await ApiKeyRow.update({ApiKeyRow.revoked_at: now}).where(own & ApiKeyRow.revoked_at.is_null())
        row = await ApiKeyRow.select(*_SHOWN).where(own).first()
        if row is None:
            return None
        key = _key(row)
        await _tell(connection, key, EventKind.API_KEY_REVOKED, actor, now)
    return key


async def find_key(database: Database, secret: str) -> ApiKey | None:
    """Return the key that a secret belongs to, revoked and expired ones included."""
    async with database.transaction():
        row = await ApiKeyRow.select(*_SHOWN).where(ApiKeyRow.key_hash == key_hash(secret)).first()
    return None if row is None else _key(row)


async def list_keys(database: Database, merchant_id: str) -> list[ApiKey]:
    """Return the merchant's keys, newest first, at most `LISTED_KEYS`."""
    own = ApiKeyRow.merchant_id == merchant_id
    newest = ApiKeyRow.select(*_SHOWN).where(own).order_by(ApiKeyRow.id, ascending=False).limit(LISTED_KEYS)
    async with database.transaction():
        rows = await newest
    return [_key(row) for row in rows]


def _key(row: dict[str, Any]) -> ApiKey:
    """Return a key as stored; those from before names had one form get it here."""
    key = msgspec.convert(row, ApiKey)
    return msgspec.structs.replace(key, principal=canonical(key.principal) or key.principal)


def _principal(name: str) -> str:
    principal = canonical(name)
    if not principal:
        raise KeyInvalid("principal", "names nobody")
    if len(principal) > MAX_PRINCIPAL or not principal.isprintable():
        raise KeyInvalid("principal", f"must be at most {MAX_PRINCIPAL} printable characters")
    return principal


def _approval_roles(roles: Collection[str]) -> tuple[str, ...]:
    for role in roles:
        if not re.fullmatch(APPROVAL_ROLE, role):
            raise KeyInvalid("approves", "a role is lower-case letters, digits and _, as policies write it")
    return tuple(sorted(set(roles)))


async def _tell(connection: asyncpg.Connection, key: ApiKey, kind: EventKind, actor: str, now: datetime) -> None:
    changes = Changes()
    data = {
        "key_id": str(key.id),
        "principal": key.principal,
        "roles": [str(role) for role in key.roles],
        "approves": list(key.approves),
    }
    changes.add(Event(at=now, merchant_id=key.merchant_id, kind=kind, actor=actor, data=data))
    await changes.write(connection)
