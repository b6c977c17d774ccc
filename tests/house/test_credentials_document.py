"""docs/credentials.md keeps up with what can become of a means of payment."""

import re
from pathlib import Path

from recoup_core.domain.happened import EventKind
from recoup_core.domain.payment import BlockedBecause
from recoup_core.flows.credentials.asking import LINK_TIMEOUT_S, MAX_LISTED
from recoup_core.flows.credentials.backups import WAITS
from recoup_core.flows.credentials.links import ASKED_AGAIN, LIFETIME
from recoup_core.ports import CredentialChange


def text(root: Path) -> str:
    return (root / "docs/credentials.md").read_text()


def test_every_event_about_credentials_is_named(root: Path) -> None:
    """Whoever follows the events finds what each means."""
    about = [str(kind) for kind in EventKind if kind.startswith(("credential.", "update_link."))]

    assert [kind for kind in about if f"`{kind}`" not in text(root)] == []


def test_every_news_and_every_block_has_its_row(root: Path) -> None:
    """What a gateway may tell, and what brings a blocked credential back."""
    first_cells = " ".join(re.findall(r"^\| ([^|]+) \|", text(root), re.MULTILINE))

    assert [str(change) for change in CredentialChange if str(change) not in first_cells] == []
    assert [str(because) for because in BlockedBecause if f"`{because}`" not in first_cells] == []


def test_its_numbers_are_those_of_the_code(root: Path) -> None:
    """A bound that is changed in the code alone would be a wrong promise."""
    minutes = [int(wait.total_seconds()) // 60 for wait in WAITS]

    assert minutes == [1, 10, 60]
    assert "after 1 minute,\n  10 minutes and 1 hour" in text(root)
    assert f"At most {MAX_LISTED} credentials a gateway" in text(root)
    assert f"wanted for {LIFETIME.days} days" in text(root)
    assert f"for {int(ASKED_AGAIN.total_seconds()) // 3600} hours" in text(root)
    assert f"in {LINK_TIMEOUT_S:.0f} s" in text(root)
