"""What two texts of a policy do differently, as values."""

from typing import ClassVar

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.rules.facts import PolicyKind


class KindsDiffer(DomainError):
    """Policies of different kinds decide about different things; they can't be held against each other."""

    code: ClassVar[str] = "policy_kinds_differ"

    def __init__(self, old: str, new: str) -> None:
        super().__init__(f"a {old} policy can't be held against a {new} policy")


class Side(msgspec.Struct, frozen=True, kw_only=True):
    """One of the two texts."""

    name: str
    digest: str
    source: str
    rules: int


class RulePlace(msgspec.Struct, frozen=True, kw_only=True):
    """A rule of one of the texts."""

    rule: str
    line: int


class Pair(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that one rule of the old text decided and one of the new text decides, to another end."""

    old: RulePlace
    new: RulePlace
    given: str
    """The smallest such facts that were found, as an example of the new text gives them."""


class Change(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that is done where another was."""

    before: tuple[str, ...]
    """What the old text does, in words; a campaign has a line a step."""
    after: tuple[str, ...]
    example: str
    """The smallest `given` of the pairs."""
    pairs: tuple[Pair, ...]


class Coverage(msgspec.Struct, frozen=True, kw_only=True):
    """Payments that only one of the texts is for; for the others another policy decides, or none."""

    now: bool
    """Whether it is the new text that is for them."""
    given: str
    rule: RulePlace
    """The rule that decides, in the text that is for them."""
    outcome: tuple[str, ...]


class PolicyDiff(msgspec.Struct, frozen=True, kw_only=True):
    """The difference in meaning between two texts."""

    kind: PolicyKind
    old: Side
    new: Side
    coverage: tuple[Coverage, ...]
    changes: tuple[Change, ...]
    counted: tuple[str, ...]
    """Retry rules that were split or joined: each counts its waits by itself, so a sequence may come out otherwise."""
    evidence: tuple[str, ...]
    """Of refund policies: what evidence a reason takes now."""
    balance: tuple[str, ...] = ()
    """Of refund policies: how often a refund is tried now that the balance at the gateway has no money for."""
    late: tuple[str, ...] = ()
    """Of retry policies: what becomes now of money that comes in after the debt was given up."""
    renamed: tuple[tuple[str, str], ...]
    """Rules that do the same under another name; no difference in meaning, but explanations name them."""
    undecided: tuple[str, ...]
    """Rules of the new text that took too long to be held against the old one; more may differ there."""
    same: bool
    """Whether the texts mean the same for every payment. False also where that took too long to decide."""
