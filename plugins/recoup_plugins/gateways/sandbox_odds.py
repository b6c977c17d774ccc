"""The sandbox's `random` tokens: a population of debtors whose money comes and goes with the calendar.

Every answer is a pure function of seed, payment and time, so that a run can be repeated and a policy compared with
another on the same customers. The shares and odds below are made up for demonstrations; no network publishes them.
They are chosen so that timing matters: an account is full after payday and empty before it, an issuer's trouble
passes within hours, a vague refusal is worth another day, and what is broken stays broken.
"""

import hashlib
from calendar import monthrange
from datetime import date, datetime, timedelta
from typing import Final

import msgspec

PERCENT: Final = 100
_BASIS_POINTS: Final = 10_000

CAUSES: Final[tuple[tuple[str, int], ...]] = (
    ("insufficient_funds", 55),
    ("issuer_not_available", 15),
    ("do_not_honor", 20),
    ("generic_decline", 10),
)
"""Why a payment that can be recovered fails, as a Stripe decline code, with its share in percent."""

DEAD_CAUSES: Final[tuple[tuple[str, int], ...]] = (
    ("expired_card", 45),
    ("authentication_required", 15),
    ("lost_card", 15),
    ("transaction_not_allowed", 15),
    ("fraudulent", 10),
)
"""Why the other payments fail, for good as long as the credential stays the same."""

PAYDAYS: Final = (1, 15, 25)
"""The day of the month on which a debtor of the sandbox is paid, UTC; one third each."""

_FUNDED_PERCENT: Final = ((4, 85), (8, 45), (99, 8))
"""Up to so many days after payday, the account covers the amount in so many of 100 cases."""

_ISSUER_PERCENT: Final = 70
_ISSUER_SLOT: Final = timedelta(hours=4)
_VAGUE_PERCENT: Final = 35
_DAY: Final = timedelta(days=1)
"""Within one slot of time the answer to the same payment stays the same."""

_EPOCH: Final = datetime.fromisoformat("2020-01-01T00:00:00+00:00")


class Odds(msgspec.Struct, frozen=True, kw_only=True):
    """One population: its seed, how many of 100 payments can be recovered, and a cause forced on all."""

    seed: str
    recoverable_percent: int
    cause: str | None = None


def cause_of(odds: Odds, payment_reference: str) -> str:
    """Return the decline code with which this payment fails until its luck changes; a demo reports it first."""
    if odds.cause is not None:
        return odds.cause
    recoverable = _roll(odds, payment_reference, "recoverable") < odds.recoverable_percent * PERCENT
    causes = CAUSES if recoverable else DEAD_CAUSES
    rest = _roll(odds, payment_reference, "cause") * sum(share for _, share in causes) // _BASIS_POINTS
    for code, share in causes:
        if rest < share:
            return code
        rest -= share
    raise AssertionError("the shares are walked to their sum")


def payday_of(odds: Odds, payment_reference: str) -> int:
    """Return the day of the month on which this payment's debtor is paid."""
    return PAYDAYS[_roll(odds, payment_reference, "payday") * len(PAYDAYS) // _BASIS_POINTS]


def declined_at(odds: Odds, payment_reference: str, now: datetime) -> str | None:
    """Return the decline code of a charge made now, or None when it is approved."""
    cause = cause_of(odds, payment_reference)
    if cause == "insufficient_funds":
        percent, slot = _funded_percent(odds, payment_reference, now), _DAY
    elif cause == "issuer_not_available":
        percent, slot = _ISSUER_PERCENT, _ISSUER_SLOT
    elif cause in {"do_not_honor", "generic_decline"}:
        percent, slot = _VAGUE_PERCENT, _DAY
    else:
        return cause
    luck = _roll(odds, payment_reference, f"luck:{(now - _EPOCH) // slot}")
    return None if luck < percent * PERCENT else cause


def _funded_percent(odds: Odds, payment_reference: str, now: datetime) -> int:
    since = (now.date() - _last_paid(payday_of(odds, payment_reference), now.date())).days
    return next(percent for days, percent in _FUNDED_PERCENT if since < days)


def _last_paid(payday: int, today: date) -> date:
    """The latest day, today included, on which the wages came: on a weekend they come on the Friday before."""
    month = today.replace(day=1) + timedelta(days=31)  # next month's pay may come early enough to be this month's
    while True:
        month = month.replace(day=1)
        nominal = month.replace(day=min(payday, monthrange(month.year, month.month)[1]))
        paid = nominal - timedelta(days=max(0, nominal.weekday() - 4))
        if paid <= today:
            return paid
        month -= timedelta(days=1)


def _roll(odds: Odds, payment_reference: str, what: str) -> int:
    """Return 0 to 9,999, evenly spread and always the same for the same question."""
    digest = hashlib.sha256(f"{odds.seed}|{payment_reference}|{what}".encode()).digest()
    return int.from_bytes(digest[:8], "big") % _BASIS_POINTS
