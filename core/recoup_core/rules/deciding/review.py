"""Who reviews one refund: from the levels, limits and times of a policy's `review` to people and dates."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from types import NoneType

import msgspec

from recoup_core.domain.money import Money
from recoup_core.rules.language.actions import ReviewSpec
from recoup_core.rules.timing import in_words


class Review(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True, tag="review"):
    """People decide, level after level; all of these must agree.

    Stored decisions must come out the same for good. So fields that are younger than the first of them are left out of
    the JSON at their default, and `decide_by`, which they all have, never is.
    """

    levels: tuple[tuple[str, ...], ...]
    """Per level the roles of which one decides it. Where one level decides alone by its limit, only that one."""
    decide_by: datetime | None = msgspec.field(default_factory=NoneType)  # a factory's default is never left out
    """When all levels shall have decided; None: the policy sets no time."""
    escalate_to: tuple[str, ...] = ()
    """Roles that may decide in place of any open level after `decide_by`."""
    expires_at: datetime | None = None
    """When it is closed if nobody has decided; None: the policy sets no time."""
    limit: Money | None = None
    """What the level that decides alone may decide at most; None: it has no limit, or all levels decide."""


def reviewed(spec: ReviewSpec, amount: Money, now: datetime) -> tuple[Review, tuple[str, ...]]:
    """Return who reviews an amount that was asked for now, and why in words."""
    who = reviewers(spec, amount)
    decide_by, expires_at = _after(now, spec.within), _after(now, spec.expires)
    review = msgspec.structs.replace(who, decide_by=decide_by, expires_at=expires_at)
    return review, tuple(_because(spec, who.levels, amount))


def reviewers(spec: ReviewSpec, amount: Money) -> Review:
    """Return who reviews an amount, whenever it was asked for."""
    number = spec.alone(amount)
    return Review(
        levels=spec.levels if number is None else (spec.levels[number],),
        escalate_to=spec.escalate_to,
        limit=None if number is None else spec.limit(number, amount.currency),
    )


def _after(now: datetime, wait: timedelta | None) -> datetime | None:
    return None if wait is None else now + wait


def _because(spec: ReviewSpec, levels: tuple[tuple[str, ...], ...], amount: Money) -> Iterator[str]:
    yield "by " + ", then ".join(" or ".join(level) for level in levels)
    if spec.limits:
        yield from _levels_tried(spec, amount)
    if spec.within is not None:
        yield f"within {in_words(spec.within)}"
    if spec.escalate_to:
        yield f"after that also by {' or '.join(spec.escalate_to)}"
    if spec.expires is not None:
        yield f"closed after {in_words(spec.expires)}"


def _levels_tried(spec: ReviewSpec, amount: Money) -> Iterator[str]:
    """Yield what each level may decide alone, up to the one that does."""
    number = spec.alone(amount)
    for level in range(len(spec.levels) if number is None else number + 1):
        limit = spec.limit(level, amount.currency)
        if limit is not None:
            may = f"at most {limit}"
        else:
            may = "any amount" if level >= len(spec.limits) else f"nothing in {amount.currency}"
        yield f"level {level + 1} may decide {may} alone{', and does' if level == number else ''}"
    if number is None:
        yield "no level may decide it alone, so all do"
