"""Versions of a policy: each distinct text is one, and where it stands between draft and retired."""

from collections.abc import Mapping
from datetime import datetime
from enum import StrEnum
from typing import Final
from uuid import UUID

import msgspec

from recoup_core.domain.machine import Machine


class VersionState(StrEnum):
    """What a version is used for."""

    DRAFT = "draft"
    """Nothing yet."""
    SHADOW = "shadow"
    """Decides beside the live one; nothing is done about it."""
    EXPERIMENT = "experiment"
    """Decides for a share of the new cases."""
    LIVE = "live"
    """Decides for new cases."""
    RETIRED = "retired"
    """Decides only for the cases that opened under it."""


class VersionEvent(StrEnum):
    """What can be done with a version."""

    SHADOW = "shadow"
    EXPERIMENT = "experiment"
    ACTIVATE = "activate"
    RETIRE = "retire"


_S, _E = VersionState, VersionEvent

VERSION_TRANSITIONS: Final[Mapping[tuple[VersionState, VersionEvent], VersionState]] = {
    (_S.DRAFT, _E.SHADOW): _S.SHADOW,
    (_S.DRAFT, _E.EXPERIMENT): _S.EXPERIMENT,
    (_S.DRAFT, _E.ACTIVATE): _S.LIVE,
    (_S.DRAFT, _E.RETIRE): _S.RETIRED,
    (_S.SHADOW, _E.EXPERIMENT): _S.EXPERIMENT,
    (_S.SHADOW, _E.ACTIVATE): _S.LIVE,
    (_S.SHADOW, _E.RETIRE): _S.RETIRED,
    (_S.EXPERIMENT, _E.SHADOW): _S.SHADOW,  # stopped, and looked at for a while longer
    (_S.EXPERIMENT, _E.ACTIVATE): _S.LIVE,
    (_S.EXPERIMENT, _E.RETIRE): _S.RETIRED,
    (_S.LIVE, _E.RETIRE): _S.RETIRED,  # another one took its place, or nothing did
    (_S.RETIRED, _E.SHADOW): _S.SHADOW,
    (_S.RETIRED, _E.ACTIVATE): _S.LIVE,  # a rollback, or the same text deployed again
}

VERSION: Final = Machine("policy version", VERSION_TRANSITIONS)

IN_USE: Final = frozenset({_S.SHADOW, _S.EXPERIMENT, _S.LIVE})
"""States in which a version has a say about new cases or is watched."""


class VersionOrigin(StrEnum):
    """By which way a text first came in."""

    FILE = "file"
    """From the folder of policies, when a process started."""
    API = "api"
    CLI = "cli"


class PolicyVersion(msgspec.Struct, frozen=True, kw_only=True):
    """One policy text of one owner, and what it is used for; the text itself is kept under its digest for good."""

    id: UUID
    merchant_id: str | None = None
    """Whose it is; None for the house's, in force for every merchant without an own one of the same kind and name."""
    kind: str
    name: str
    digest: str
    state: VersionState = VersionState.DRAFT
    origin: VersionOrigin
    author: str
    """Who brought the text in, as events name actors."""
    note: str | None = None
    created_at: datetime
    changed_at: datetime
    """When its state last changed."""
    live_since: datetime | None = None
    """When it last went live; kept after it was retired."""
    retired_at: datetime | None = None
    """Since when it is retired; None while it is not."""

    def after(self, event: VersionEvent, now: datetime) -> "PolicyVersion":
        """Return the version as it is after the event; an absent pair raises `IllegalTransition`."""
        state = VERSION.after(self.state, event)
        return msgspec.structs.replace(
            self,
            state=state,
            changed_at=now,
            live_since=now if state is VersionState.LIVE else self.live_since,
            retired_at=now if state is VersionState.RETIRED else None,
        )
