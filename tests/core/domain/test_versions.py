"""The life of a policy version is a table, and its times follow from it."""

from datetime import UTC, datetime, timedelta
from itertools import product
from typing import Any
from uuid import uuid4

import pytest

from recoup_core.domain.errors import IllegalTransition
from recoup_core.domain.versions import VERSION, PolicyVersion, VersionEvent, VersionOrigin, VersionState

NOW = datetime(2026, 11, 23, 9, tzinfo=UTC)
LATER = NOW + timedelta(hours=1)

ALLOWED = {
    "draft": {"shadow": "shadow", "experiment": "experiment", "activate": "live", "retire": "retired"},
    "shadow": {"experiment": "experiment", "activate": "live", "retire": "retired"},
    "experiment": {"shadow": "shadow", "activate": "live", "retire": "retired"},
    "live": {"retire": "retired"},
    "retired": {"shadow": "shadow", "activate": "live"},
}


def a_version(**fields: Any) -> PolicyVersion:
    given = {
        "id": uuid4(),
        "kind": "retry",
        "name": "cards",
        "digest": "0" * 64,
        "origin": VersionOrigin.API,
        "author": "key:anna",
        "created_at": NOW,
        "changed_at": NOW,
    }
    return PolicyVersion(**{**given, **fields})


@pytest.mark.parametrize(("state", "event"), list(product(VersionState, VersionEvent)))
def test_every_pair_is_allowed_or_refused(state: VersionState, event: VersionEvent) -> None:
    """What the table leaves out is refused: nothing goes back to draft, and what is live only leaves by retiring."""
    expected = ALLOWED[state].get(event)

    if expected is None:
        with pytest.raises(IllegalTransition):
            VERSION.after(state, event)
    else:
        assert VERSION.after(state, event) == expected


def test_going_live_and_retiring_leave_their_times() -> None:
    """A rollback looks for what was live once: retiring keeps that time, coming back renews it."""
    live = a_version().after(VersionEvent.ACTIVATE, NOW)
    retired = live.after(VersionEvent.RETIRE, LATER)
    again = retired.after(VersionEvent.ACTIVATE, LATER)

    assert (live.live_since, live.retired_at) == (NOW, None)
    assert (retired.live_since, retired.retired_at, retired.changed_at) == (NOW, LATER, LATER)
    assert (again.live_since, again.retired_at) == (LATER, None)


def test_a_draft_that_is_retired_was_never_live() -> None:
    """So no rollback leads to it."""
    assert a_version().after(VersionEvent.RETIRE, NOW).live_since is None
