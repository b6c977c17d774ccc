"""`late_success`: what becomes of money that comes in for a debt that was given up before."""

from enum import StrEnum
from typing import Final

from recoup_core.rules.language.actions.values import ValueReader
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.yamltext import Node

LATE_SUCCESS: Final = "late_success"
"""The key."""


class LateSuccess(StrEnum):
    """What is done with it."""

    ACCEPT = "accept"
    """It is kept: the debt is paid, and access is restored where dunning took it away."""
    REFUND = "refund"
    """It goes back, by a refund under the refund policy."""
    ASK = "ask"
    """It is kept until a person has decided."""


def read_late_success(node: Node, report: Report) -> LateSuccess | None:
    """Read the word."""
    word = ValueReader(report).word(node, f"`{LATE_SUCCESS}`", tuple(each.value for each in LateSuccess))
    return None if word is None else LateSuccess(word)
