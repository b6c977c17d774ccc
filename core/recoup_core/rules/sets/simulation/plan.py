"""What is simulated: new texts, and the policies that stay in force beside them."""

from typing import ClassVar, Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.rules.engine.compile import EngineChoice, compile_policy
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.sets.book import PolicyBook

MAX_TEXTS: Final = 500
"""As many as a folder may hold."""


class NoHistory(DomainError):
    """Asked to simulate notice policies alone: what they decide about is still to come and has no history."""

    code: ClassVar[str] = "no_history"

    def __init__(self) -> None:
        super().__init__(
            "notice policies can't be simulated: they decide about charges that are still to come, and history has "
            "none of those; put timelines into the file, `recoup policy test` runs them"
        )


class TextIn(msgspec.Struct, frozen=True, kw_only=True):
    """A policy's text and what it is called in messages."""

    source: str
    text: str


class SimulationPlan(msgspec.Struct, frozen=True, kw_only=True):
    """Travels to every process that takes part; each compiles it once."""

    new: tuple[TextIn, ...]
    others: tuple[TextIn, ...] = ()
    """What stays in force; those of the same kind and name as a new one are left out."""

    def book(self) -> "SimulatedBook":
        """Return the book that would be in force; notice policies are left out, for nothing past concerns them.

        Raises `PolicyInvalid`, also where it would be ambiguous, and `NoHistory` where nothing is left.
        """
        read = [parse_policy(each.text, source=each.source) for each in self.new]
        new = [policy for policy in read if policy.kind is not PolicyKind.NOTICE]
        if read and not new:
            raise NoHistory
        replaced = {(policy.kind, policy.name) for policy in new}
        others = [parse_policy(each.text, source=each.source) for each in self.others]
        return SimulatedBook(new, [policy for policy in others if (policy.kind, policy.name) not in replaced])


class SimulatedBook:
    """The policies to choose from. The plain evaluator decides: the new texts have passed the publish gate before."""

    def __init__(self, new: list[Policy], others: list[Policy]) -> None:
        self.new = new
        self.names = frozenset((policy.kind.value, policy.name) for policy in new)
        self.kinds = frozenset(policy.kind.value for policy in new)
        self.complete = bool(others)
        """Whether what stays in force is known, too."""
        self.book = PolicyBook(
            [compile_policy(policy, engine=EngineChoice.CLOSURES) for policy in (*new, *others)],
            engine=EngineChoice.CLOSURES,
        )
