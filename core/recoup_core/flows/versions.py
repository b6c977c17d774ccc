"""The life of a policy version: brought in, watched, put in force, taken out of it, rolled back. All of it audited."""

import asyncio
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.cardnumbers import refuse_card_numbers
from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.versions import PolicyVersion, VersionEvent, VersionState
from recoup_core.flows.context import Context
from recoup_core.flows.desk import Change, Desk, changing_policies
from recoup_core.flows.operate import NotAllowedNow, NotFound
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy, parse_policy
from recoup_core.rules.sets.folder import PolicyFile, PolicySet, check_set
from recoup_core.storage.calls import Call, recall, remember
from recoup_core.storage.versions import VersionText, live_version, read_version, version_before

NOTE_MAX: Final = 1_000
"""Characters of an author's note about a version."""

_VERSION: Final = "policy version"


class HouseVersion(DomainError):
    """A merchant's key asked to change a version of the house."""

    code = "house_version"

    def __init__(self, version_id: UUID) -> None:
        super().__init__(
            f"the version {version_id} is the house's, in force for every merchant; submit its text as your own instead"
        )


class Submitted(msgspec.Struct, frozen=True):
    """A version, whether the text came in for the first time, and what is doubtful about it."""

    version: PolicyVersion
    fresh: bool
    warnings: tuple[Problem, ...]


async def submit(context: Context, text: str, source: str, change: Change) -> Submitted:
    """Check a text and keep it as a draft; the same text again is the same version.

    Raises `PolicyInvalid` with every problem, `CardNumberRefused`, and `WorkbenchBusy`.
    """
    refuse_card_numbers(change.note or "", "note")
    async with context.policies.workbench.place():
        checked = await asyncio.to_thread(_check, text, source)
        (policy,) = checked.policies
        await asyncio.to_thread(context.policies.texts.publish, policy)
    async with changing_policies(context, change) as desk:
        version, fresh = await desk.bring(policy)
    return Submitted(version, fresh, checked.warnings)


async def shadow(context: Context, version_id: UUID, change: Change) -> PolicyVersion:
    """Let a version decide beside the live one; raises `NotFound`, `HouseVersion`, `IllegalTransition`."""
    async with changing_policies(context, change) as desk:
        version = await own_version(desk, version_id)
        if version.state is VersionState.SHADOW:
            return version
        return await desk.move(version, VersionEvent.SHADOW, EventKind.POLICY_SHADOWED)


async def activate(context: Context, version_id: UUID, change: Change) -> PolicyVersion:
    """Put a version in force in place of the present one: at once, for every decision that starts later, everywhere.

    Raises `NotFound`, `HouseVersion`, and `PolicyInvalid` where a payment could then get either of two policies, or
    where today's parser refuses the text.
    """
    async with context.database.connection() as connection:
        wanted = await read_version(connection, version_id)
    if wanted is not None:
        await _publish(context, wanted)  # before anything is locked
    async with changing_policies(context, change) as desk:
        return await desk.activate(await own_version(desk, version_id))


async def retire(context: Context, version_id: UUID, change: Change) -> PolicyVersion:
    """Take a version out of use. Running cases keep it; new ones get what else applies to them, if anything does."""
    async with changing_policies(context, change) as desk:
        version = await own_version(desk, version_id)
        if version.state is VersionState.RETIRED:
            return version
        return await desk.move(version, VersionEvent.RETIRE, EventKind.POLICY_RETIRED, because="asked for")


async def roll_back(context: Context, kind: str, name: str, change: Change, call: Call | None = None) -> PolicyVersion:
    """Put the version in force that was before the present one; once more brings the present one back.

    So the same `call` again, for a merchant, returns its first answer and does nothing. Raises `NotFound` where the
    owner never had a policy of this name in force, `NotAllowedNow` where there is no earlier version, `PolicyInvalid`.
    """
    async with changing_policies(context, change) as desk:
        owner = change.merchant_id
        answered = None if call is None or owner is None else await recall(desk.connection, owner, call)
        if answered is not None:
            return msgspec.json.decode(answered, type=PolicyVersion)
        before = await version_before(desk.connection, owner, kind, name)
        if before is None:
            if await live_version(desk.connection, owner, kind, name) is None:
                raise NotFound("policy", f"{kind}/{name}")
            raise NotAllowedNow(f"{kind}/{name} has no earlier version to go back to")
        wanted = await read_version(desk.connection, before.id)
        assert wanted is not None  # just read, and never deleted
        await _publish(context, wanted)
        back = await desk.activate(before, EventKind.POLICY_ROLLED_BACK)
        if call is not None and owner is not None:
            desk.changes.add(remember(call, owner, msgspec.json.encode(back), desk.now))
        return back


async def own_version(desk: Desk, version_id: UUID) -> PolicyVersion:
    """Return the version, if it is the asking owner's to change; raises `NotFound` and `HouseVersion`."""
    version = await read_version(desk.connection, version_id)
    owner = desk.change.merchant_id
    if version is None or version.merchant_id not in (None, owner):
        raise NotFound(_VERSION, version_id)
    if version.merchant_id != owner:
        raise HouseVersion(version_id)
    return msgspec.convert(version, PolicyVersion, from_attributes=True)


async def _publish(context: Context, version: VersionText) -> None:
    """Hold a text to today's parser and publish gate; afterwards it is at hand, compiled."""
    policies = context.policies
    if policies.texts.get(version.digest) is None:
        policy = await policies.in_thread(_parse, version.body, version.source)
        await policies.in_thread(policies.texts.publish, policy)


def _check(text: str, source: str) -> PolicySet:
    return check_set([PolicyFile(source, text)], called=source)


def _parse(text: str, source: str) -> Policy:
    return parse_policy(text, source=source)
