"""Bodies about versions of policies and their deployment."""

from datetime import datetime
from typing import Annotated, Any, Final
from uuid import UUID

import msgspec
from msgspec import Meta

from recoup_core.domain.versions import PolicyVersion, VersionOrigin, VersionState
from recoup_core.flows.deploy import Plan, PlannedAct
from recoup_core.flows.versions import NOTE_MAX, Submitted
from recoup_core.rules.language.errors import Problem as PolicyProblem
from recoup_core.rules.language.yamltext import MAX_BYTES as MAX_POLICY
from recoup_core.rules.sets.folder import MAX_FILES, PolicyFile
from recoup_core.storage.versions import VersionText
from recoup_server.schemas_in import Body
from recoup_server.schemas_out import Out

FileName = Annotated[str, Meta(min_length=1, max_length=200, description="Names the file in problems.")]
Text = Annotated[str, Meta(max_length=MAX_POLICY, description="The policy as it would stand in its file.")]
Note = Annotated[str, Meta(min_length=1, max_length=NOTE_MAX, description="What the author says about it.")]

POLICY_FILE: Final = "policy.yaml"


class VersionIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A text to be kept as a version of the caller's own."""

    text: Text
    name: FileName = POLICY_FILE
    note: Note | None = None


class PolicyFileIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One file of a deployment."""

    text: Text
    name: FileName

    def file(self) -> PolicyFile:
        """Return the file as flows know it."""
        return PolicyFile(self.name, self.text)


class ApplyIn(Body, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """All policies that the caller's merchant is to have of its own; those of other names are retired."""

    files: Annotated[tuple[PolicyFileIn, ...], Meta(min_length=1, max_length=MAX_FILES)]
    dry_run: Annotated[bool, Meta(description="Only say what would change.")] = False
    note: Note | None = None


class VersionOut(Out, frozen=True, kw_only=True):
    """One version of a policy."""

    id: UUID
    kind: str
    name: str
    digest: str
    """The name of this exact text."""
    state: VersionState
    house: bool
    """Whether it is the house's, in force for every merchant that has none of its own."""
    origin: VersionOrigin
    author: str
    note: str | None
    created_at: datetime
    changed_at: datetime
    live_since: datetime | None
    """When it last went live; kept after it was retired."""
    retired_at: datetime | None


class VersionDetail(VersionOut, frozen=True, kw_only=True):
    """A version with its text."""

    text: str


class SubmittedOut(VersionOut, frozen=True, kw_only=True):
    """A version that was brought in."""

    warnings: list[PolicyProblem]
    """What is doubtful about the text, and keeps nobody from using it."""


class VersionPage(Out, frozen=True, kw_only=True):
    """Versions, newest first."""

    items: list[VersionOut]
    next_cursor: str | None


class PlanLineOut(Out, frozen=True, kw_only=True):
    """What a deployment does about one policy."""

    act: PlannedAct
    kind: str
    name: str
    digest: str | None
    """Of the file's text; null where no file has this name."""
    live: str | None
    """Of the text that was live before; null where none was."""


class PlanOut(Out, frozen=True, kw_only=True):
    """What a deployment has changed or, as a dry run, would change."""

    dry_run: bool
    changes: int
    lines: list[PlanLineOut]
    warnings: list[PolicyProblem]
    """What is doubtful about the files, and keeps nobody from using them."""


def version_out(version: PolicyVersion) -> VersionOut:
    """Return a version as callers see it."""
    return VersionOut(**_told(version))


def submitted_out(submitted: Submitted) -> SubmittedOut:
    """Return a version that was brought in as callers see it."""
    return SubmittedOut(**_told(submitted.version), warnings=list(submitted.warnings))


def detail_out(version: VersionText) -> VersionDetail:
    """Return a version with its text as callers see it."""
    return VersionDetail(**_told(version), text=version.body)


def plan_out(plan: Plan, *, dry_run: bool) -> PlanOut:
    """Return a plan as callers see it."""
    lines = [msgspec.convert(line, PlanLineOut, from_attributes=True) for line in plan.lines]
    return PlanOut(dry_run=dry_run, changes=len(plan.changes), lines=lines, warnings=list(plan.warnings))


def _told(version: PolicyVersion) -> dict[str, Any]:
    told = {name: getattr(version, name) for name in VersionOut.__struct_fields__ if name != "house"}
    return {**told, "house": version.merchant_id is None}
