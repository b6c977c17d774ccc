"""Where the money of a refund can be taken from: captures, newest first, or goodwill beside a payment.

What is only authorized is voided whole or not at all. Whatever stands against a source is a refusal with its reason.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime
from uuid import UUID

import msgspec

from recoup_core.domain.capture import Capture, CaptureState
from recoup_core.domain.errors import CurrencyMismatch, DomainError
from recoup_core.domain.money import Money
from recoup_core.domain.refund import HOLDING, Destination, Purpose
from recoup_core.domain.refundfile import PaymentAccount, RefundFile
from recoup_core.domain.shares import Pot, fill
from recoup_core.flows.refunds.ask import RefundAsk
from recoup_core.flows.refunds.lines import OwnLines
from recoup_core.flows.refunds.refusals import (
    GatewayCannotRefund,
    GoodwillExceedsPayment,
    RefundExceedsRefundable,
    RefundInvalid,
    RefundWindowOver,
)
from recoup_core.ports import Gateway


class Own(msgspec.Struct, frozen=True, kw_only=True):
    """What a refund holds itself, which is free for what it is changed to."""

    captures: Mapping[UUID, int] = {}
    goodwill: Mapping[UUID, int] = {}
    """By payment."""
    lines: OwnLines = {}


class Source(msgspec.Struct, frozen=True, kw_only=True):
    """What one capture (or goodwill beside one payment) can give."""

    payment_id: UUID
    capture: Capture | None
    free_minor: int
    refusal: DomainError | None = None

    @property
    def whole_only(self) -> bool:
        """Whether it is a charge that is only authorized."""
        return self.capture is not None and self.capture.state is CaptureState.AUTHORIZED

    @property
    def pot(self) -> Pot:
        """What of it can be taken; an authorisation of which something is held already can't be voided whole."""
        held = self.capture is not None and self.free_minor < self.capture.amount_minor
        usable = self.refusal is None and not (self.whole_only and held)
        return Pot(free_minor=self.free_minor if usable else 0, whole=self.whole_only)


Taken = tuple[Source, int]
"""A source and what is taken from it."""


def own_of(file: RefundFile) -> Own:
    """Return what a refund holds as it was read."""
    captures: dict[UUID, int] = defaultdict(int)
    goodwill: dict[UUID, int] = defaultdict(int)
    for part in file.parts:
        if part.state in HOLDING:
            kept, key = (goodwill, part.payment_id) if part.capture_id is None else (captures, part.capture_id)
            kept[key] += part.amount_minor
    lines = {line.payment_line_id: line for line in file.lines if line.holds}
    return Own(captures=captures, goodwill=goodwill, lines=lines)


def refusal_of(
    capture: Capture, destination: Destination, gateways: Mapping[str, Gateway], now: datetime
) -> DomainError | None:
    """Return why nothing can go back over a capture, whatever is free of it; None where it can."""
    if destination is Destination.STORE_CREDIT:
        if capture.state is CaptureState.AUTHORIZED:
            return RefundInvalid("destination", "the money has not come in yet: it is voided, not paid out as credit")
        return None
    name, gateway = capture.gateway, gateways.get(capture.gateway)
    if gateway is None:
        return GatewayCannotRefund(name, "it is no longer configured")
    if capture.gateway_ref is None:
        return GatewayCannotRefund(name, "its reference of the charge is not known")
    known = gateway.capabilities
    if not known.refunds:
        return GatewayCannotRefund(name, "it gives no money back")
    if capture.state is CaptureState.AUTHORIZED:
        return None if known.voids else GatewayCannotRefund(name, "it can't void a charge that is only authorized")
    window = known.refund_windows.get(capture.method)
    if window is not None and capture.captured_at is not None and capture.captured_at + window < now:
        return RefundWindowOver(name, capture.captured_at + window)
    return None


def free_of(capture: Capture, own: Mapping[UUID, int]) -> int:
    """Return what is free of a capture once the refund that is changed lets go of its own."""
    if capture.state in (CaptureState.VOIDED, CaptureState.RETURNED):
        return 0
    held = capture.held_minor - own.get(capture.id, 0)
    return max(0, capture.amount_minor - held - capture.disputed_minor)


