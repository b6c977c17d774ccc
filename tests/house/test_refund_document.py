"""docs/refunds.md and the glossary keep up with the state tables and events."""

import re
from pathlib import Path

import pytest

from recoup_core.domain.dispute import DisputeState
from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.refund import PartState, RefundState

ABOUT_REFUNDS = ("refund.", "store_credit.", "capture.", "delegation.", "dispute.")


@pytest.mark.parametrize("states", [RefundState, PartState, DisputeState])
def test_every_state_has_its_row(root: Path, states: type[RefundState | PartState | DisputeState]) -> None:
    """A client that meets a state finds what it means for the money, and no state that isn't one."""
    tables = re.split(r"\n\n(?!\|)", (root / "docs/refunds.md").read_text())
    first_cells = [re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE) for table in tables]

    assert [str(state) for state in states] in first_cells


def test_every_event_about_refunds_is_named(root: Path) -> None:
    """In full, or by its last word after the first of its family."""
    text = (root / "docs/refunds.md").read_text()
    about = [str(kind) for kind in EventKind if kind.startswith(ABOUT_REFUNDS)]

    missing = [kind for kind in about if f"`{kind}`" not in text and f"`.{kind.partition('.')[2]}`" not in text]

    assert missing == []


def test_every_task_about_refunds_is_in_the_queues(root: Path) -> None:
    """Whoever runs Recoup knows what waits for a person, and how it ends."""
    text = (root / "docs/operations.md").read_text()
    about = [str(kind) for kind in TaskKind if kind.startswith(("refund", "over_refunded", "dispute"))]

    assert [kind for kind in about if f"`{kind}`" not in text] == []
