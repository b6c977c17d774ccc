"""`balance_retries`: when a refund is tried again that the merchant's balance at the gateway had no money for."""

from datetime import timedelta
from typing import Final

from recoup_core.rules.language.actions.values import ValueReader
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.yamltext import Node, Seq, as_list

BALANCE_RETRIES: Final = "balance_retries"
"""The key."""

MAX_BALANCE_RETRIES: Final = 10
"""Further tries; after them a person is asked."""

MAX_BALANCE_WAIT: Final = timedelta(days=30)
"""The longest wait before one of them."""


def read_balance_retries(node: Node, report: Report) -> tuple[timedelta, ...] | None:
    """Read the waits, each counted from the try before it; none at all asks a person at once."""
    if isinstance(node, Seq) and not node.items:
        return ()
    items = as_list(node, f"`{BALANCE_RETRIES}`", report, most=MAX_BALANCE_RETRIES) or ()
    reader = ValueReader(report)
    waits = [reader.duration(item, f"a wait of `{BALANCE_RETRIES}`", MAX_BALANCE_WAIT) for item in items]
    found = tuple(wait for wait in waits if wait is not None)
    return found if found and len(found) == len(waits) else None