def refundable(ask: RefundAsk, accounts: Sequence[PaymentAccount], own: Own) -> Money:
    """Return what is left in all for what is asked."""
    return Money(sum(_free(ask, account, own) for account in accounts), ask.currency)


def beside(ask: RefundAsk) -> bool:
    """Whether it is goodwill beside the payment, which no capture stands behind."""
    return ask.purpose is Purpose.GOODWILL and ask.destination is Destination.STORE_CREDIT


def _free(ask: RefundAsk, account: PaymentAccount, own: Own) -> int:
    payment = account.payment
    if payment.currency != ask.currency:
        return 0
    if beside(ask):
        left = payment.amount_minor - payment.goodwill_minor + own.goodwill.get(payment.id, 0)
        return left if account.captures else 0
    return sum(free_of(capture, own.captures) for capture in account.captures)


def taken_from(
    ask: RefundAsk,
    accounts: Sequence[PaymentAccount],
    gateways: Mapping[str, Gateway],
    now: datetime,
    own: Own,
) -> list[Taken]:
    """Return from where the amount is taken, in that order: as given, or the newest first.

    Raises `RefundExceedsRefundable`, `GoodwillExceedsPayment`, `GatewayCannotRefund`, `RefundWindowOver`,
    `RefundInvalid`, `CurrencyMismatch`.
    """
    if not any(account.captures for account in accounts):
        raise RefundInvalid("payment_id", "no money of it has come in")
    if not ask.payments:
        return _take(ask, ask.amount_minor, accounts, gateways, now, own)
    by_id = {account.payment.id: account for account in accounts}
    taken: list[Taken] = []
    for each in ask.payments:
        taken += _take(ask, each.amount_minor, [by_id[each.payment_id]], gateways, now, own)
    return taken


def _take(
    ask: RefundAsk,
    amount_minor: int,
    accounts: Sequence[PaymentAccount],
    gateways: Mapping[str, Gateway],
    now: datetime,
    own: Own,
) -> list[Taken]:
    sources = list(_sources(ask, accounts, gateways, now, own))
    amounts = fill(amount_minor, [each.pot for each in sources])
    if sum(amounts) < amount_minor:
        raise _too_little(ask, Money(amount_minor, ask.currency), accounts, sources, own)
    return [(source, amount) for source, amount in zip(sources, amounts, strict=True) if amount]


def _sources(
    ask: RefundAsk,
    accounts: Sequence[PaymentAccount],
    gateways: Mapping[str, Gateway],
    now: datetime,
    own: Own,
) -> Iterator[Source]:
    """Yield what money can be taken from, the newest first."""
    found: list[tuple[datetime, Source]] = []
    for account in accounts:
        payment = account.payment
        if payment.currency != ask.currency:
            if ask.payments or ask.payment_id is not None:
                raise CurrencyMismatch(ask.currency, payment.currency)
            continue
        if beside(ask):
            if account.captures:
                source = Source(payment_id=payment.id, capture=None, free_minor=_free(ask, account, own))
                found.append((payment.created_at, source))
            continue
        for capture in account.captures:
            free, refusal = free_of(capture, own.captures), refusal_of(capture, ask.destination, gateways, now)
            source = Source(payment_id=payment.id, capture=capture, free_minor=free, refusal=refusal)
            found.append((capture.captured_at or capture.created_at, source))
    found.sort(key=lambda each: each[0], reverse=True)
    yield from (source for _, source in found)


def _too_little(
    ask: RefundAsk, asked: Money, accounts: Sequence[PaymentAccount], sources: Sequence[Source], own: Own
) -> DomainError:
    """Return why the sources don't give what is asked: nothing left, or nothing that can be taken."""
    left = refundable(ask, accounts, own)
    if left < asked:
        return GoodwillExceedsPayment(asked, left) if beside(ask) else RefundExceedsRefundable(asked, left)
    refusals = [each.refusal for each in sources if each.refusal is not None and each.free_minor > 0]
    if refusals:
        return refusals[0]
    authorized = next(each.capture for each in sources if each.whole_only and each.free_minor > 0)
    assert authorized is not None  # whole_only says so
    return GatewayCannotRefund(
        authorized.gateway,
        f"the charge of {authorized.amount} is only authorized: it is voided whole or not at all; ask for all of it, "
        "or capture it first",
    )
