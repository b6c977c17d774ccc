"""Retry timing: from a rule's `retry` and what is known of the failure to one moment, and the steps that led to it.

Pure: no clock, no randomness. The caller passes `now`; jitter comes from the seed. A planned time satisfies every part
of the rule at once, or the rule doesn't apply and says why.
"""

from recoup_core.rules.timing.calendar import is_business_day, is_holiday, payday_on
from recoup_core.rules.timing.hours import first_within, last_within, zone_of
from recoup_core.rules.timing.plan import (
    MAX_SEARCH_DAYS,
    DoesNotApply,
    Planned,
    TimingContext,
    earliest,
    in_words,
    next_time,
)

__all__ = [
    "MAX_SEARCH_DAYS",
    "DoesNotApply",
    "Planned",
    "TimingContext",
    "earliest",
    "first_within",
    "in_words",
    "is_business_day",
    "is_holiday",
    "last_within",
    "next_time",
    "payday_on",
    "zone_of",
]
