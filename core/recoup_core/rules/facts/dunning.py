"""The facts a dunning policy may ask about: those of the case, and whether retries go on."""

from typing import Final

import msgspec

from recoup_core.rules.facts.declare import FactKind, PolicyKind, Vocabulary, choice, declared, fact
from recoup_core.rules.facts.retry import (
    BASELINE,
    CASE,
    CustomerFacts,
    RetryFacts,
    SubscriptionFacts,
    retries_follow,
)
from recoup_core.rules.facts.stops import StopReason


class DunningFacts(RetryFacts, frozen=True, kw_only=True, omit_defaults=True):
    """All that a dunning policy decides on, as of the latest decline; None means missing."""

    retry_planned: bool = True
    """Whether the retry policy has planned another attempt."""
    stop_reason: str | None = None
    """Why retries stopped, `StopReason`; None while they go on."""


_K: Final = FactKind

DUNNING: Final = Vocabulary(
    kind=PolicyKind.DUNNING,
    facts=declared(
        *CASE,
        fact("retry_planned", _K.BOOL, "whether the retry policy has planned another attempt"),
        choice("stop_reason", StopReason, "why retries stopped", optional=True),
    ),
    baseline=msgspec.convert(msgspec.structs.asdict(BASELINE), DunningFacts),
    group_types={"customer": CustomerFacts, "subscription": SubscriptionFacts},
    follow=retries_follow,
)
"""The vocabulary of `dunning` policies."""
