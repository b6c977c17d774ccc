"""The matrix as the document shows it: gateway by scenario. Run it to write `docs/gateways.md` anew.

    .venv/bin/python -m tests.matrix.table

The tests of this folder hold each mark: a tick is a scenario that is played, a number a reason why there is none.
"""

from pathlib import Path
from typing import Final

from tests.matrix.columns import HEADINGS, NOT_THERE
from tests.matrix.scenarios import SCENARIOS

DOCUMENT: Final = Path(__file__).parents[2] / "docs" / "gateways.md"
BEGIN: Final = "<!-- matrix: written by tests/matrix/table.py -->"
END: Final = "<!-- end of the matrix -->"
TICK: Final = "✓"


def render() -> str:
    """Return the table and the reasons under it."""
    reasons = list(dict.fromkeys(NOT_THERE.values()))
    lines = [
        f"| scenario | {' | '.join(HEADINGS.values())} | how both sides end |",
        f"|---|{'---|' * len(HEADINGS)}---|",
    ]
    for scenario in SCENARIOS:
        marks = [
            f"– {reasons.index(NOT_THERE[column, scenario.name]) + 1}" if (column, scenario.name) in NOT_THERE else TICK
            for column in HEADINGS
        ]
        lines.append(f"| {scenario.name} | {' | '.join(marks)} | {scenario.ends} |")
    notes = [f"{number}. {reason}" for number, reason in enumerate(reasons, 1)]
    return "\n".join([BEGIN, "", *lines, "", *notes, "", END])


def replaced(document: str) -> str:
    """Return the document with the matrix as it is now."""
    before, _, rest = document.partition(BEGIN)
    _, _, after = rest.partition(END)
    return f"{before}{render()}{after}"


if __name__ == "__main__":
    DOCUMENT.write_text(replaced(DOCUMENT.read_text("utf-8")), "utf-8")
