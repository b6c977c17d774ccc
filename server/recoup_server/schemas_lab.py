"""Bodies of the policy author's workbench: questions about what policies would do, and the answers."""

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID
from zoneinfo import available_timezones

import msgspec
from msgspec import Meta

from recoup_core.flows.explain import CaseTold
from recoup_core.rules.deciding.explain import Explained
from recoup_core.rules.deciding.what_if import FIRST_YEAR, LAST_YEAR, WhatIf
from recoup_core.rules.facts import PolicyKind
from recoup_core.rules.language.given import MAX_GIVEN
from recoup_server.errors import RequestInvalid
from recoup_server.schemas_in import Body, Country, Day, Moment, Short
from recoup_server.schemas_out import Out
from recoup_server.schemas_policies import POLICY_FILE, FileName, Text

MAX_EVIDENCE: Final = 20


class SituationIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What a decision needs besides the facts; what is left out is taken to be ordinary."""

    now: Annotated[Moment | None, Meta(description="When the decision is made; now, if not given.")] = None
    zone: Annotated[str, Meta(max_length=64, description="IANA name (`Europe/Berlin`).")] | None = None
    used: Annotated[int, Meta(ge=0, le=100, description="Retries that the firing rule has led to.")] | None = None
    paydays: Annotated[tuple[Day, ...], Meta(max_length=31)] = ()
    acquirer: Country | None = None
    retry_at: Annotated[Moment | None, Meta(description="For dunning: when the planned retry is due.")] = None
    evidence: Annotated[tuple[Short, ...], Meta(max_length=MAX_EVIDENCE)] | None = None
    """For refunds: what was handed in; all that is needed, if not given."""

    def what_if(self, now: datetime) -> WhatIf:
        """Return it as rules know it; what is no zone, or no time that payments are made at, is refused."""
        if self.zone is not None and self.zone not in available_timezones():
            raise RequestInvalid("situation.zone", "is no time zone of the IANA database")
        for name, at in (("now", self.now), ("retry_at", self.retry_at)):
            if at is not None and not FIRST_YEAR <= at.year <= LAST_YEAR:
                raise RequestInvalid(f"situation.{name}", f"must lie between the years {FIRST_YEAR} and {LAST_YEAR}")
        return WhatIf(
            now=self.now or now,
            used=self.used,
            zone=self.zone,
            paydays=self.paydays,
            acquirer=self.acquirer,
            retry_at=self.retry_at,
            evidence=self.evidence,
        )


class ExplainIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A question: about facts, decided by the policies in force, a version or a text; or about a case."""

    kind: PolicyKind = PolicyKind.RETRY
    """Which of the policies in force is asked; a version and a text have a kind of their own."""
    facts: Annotated[Mapping[str, Any], Meta(max_length=MAX_GIVEN)] = msgspec.field(default_factory=dict)
    """By name, nested or dotted; the rest is as in an example's baseline."""
    situation: SituationIn = SituationIn()
    version_id: UUID | None = None
    """A version of the caller's merchant or of the house, in whatever state."""
    text: Text | None = None
    name: FileName = POLICY_FILE
    case_id: UUID | None = None
    """A case whose stored decisions are explained, the latest first."""
    decision_id: UUID | None = None
    """Of the case: this decision only."""
    again: bool = False
    """Of the case: what would be decided now; nothing is stored."""

    def check(self) -> None:
        """Refuse a question that asks several things at once."""
        asked = [name for name in ("version_id", "text", "case_id") if getattr(self, name) is not None]
        if len(asked) > 1:
            raise RequestInvalid(asked[1], f"can't be given together with {asked[0]}")
        if self.case_id is None and (self.again or self.decision_id is not None):
            raise RequestInvalid("again" if self.again else "decision_id", "goes with case_id")
        if self.case_id is not None and (self.facts or self.situation != SituationIn()):
            raise RequestInvalid("facts" if self.facts else "situation", "a case has its own")


class ExplainOut(Out, frozen=True, kw_only=True):
    """An explanation, in words and as data."""

    words: list[str]
    explained: Explained | None
    """Of a question about facts."""
    case: CaseTold | None
    """Of a question about a case."""
