"""What rules do, kind by kind."""

from collections.abc import Callable, Mapping
from typing import Any, Final

import msgspec

from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.facts.stops import StopReason
from recoup_core.rules.language.actions.dunning import DunningReader
from recoup_core.rules.language.actions.notices import NoticeOn, NoticeReader, NoticeSpec, NoticesSpec
from recoup_core.rules.language.actions.refund import ApproveSpec, DenySpec, RefundReader
from recoup_core.rules.language.actions.retry import Day, RetryReader, RetrySpec, StopSpec
from recoup_core.rules.language.actions.review import ReviewSpec
from recoup_core.rules.language.actions.steps import On, QuietSpec, StepSpec, StepsSpec
from recoup_core.rules.language.errors import Report
from recoup_core.rules.language.yamltext import Map, Node

__all__ = [
    "ACTIONS",
    "Action",
    "ActionLanguage",
    "ApproveSpec",
    "Day",
    "DenySpec",
    "NoticeOn",
    "NoticeSpec",
    "NoticesSpec",
    "On",
    "QuietSpec",
    "RetrySpec",
    "ReviewSpec",
    "StepSpec",
    "StepsSpec",
    "StopReason",
    "StopSpec",
]

Action = RetrySpec | StopSpec | StepsSpec | NoticesSpec | QuietSpec | ApproveSpec | ReviewSpec | DenySpec


class ActionLanguage(msgspec.Struct, frozen=True, kw_only=True):
    """The actions that a rule of one kind may have."""

    reader: Callable[[Report], Any]
    """Makes what reads the actions of one file."""
    read: Mapping[str, Callable[[Any, Node], Action | None]]
    """Per key of a rule, how its value is read."""
    final: frozenset[str]
    """Keys of actions that always apply, so that `otherwise` has no effect beside them."""
    together: Callable[[Any, Map, Action, Action | None], None] | None = None
    """Checks what only both actions of a rule tell; called when all that is there could be read."""


ACTIONS: Final[Mapping[PolicyKind, ActionLanguage]] = {
    PolicyKind.RETRY: ActionLanguage(
        reader=RetryReader,
        read={"retry": RetryReader.retry, "stop": RetryReader.stop},
        final=frozenset({"stop"}),
    ),
    PolicyKind.DUNNING: ActionLanguage(
        reader=DunningReader,
        read={"steps": DunningReader.steps, "quiet": DunningReader.quiet},
        final=frozenset({"steps", "quiet"}),
    ),
    PolicyKind.REFUND: ActionLanguage(
        reader=RefundReader,
        read={"approve": RefundReader.approve, "review": RefundReader.review, "deny": RefundReader.deny},
        final=frozenset({"review", "deny"}),
        together=RefundReader.together,
    ),
    PolicyKind.NOTICE: ActionLanguage(
        reader=NoticeReader,
        read={"notices": NoticeReader.notices, "quiet": NoticeReader.quiet},
        final=frozenset({"notices", "quiet"}),
    ),
}
"""The actions of each kind of policy."""
