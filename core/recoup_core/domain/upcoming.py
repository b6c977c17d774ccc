"""A charge that is to come, told by the billing system before it is made, and the notices that go before it."""

from calendar import monthrange
from collections.abc import Mapping
from datetime import date, datetime
from enum import StrEnum
from typing import Any, Final
from uuid import UUID

import msgspec

from recoup_core.domain.customer import Standing
from recoup_core.domain.machine import Machine
from recoup_core.domain.money import Money
from recoup_core.domain.payment import Customer, Method, Network
from recoup_core.domain.recovery import StepKind


class ChargeState(StrEnum):
    """What is known of the charge."""

    ANNOUNCED = "announced"
    MADE = "made"
    CALLED_OFF = "called_off"
    FAILED = "failed"
    """It was reported as a failed payment: a recovery case says what follows."""
    PASSED = "passed"
    """Its time is over by days, and nobody told what became of it."""


class ChargeEvent(StrEnum):
    """What can happen to it."""

    MAKE = "make"
    CALL_OFF = "call_off"
    FAIL = "fail"
    LAPSE = "lapse"


_S, _E = ChargeState, ChargeEvent

CHARGE: Final = Machine(
    "upcoming charge",
    {
        (_S.ANNOUNCED, _E.MAKE): _S.MADE,
        (_S.ANNOUNCED, _E.CALL_OFF): _S.CALLED_OFF,
        (_S.ANNOUNCED, _E.FAIL): _S.FAILED,
        (_S.ANNOUNCED, _E.LAPSE): _S.PASSED,
        (_S.PASSED, _E.MAKE): _S.MADE,  # told late
    },
)


class NoticeState(StrEnum):
    """Whether a notice is still to come."""

    PLANNED = "planned"
    DONE = "done"
    SKIPPED = "skipped"


class NoticeEvent(StrEnum):
    """What can happen to a notice."""

    FINISH = "finish"
    SKIP = "skip"
    MOVE = "move"


NOTICE: Final = Machine(
    "notice",
    {
        (NoticeState.PLANNED, NoticeEvent.FINISH): NoticeState.DONE,
        (NoticeState.PLANNED, NoticeEvent.SKIP): NoticeState.SKIPPED,
        (NoticeState.PLANNED, NoticeEvent.MOVE): NoticeState.PLANNED,
    },
)


def last_day_of(month: str) -> date:
    """Return the last day on which a card is good whose face says `YYYY-MM`."""
    year, number = int(month[:4]), int(month[5:])
    return date(year, number, monthrange(year, number)[1])


class UpcomingCharge(msgspec.Struct, frozen=True, kw_only=True):
    """One charge that the billing system is going to make."""

    id: UUID
    merchant_id: str
    reference: str
    """The merchant's own name for it: the payment's reference if it fails."""
    customer: Customer
    amount_minor: int
    currency: str
    charge_at: datetime
    method: Method
    network: Network | None = None
    gateway: str
    expires_on: str | None = None
    """The month on the card (`YYYY-MM`), where it is known."""
    card_told_at: datetime
    """When that was told; a means of payment that was given or renewed since goes before it."""
    subscription: Mapping[str, Any] = {}
    state: ChargeState = ChargeState.ANNOUNCED
    policy_name: str | None = None
    policy_digest: str | None = None
    """Digest of the policy text its notices are planned with; None where no policy covers it."""
    announced_at: datetime
    changed_at: datetime
    version: int = 1
    finished_at: datetime | None = None

    @property
    def amount(self) -> Money:
        """What will be charged."""
        return Money(self.amount_minor, self.currency)


class Notice(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is said, or done by a person, before a charge."""

    id: UUID
    merchant_id: str
    charge_id: UUID
    key: str
    """Names it within its charge; what had its turn under a key never has it again."""
    kind: StepKind
    """A message, or a human task."""
    state: NoticeState = NoticeState.PLANNED
    due_at: datetime
    latest_at: datetime
    """It comes no later than this, or not at all."""
    rule: str
    decision_id: UUID
    detail: Mapping[str, Any] = {}
    had_turn: bool = False
    """Whether it was said, done, or tried in vain; one that was left out before may be planned again."""
    skipped_because: str | None = None
    held_until: datetime | None = None
    held_because: str | None = None
    created_at: datetime
    finished_at: datetime | None = None


class RenewedCard(msgspec.Struct, frozen=True, kw_only=True):
    """The means of payment that the customer gave or renewed last, at the gateway that will charge."""

    at: datetime
    expires_on: str | None = None


class ChargeFile(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that a decision about a charge's notices needs, read under the charge's lock."""

    charge: UpcomingCharge
    notices: tuple[Notice, ...] = ()
    """By due time."""
    standing: Standing = Standing()
    has_backup: bool = False
    renewed: RenewedCard | None = None
    failed: bool = False
    """Whether a failed payment was reported under its reference."""

    @property
    def expires_on(self) -> str | None:
        """The month on the card that will be charged; None where it isn't known, or no card is charged."""
        if self.charge.method is not Method.CARD:
            return None
        if self.renewed is not None and self.renewed.at > self.charge.card_told_at:
            return self.renewed.expires_on
        return self.charge.expires_on

    @property
    def customer_zone(self) -> str | None:
        """The customer's zone: as their record says, else as this charge was announced."""
        return self.standing.timezone or self.charge.customer.timezone

    @property
    def country(self) -> str | None:
        """The customer's country: as their record says, else as this charge was announced."""
        return self.standing.country or self.charge.customer.country

    @property
    def vulnerable(self) -> bool:
        """Whether the customer is vulnerable."""
        return self.standing.vulnerable or self.charge.customer.vulnerable

    @property
    def planned(self) -> tuple[Notice, ...]:
        """The notices still to come."""
        return tuple(notice for notice in self.notices if notice.state is NoticeState.PLANNED)

    def notice(self, notice_id: UUID) -> Notice | None:
        """Return the notice of that id, if it is this charge's."""
        return next((notice for notice in self.notices if notice.id == notice_id), None)

    def with_charge(self, charge: UpcomingCharge) -> "ChargeFile":
        """Return the file as it is after the charge changed."""
        return msgspec.structs.replace(self, charge=charge)

    def with_notice(self, notice: Notice) -> "ChargeFile":
        """Return the file with this notice added or replaced."""
        notices = [*(known for known in self.notices if known.id != notice.id), notice]
        return msgspec.structs.replace(self, notices=tuple(sorted(notices, key=lambda n: (n.due_at, n.id))))
