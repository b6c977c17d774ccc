"""Deploying a set of policy files: what would change is planned, shown, and done as a whole or not at all.

`apply_policies` makes an owner's live versions what the files say. `apply_files` does it when a process starts, for
files that have changed since they were last put in force that way; so a start never undoes what others activated.
"""

import asyncio
from collections.abc import Mapping, Sequence
from enum import StrEnum
from typing import Final

import msgspec

from recoup_core.domain.errors import DomainError
from recoup_core.domain.happened import EventKind
from recoup_core.domain.versions import PolicyVersion, VersionEvent, VersionOrigin
from recoup_core.flows.context import Context
from recoup_core.flows.desk import Change, Desk, changing_policies
from recoup_core.flows.draft import SYSTEM
from recoup_core.rules.language.errors import Problem
from recoup_core.rules.language.schema import Policy
from recoup_core.rules.sets.book import PolicyBook
from recoup_core.rules.sets.folder import PolicyFile, PolicySet, check_set
from recoup_core.storage.versions import (
    AppliedFile,
    applied_files,
    forget_file,
    live_version,
    own_live,
    remember_file,
)

GONE: Final = "its file is gone"


class PlannedAct(StrEnum):
    """What a deployment does about one name."""

    ADD = "add"
    CHANGE = "change"
    REMOVE = "remove"
    KEEP = "keep"


class PlanLine(msgspec.Struct, frozen=True, kw_only=True):
    """One policy of the files, or one that is live and in none of them."""

    act: PlannedAct
    kind: str
    name: str
    digest: str | None
    """Of the file's text; None where there is no file."""
    live: str | None
    """Of the text that is live before; None where none is."""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """What a deployment would change, or has changed, by kind and name."""

    lines: tuple[PlanLine, ...]
    warnings: tuple[Problem, ...] = ()
    """What is doubtful about the files."""

    @property
    def changes(self) -> tuple[PlanLine, ...]:
        """The lines that are not just as they were."""
        return tuple(line for line in self.lines if line.act is not PlannedAct.KEEP)


class PlanChanged(DomainError):
    """Between showing a plan and carrying it out, somebody else changed what is live."""

    code = "plan_changed"

    def __init__(self) -> None:
        super().__init__("what is in force has changed since the plan was made; nothing was done, look at a new plan")


class _Enough(Exception):
    """Ends the transaction of a plan that is only to be looked at."""

    def __init__(self, plan: Plan) -> None:
        super().__init__("planned")
        self.plan = plan


async def apply_policies(
    context: Context, files: Sequence[PolicyFile], change: Change, *, dry_run: bool = False, shown: Plan | None = None
) -> Plan:
    """Make the owner's live policies exactly these files, in one transaction, and return what that changed.

    With `dry_run` everything is tried and nothing kept. With `shown`, the plan that somebody agreed to, it is that or
    nothing: `PlanChanged`. Raises `PolicyInvalid`, and `WorkbenchBusy`.
    """
    async with context.policies.workbench.place():
        checked = await asyncio.to_thread(_check, files)
        policies = checked.policies
        for policy in policies:
            await asyncio.to_thread(context.policies.texts.publish, policy)
    try:
        async with changing_policies(context, change) as desk:
            lines = plan_lines(policies, await own_live(desk.connection, change.merchant_id))
            plan = Plan(lines=lines, warnings=checked.warnings)
            if shown is not None and plan != shown:
                raise PlanChanged
            await _carry_out(desk, plan, {(policy.kind, policy.name): policy for policy in policies})
            if dry_run:
                await desk.check()
                raise _Enough(plan)
    except _Enough as enough:
        return enough.plan
    return plan


def plan_lines(policies: Sequence[Policy], live: Sequence[PolicyVersion]) -> tuple[PlanLine, ...]:
    """Return what has to change for `live` to become `policies`."""
    wanted: dict[tuple[str, str], str] = {(policy.kind, policy.name): policy.digest for policy in policies}
    present: dict[tuple[str, str], str] = {(version.kind, version.name): version.digest for version in live}
    return tuple(
        PlanLine(
            act=_act(wanted.get(key), present.get(key)),
            kind=key[0],
            name=key[1],
            digest=wanted.get(key),
            live=present.get(key),
        )
        for key in sorted(wanted.keys() | present.keys())
    )


async def apply_files(context: Context, folder: PolicyBook) -> None:
    """Put in force, for the house, the files of the folder that have changed since; take out those that are gone.

    Any number of processes may start at once. A policy whose file is gone stays where something else than that file
    was put in force under its name meanwhile. Raises `PolicyInvalid`.
    """
    policies = [compiled.policy for compiled in folder.policies]
    async with context.database.connection() as connection:
        if _as_applied(policies, await applied_files(connection)):
            return
    change = Change(merchant_id=None, actor=SYSTEM, origin=VersionOrigin.FILE, note="from the folder of policies")
    async with changing_policies(context, change) as desk:
        applied = {(file.kind, file.name): file for file in await applied_files(desk.connection)}
        for policy in policies:
            before = applied.pop((policy.kind, policy.name), None)
            if before is None or before.digest != policy.digest:
                version, _ = await desk.bring(policy)
                await desk.activate(version)
                await remember_file(desk.connection, AppliedFile(policy.kind, policy.name, policy.digest), desk.now)
        for gone in applied.values():
            await _take_out(desk, gone)


async def _take_out(desk: Desk, gone: AppliedFile) -> None:
    live = await live_version(desk.connection, None, gone.kind, gone.name)
    if live is not None and live.digest == gone.digest:
        await desk.move(live, VersionEvent.RETIRE, EventKind.POLICY_RETIRED, because=GONE)
    await forget_file(desk.connection, gone)


async def _carry_out(desk: Desk, plan: Plan, policies: Mapping[tuple[str, str], Policy]) -> None:
    for line in plan.changes:
        if line.act is PlannedAct.REMOVE:
            live = await live_version(desk.connection, desk.change.merchant_id, line.kind, line.name)
            assert live is not None  # planned under the same lock
            await desk.move(live, VersionEvent.RETIRE, EventKind.POLICY_RETIRED, because=GONE)
        else:
            version, _ = await desk.bring(policies[line.kind, line.name])
            await desk.activate(version)


def _act(wanted: str | None, present: str | None) -> PlannedAct:
    if wanted is None:
        return PlannedAct.REMOVE
    if present is None:
        return PlannedAct.ADD
    return PlannedAct.KEEP if wanted == present else PlannedAct.CHANGE


def _as_applied(policies: Sequence[Policy], applied: Sequence[AppliedFile]) -> bool:
    return {(p.kind, p.name, p.digest) for p in policies} == {(f.kind, f.name, f.digest) for f in applied}


def _check(files: Sequence[PolicyFile]) -> PolicySet:
    return check_set(files, called="files")
