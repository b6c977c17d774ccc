"""Reference data: decline codes, network limits, refunds, time zones and paydays, each with its source (see README.md).

Read when first asked for, checked whole, then kept. A file that breaks its own rules raises `ReferenceDataBroken`
naming the file and the row; nothing is ever guessed from a broken table.
"""

from recoup_core.reference.declines import classify, code_named, retryable_codes, visa_category
from recoup_core.reference.limits import limit_rules
from recoup_core.reference.loading import ReferenceDataBroken
from recoup_core.reference.places import PaydayRule, main_zone, paydays
from recoup_core.reference.refunds import GatewayRefundRules, refund_rules

__all__ = [
    "GatewayRefundRules",
    "PaydayRule",
    "ReferenceDataBroken",
    "classify",
    "code_named",
    "limit_rules",
    "main_zone",
    "paydays",
    "refund_rules",
    "retryable_codes",
    "visa_category",
]
