"""Reference data: decline codes, network limits, time zones and paydays, each with its source (README.md here).

Read when first asked for, checked whole, then kept. A file that breaks its own rules raises `ReferenceDataBroken`
naming the file and the row; nothing is ever guessed from a broken table.
"""

from recoup_core.reference.declines import classify, retryable_codes, visa_category
from recoup_core.reference.limits import limit_rules
from recoup_core.reference.loading import ReferenceDataBroken
from recoup_core.reference.places import PaydayRule, main_zone, paydays

__all__ = [
    "PaydayRule",
    "ReferenceDataBroken",
    "classify",
    "limit_rules",
    "main_zone",
    "paydays",
    "retryable_codes",
    "visa_category",
]
