"""How stored decisions are made again: per kind of policy, the types of what was stored and the function that decides.

Pure. The one table that replay and simulation share, so that a new kind is replayable the day it is stored.
"""

from collections.abc import Callable, Mapping
from typing import Any, Final, Protocol

import msgspec

from recoup_core.rules.deciding.decide import Situation, decide_retry
from recoup_core.rules.deciding.dunning import DunningSituation, decide_dunning
from recoup_core.rules.deciding.notice import NoticeSituation, decide_notice
from recoup_core.rules.deciding.refund import RefundSituation, decide_refund
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.facts import DunningFacts, NoticeFacts, PolicyKind, RefundFacts, RetryFacts


class AnyDecision(Protocol):
    """What every kind's decision has; each part can be written as JSON."""

    @property
    def rule(self) -> str: ...
    @property
    def outcome(self) -> Any: ...
    @property
    def explanation(self) -> Any: ...


class Decider(msgspec.Struct, frozen=True, kw_only=True):
    """How one kind decides, from JSON as it was stored."""

    facts: msgspec.json.Decoder[Any]
    situation: msgspec.json.Decoder[Any]
    decide: Callable[[CompiledPolicy, Any, Any], AnyDecision]


DECIDERS: Final[Mapping[PolicyKind, Decider]] = {
    PolicyKind.RETRY: Decider(
        facts=msgspec.json.Decoder(RetryFacts), situation=msgspec.json.Decoder(Situation), decide=decide_retry
    ),
    PolicyKind.DUNNING: Decider(
        facts=msgspec.json.Decoder(DunningFacts),
        situation=msgspec.json.Decoder(DunningSituation),
        decide=decide_dunning,
    ),
    PolicyKind.NOTICE: Decider(
        facts=msgspec.json.Decoder(NoticeFacts), situation=msgspec.json.Decoder(NoticeSituation), decide=decide_notice
    ),
    PolicyKind.REFUND: Decider(
        facts=msgspec.json.Decoder(RefundFacts), situation=msgspec.json.Decoder(RefundSituation), decide=decide_refund
    ),
}
"""Every kind of policy."""
