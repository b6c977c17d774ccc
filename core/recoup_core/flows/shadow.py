"""Shadows: what a version that is not in force would have decided, beside every decision that was made.

A shadow follows the stored decisions: each holds the facts and the situation it was made on, so the shadow decides on
the very same, a moment later and away from the live path. It can neither delay nor fail what is live.
"""

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Final
from uuid import UUID

import msgspec
import structlog

from recoup_core.domain.errors import DomainError
from recoup_core.flows.context import Context
from recoup_core.flows.operate import NotFound
from recoup_core.rules.deciding.deciders import DECIDERS
from recoup_core.rules.engine.compile import CompiledPolicy
from recoup_core.rules.language.errors import PolicyInvalid
from recoup_core.rules.language.schema import Policy
from recoup_core.storage.shadows import (
    Followed,
    Place,
    ShadowDecision,
    ShadowDifference,
    ShadowSeen,
    decisions_to_follow,
    keep_followed,
    list_differences,
    place_of,
    shadow_seen,
    shadow_versions,
)
from recoup_core.storage.versions import VersionText, read_version

log = structlog.get_logger(__name__)

PAGE: Final = 1_000
"""Decisions that a shadow looks at in one go."""

PAGES: Final = 10
"""Pages of one round; the next goes on."""

UNDECIDED: Final = msgspec.Raw(b'{"type":"undecided"}')


class ShadowReport(msgspec.Struct, frozen=True, kw_only=True):
    """What a shadow has seen, and a page of where it differs."""

    seen: ShadowSeen
    differences: Sequence[ShadowDifference]


async def follow_shadows(context: Context, now: datetime) -> int:
    """Let every shadow look at the decisions made since; return how many it decided beside. Any process may."""
    async with context.database.connection() as connection:
        versions = await shadow_versions(connection)
    total = 0
    for version in versions:
        try:
            total += await _follow(context, version, now)
        except (PolicyInvalid, DomainError) as unusable:  # a text that a newer parser refuses concerns nobody else
            log.warning("shadow_unusable", version=str(version.id), error=str(unusable))
    return total


async def shadow_report(
    context: Context, version_id: UUID, merchant_id: str | None, before: int | None, limit: int
) -> ShadowReport:
    """Return what a version has seen in shadow, for one merchant or (None) for the operator; raises `NotFound`."""
    async with context.database.connection() as connection:
        version = await read_version(connection, version_id)
        if version is None or version.merchant_id not in (None, merchant_id):
            raise NotFound("policy version", version_id)
        seen = await shadow_seen(connection, version_id, merchant_id)
    differences = await list_differences(context.database, version_id, merchant_id, before, limit)
    return ShadowReport(seen=seen, differences=differences)


async def _follow(context: Context, version: VersionText, now: datetime) -> int:
    compiled = await _compiled(context, version)
    total = 0
    async with context.database.connection() as connection:
        place = await place_of(connection, version)
    for _ in range(PAGES):
        async with context.database.connection() as connection:
            rows = await decisions_to_follow(connection, version, place, now, PAGE)
        live = await _live_policies(context, rows)
        found = await context.policies.in_thread(_beside, version.id, compiled, live, rows)
        more = len(rows) == PAGE
        async with context.database.transaction() as connection:
            await keep_followed(connection, version, found, rows[-1].decided_at if more else now, now)
        total += len(found)
        if not more:
            break
        place = Place(rows[-1].decided_at, rows[-1].id)
    return total


async def _compiled(context: Context, version: VersionText) -> CompiledPolicy:
    compiled: CompiledPolicy = await context.policies.in_thread(
        context.policies.texts.compile, version.body, version.source
    )
    return compiled


async def _live_policies(context: Context, rows: Sequence[Followed]) -> dict[str, Policy]:
    """Return the policies that decided, as far as they can still be read."""
    digests = {row.policy_digest for row in rows}
    known = {digest: context.policies.at_hand(digest) for digest in digests}
    known |= await context.policies.pinned([digest for digest, policy in known.items() if policy is None])
    return {digest: policy.policy for digest, policy in known.items() if isinstance(policy, CompiledPolicy)}


def _beside(
    version_id: UUID, shadow: CompiledPolicy, live: dict[str, Policy], rows: Sequence[Followed]
) -> list[ShadowDecision]:
    decided = (_decide(version_id, shadow, live.get(row.policy_digest), row) for row in rows)
    return [each for each in decided if each is not None]


def _decide(version_id: UUID, shadow: CompiledPolicy, live: Policy | None, row: Followed) -> ShadowDecision | None:
    """Decide beside one decision; None where the shadow would not have been asked if it were in force."""
    decider = DECIDERS[shadow.policy.kind]
    outcome, note, agrees = UNDECIDED, None, False
    try:
        facts = decider.facts.decode(row.facts)
        if not _would_be_asked(shadow.policy, live, facts):
            return None
        decision = decider.decide(shadow, facts, decider.situation.decode(row.situation))
        outcome, note = msgspec.Raw(msgspec.json.encode(decision.outcome)), decision.rule
        agrees = msgspec.json.decode(outcome) == msgspec.json.decode(row.outcome)
    except Exception as error:  # whatever it was: it is the shadow's, and told as such
        note = f"could not decide: {type(error).__name__}"
    return ShadowDecision(
        version_id=version_id,
        decision_id=row.id,
        merchant_id=row.merchant_id,
        case_id=row.case_id,
        refund_id=row.refund_id,
        agrees=agrees,
        outcome=outcome,
        note=note,
        decided_at=row.decided_at,
    )


def _would_be_asked(shadow: Policy, live: Policy | None, facts: Any) -> bool:
    """In force, a version stands in for the one of its name, and goes before any whose payments include its own."""
    if not shadow.applies_to.covers(facts):
        return False
    return live is None or live.name == shadow.name or shadow.applies_to.narrower(live.applies_to)
