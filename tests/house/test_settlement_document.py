"""docs/settlement.md keeps up with what is taken in, told and asked."""

import re
from pathlib import Path

import pytest

from recoup_core.domain.happened import EventKind, TaskKind
from recoup_core.domain.settlement import LineState, Problem, SettlementKind
from recoup_core.flows.settlement.csv_format import HEAD, NEEDED, OPTIONAL, read_csv
from recoup_server.examples_settlement import UNKNOWN_CHARGE_CSV


@pytest.fixture
def text(root: Path) -> str:
    """The document."""
    return (root / "docs/settlement.md").read_text()


def test_every_kind_of_exception_has_its_row(text: str) -> None:
    """Whoever meets one finds what it means, and no kind that isn't one."""
    rows = re.findall(r"^\| `(\w+)` \|", text.partition("## Exceptions")[2].partition("## Our own")[0], re.M)

    assert rows == [str(problem) for problem in Problem]


def test_every_kind_and_state_of_a_line_is_named(text: str) -> None:
    """In the words that files and answers use."""
    assert [str(each) for each in [*SettlementKind, *LineState] if f"`{each}`" not in text] == []


def test_every_event_and_task_is_named(text: str, root: Path) -> None:
    """Here, and the task in the queues of operations."""
    kinds = [str(kind) for kind in EventKind if kind.startswith("settlement.")]

    assert [kind for kind in kinds if f"`{kind}`" not in text] == []
    assert f"`{TaskKind.SETTLEMENT_EXCEPTION}`" in (root / "docs/operations.md").read_text()


def test_the_example_is_the_one_that_is_tested_and_every_column_is_named(text: str) -> None:
    """Copied from the page, it is taken in."""
    [example] = re.findall(r"```csv\n(.*?)```", text, re.S)

    assert example == UNKNOWN_CHARGE_CSV
    assert read_csv(example.encode()).report_ref == "settlement_2026_11_20"
    assert [name for name in (*HEAD, *NEEDED, *OPTIONAL) if f"`{name}`" not in text] == []
