"""A policy as a value: what it is for, its rules in order, its examples; named by the digest of its exact text."""

from collections.abc import Mapping
from datetime import timedelta
from hashlib import sha256

import msgspec

from recoup_core.rules.facts import Facts, PolicyKind, Vocabulary
from recoup_core.rules.language.actions import Action
from recoup_core.rules.language.applies import AppliesTo
from recoup_core.rules.language.conditions import Condition
from recoup_core.rules.language.examples import Example
from recoup_core.rules.language.late import LateSuccess
from recoup_core.rules.language.reasons import Reasons
from recoup_core.rules.language.timelines import Timeline


class Rule(msgspec.Struct, frozen=True, kw_only=True):
    """One rule; the first whose condition is true decides."""

    name: str
    line: int
    when: Condition | None = None
    """None only for the last rule, which always fires."""
    action: Action
    otherwise: Action | None = None
    """What counts when the action does not apply: a retry's waits used up, window closed, no backup (None: stop,
    exhausted); beyond an approval's bounds."""


class Policy(msgspec.Struct, frozen=True, kw_only=True):
    """One immutable version of a policy, named by the digest of its exact text."""

    kind: PolicyKind
    name: str
    note: str = ""
    digest: str
    """SHA-256 of the text's UTF-8 bytes, in hex."""
    text: str
    source: str
    """Where the text came from, for messages."""
    applies_to: AppliesTo
    reasons: Reasons | None = None
    """Of a refund policy: the reasons it knows; None: any, without evidence."""
    balance_retries: tuple[timedelta, ...] | None = None
    """Of a refund policy: the waits before a refund is tried again that the balance at the gateway had no money for;
    none: a person is asked at once; None: the policy doesn't say."""
    late_success: LateSuccess = LateSuccess.ACCEPT
    """Of a retry policy: what becomes of money that comes in after the debt was given up."""
    define: Mapping[str, Condition]
    rules: tuple[Rule, ...]
    examples: tuple[Example, ...]
    timelines: tuple[Timeline, ...] = ()
    """Whole sequences; `rules/study/rehearsal.py` runs them, reading does not."""

    @property
    def vocabulary(self) -> Vocabulary:
        """What its conditions may ask about."""
        return self.applies_to.vocabulary

    @property
    def baseline(self) -> Facts:
        """The facts that examples start from."""
        return self.applies_to.baseline(self.vocabulary.baseline)


def digest_of(text: str) -> str:
    """Return the digest that names a policy version."""
    return sha256(text.encode()).hexdigest()
