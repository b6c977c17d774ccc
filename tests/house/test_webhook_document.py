"""docs/webhooks-in.md keeps up with the states, tasks, events and limits that it tells of."""

import re
from pathlib import Path

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.inbound import InboundState
from recoup_core.flows.catch_up import EVERY, OVERLAP
from recoup_core.flows.dead_letters import TRY_WAITS
from recoup_core.flows.inbound_reading import PARSE_TIMEOUT_S
from recoup_core.flows.intake import STORE_TIMEOUT_S
from recoup_core.flows.outcomes import MAX_SENDS
from recoup_core.flows.settle import UNKNOWN_AGE


def told(root: Path) -> str:
    return " ".join((root / "docs/webhooks-in.md").read_text().split())


def test_every_state_has_its_row(root: Path) -> None:
    """A client that meets a state finds what it means, and no state that isn't one."""
    tables = re.split(r"\n\n(?!\|)", (root / "docs/webhooks-in.md").read_text())
    first_cells = [re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in tables]

    assert [str(state) for state in InboundState] in first_cells


def test_every_event_and_task_is_named(root: Path) -> None:
    """Whoever follows the feed, or the queue, finds it explained."""
    kinds = [str(kind) for kind in EventKind if kind.startswith("inbound_event.")]
    tasks = [str(kind) for kind in TaskKind if kind.startswith("event_") and kind is not TaskKind.EVENT_NOT_FOLLOWED]

    assert [kind for kind in (*kinds, *tasks) if f"`{kind}`" not in told(root)] == []


def test_the_limits_it_names_are_those_of_the_code(root: Path) -> None:
    """In the words of the page."""
    text = told(root)
    minutes = [int(wait.total_seconds() // 60) for wait in TRY_WAITS]

    assert minutes == [1, 5, 15, 60, 180, 360, 720]
    assert "after 1, 5 and 15 minutes, 1, 3, 6 and 12 hours" in text
    assert f"longer than {PARSE_TIMEOUT_S:g} s" in text
    assert f"longer than {STORE_TIMEOUT_S:g} s" in text
    assert (PARSE_TIMEOUT_S + STORE_TIMEOUT_S, "given eight together" in text) == (8, True)
    assert f"every {EVERY.total_seconds() // 60:g} minutes" in text
    assert (OVERLAP.total_seconds() // 60, "ten minutes of overlap" in text) == (10, True)
    assert (MAX_SENDS, "eight times at most" in text) == (8, True)
    assert f"after {UNKNOWN_AGE.total_seconds() // 3600:g} hours the task" in text
