"""What people say about a refund, and the roles they lend each other to say it."""

from datetime import datetime
from enum import StrEnum
from uuid import UUID

import msgspec


class Verdict(StrEnum):
    """What an approver says."""

    APPROVE = "approve"
    REJECT = "reject"
    SEND_BACK = "send_back"


class Approval(msgspec.Struct, frozen=True, kw_only=True):
    """What one person said about one revision at one level; never edited."""

    id: UUID
    merchant_id: str
    refund_id: UUID
    revision: int
    level: int
    role: str
    """The role by which they decided."""
    principal: str
    on_behalf_of: str | None = None
    """Who delegated the role, where it is not the principal's own."""
    verdict: Verdict
    comment: str | None = None
    channel: str
    """`api`, `bulk`, `console` or `command_line`."""
    decided_at: datetime


class Delegation(msgspec.Struct, frozen=True, kw_only=True):
    """One principal's approval roles, lent to another for a time."""

    id: UUID
    merchant_id: str
    owner: str
    delegate: str
    roles: tuple[str, ...]
    starts_at: datetime
    ends_at: datetime
    created_by: str
    created_at: datetime
    revoked_at: datetime | None = None

    def valid(self, now: datetime) -> bool:
        """Whether the roles may be used now."""
        return self.revoked_at is None and self.starts_at <= now < self.ends_at
