"""docs/events.md lists every kind of event, and none that there is not."""

import re
from pathlib import Path

from recoup_core.domain.happened import EventKind


def test_every_event_is_documented_once_and_nothing_else(root: Path) -> None:
    """Whoever writes a receiver of webhooks reads the whole list."""
    told = re.findall(r"^\| `([a-z_.]+)` \|", (root / "docs" / "events.md").read_text("utf-8"), re.MULTILINE)

    assert sorted(told) == sorted(EventKind)
