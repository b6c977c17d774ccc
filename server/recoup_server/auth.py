"""Who calls: an API key, its merchant and its roles, checked before anything of the request is read.

A key is looked up by its SHA-256. That needs no constant-time comparison: a key holds 256 random bits, so what the time
of an index search could tell about a hash brings nobody nearer to a key.
"""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, Final

import msgspec
from litestar import Request
from litestar.connection import ASGIConnection
from litestar.handlers import BaseRouteHandler

from recoup_core.ports import Clock
from recoup_core.storage.engine import Database
from recoup_core.storage.merchants import KEY_PREFIX, ApiKey, Role, find_key, key_hash
from recoup_core.telemetry import current_correlation
from recoup_server.errors import Forbidden, IdempotencyKeyRequired, Unauthorized

KEY_CACHED: Final = timedelta(seconds=5)
"""How long a revoked key may still work in a process that has just seen it."""
KEYS_CACHED: Final = 10_000
MAX_SECRET: Final = 200

Connection = ASGIConnection[Any, Any, Any, Any]


class Caller(msgspec.Struct, frozen=True, kw_only=True):
    """The key behind the present request."""

    merchant_id: str
    principal: str
    roles: frozenset[Role]
    approves: tuple[str, ...] = ()
    """Roles of refund policies by which this key decides on refunds; an admin's has only those it was given."""
    correlation_id: str | None = None

    @property
    def actor(self) -> str:
        """How events name who did it."""
        return f"key:{self.principal}"


class KeyRing:
    """Finds keys, and remembers the good ones for a few seconds; used from one event loop."""

    def __init__(self, database: Database, clock: Clock) -> None:
        self._database = database
        self._clock = clock
        self._known: OrderedDict[bytes, tuple[ApiKey, datetime]] = OrderedDict()

    async def find(self, secret: str) -> ApiKey:
        """Return the usable key a secret belongs to; raise `Unauthorized` for any other."""
        if not secret.startswith(KEY_PREFIX) or len(secret) > MAX_SECRET:
            raise Unauthorized
        now = self._clock.now()
        key = self._remembered(key_hash(secret), now) or await self._look_up(secret, now)
        if key is None or not key.usable(now):
            raise Unauthorized
        return key

    def _remembered(self, digest: bytes, now: datetime) -> ApiKey | None:
        known = self._known.get(digest)
        if known is None or abs(now - known[1]) >= KEY_CACHED:
            return None
        self._known.move_to_end(digest)
        return known[0]

    async def _look_up(self, secret: str, now: datetime) -> ApiKey | None:
        key = await find_key(self._database, secret)
        if key is None:  # not remembered: a flood of wrong keys must not push out the good ones
            return None
        self._known[key_hash(secret)] = (key, now)
        if len(self._known) > KEYS_CACHED:
            self._known.popitem(last=False)
        return key


class Requires:
    """A guard: the caller's key must have one of these roles; an admin's has them all."""

    def __init__(self, *roles: Role) -> None:
        self.roles = frozenset(roles)

    async def __call__(self, connection: Connection, _handler: BaseRouteHandler) -> None:
        """Set `connection.auth` to the caller, or raise `Unauthorized` or `Forbidden`."""
        scheme, _, secret = connection.headers.get("authorization", "").partition(" ")
        if scheme.lower() != "bearer":
            raise Unauthorized
        ring: KeyRing = connection.app.state["keys"]
        key = await ring.find(secret.strip())
        roles = frozenset(key.roles)
        if Role.ADMIN not in roles and roles.isdisjoint(self.roles):
            raise Forbidden(" or ".join(sorted(self.roles | {Role.ADMIN})))
        connection.scope["auth"] = Caller(
            merchant_id=key.merchant_id,
            principal=key.principal,
            roles=roles,
            approves=key.approves,
            correlation_id=current_correlation(),
        )


READS: Final = Requires(*Role)
"""Every role may read."""
WORKS: Final = Requires(Role.AGENT, Role.OPERATOR)
SETTLES: Final = Requires(Role.OPERATOR)
WRITES_POLICIES: Final = Requires(Role.POLICY_AUTHOR)
ADMINISTERS: Final = Requires(Role.ADMIN)
APPROVES: Final = Requires(*Role)
"""Any key may ask: who may decide on a refund is told by approval roles, delegations and four eyes, in the flow."""


async def once(connection: Connection, _: BaseRouteHandler) -> None:
    """A guard: a call that can move money needs an Idempotency-Key. Async, since Litestar runs others in threads."""
    if not connection.headers.get("idempotency-key"):
        raise IdempotencyKeyRequired


def caller_of(request: Request[Any, Caller, Any]) -> Caller:
    """The dependency `caller`: who was let in by the route's guard."""
    return request.auth
