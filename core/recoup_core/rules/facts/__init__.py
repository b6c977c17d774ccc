"""The facts that policies may ask about, kind by kind."""

from collections.abc import Mapping
from typing import Final

from recoup_core.rules.facts.declare import (
    COUNTRIES,
    CURRENCIES,
    AnyFacts,
    Fact,
    FactKind,
    Facts,
    PolicyKind,
    Vocabulary,
)
from recoup_core.rules.facts.dunning import DUNNING, DunningFacts
from recoup_core.rules.facts.notice import NOTICE, NoticeFacts
from recoup_core.rules.facts.refund import (
    REFUND,
    AgentFacts,
    RefundCustomerFacts,
    RefundFacts,
    RefundSubscriptionFacts,
)
from recoup_core.rules.facts.retry import RETRY, CustomerFacts, Interval, RetryFacts, SubscriptionFacts

__all__ = [
    "COUNTRIES",
    "CURRENCIES",
    "DUNNING",
    "NOTICE",
    "REFUND",
    "RETRY",
    "VOCABULARIES",
    "AgentFacts",
    "AnyFacts",
    "CustomerFacts",
    "DunningFacts",
    "Fact",
    "FactKind",
    "Facts",
    "Interval",
    "NoticeFacts",
    "PolicyKind",
    "RefundCustomerFacts",
    "RefundFacts",
    "RefundSubscriptionFacts",
    "RetryFacts",
    "SubscriptionFacts",
    "Vocabulary",
]

VOCABULARIES: Final[Mapping[PolicyKind, Vocabulary]] = {each.kind: each for each in (RETRY, DUNNING, REFUND, NOTICE)}
"""What policies of each kind may ask about."""
