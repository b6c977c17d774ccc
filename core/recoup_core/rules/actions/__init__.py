"""What rules do, kind by kind."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from recoup_core.rules.actions.retry import Day, RetryReader, RetrySpec, StopSpec
from recoup_core.rules.errors import Report
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.stops import StopReason
from recoup_core.rules.yamltext import Node

__all__ = ["ACTIONS", "Action", "ActionLanguage", "Day", "RetrySpec", "StopReason", "StopSpec"]

Action = RetrySpec | StopSpec


class ActionLanguage(msgspec.Struct, frozen=True, kw_only=True):
    """The actions that a rule of one kind may have."""

    reader: Callable[[Report], Any]
    """Makes what reads the actions of one file."""
    read: Mapping[str, Callable[[Any, Node], Action | None]]
    """Per key of a rule, how its value is read."""
    final: frozenset[str]
    """Keys of actions that always apply, so that `otherwise` has no effect beside them."""


ACTIONS: Final[Mapping[PolicyKind, ActionLanguage]] = {
    PolicyKind.RETRY: ActionLanguage(
        reader=RetryReader,
        read={"retry": RetryReader.retry, "stop": RetryReader.stop},
        final=frozenset({"stop"}),
    ),
}
"""The actions of each kind of policy."""
