"""How far the demo has come, in one small file beside its database, so that the next start goes on from there."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec

from recoup_cli.refusals import Refused
from recoup_cli.single import write_private

FILE: Final = "demo.json"
KEY_FILE: Final = "api-key"
APPROVER_FILE: Final = "approver-key"


class DemoState(msgspec.Struct, frozen=True, kw_only=True):
    """What is played, and up to where in its own time."""

    payments: int
    seed: str
    start: datetime
    """When the played month begins."""
    end: datetime
    """When it ends: the moment of the first start."""
    position: datetime
    """Everything before this moment was played."""

    @property
    def finished(self) -> bool:
        """Whether the whole month was played."""
        return self.position >= self.end


class DemoClock:
    """Tells the demo's time while it plays, the machine's afterwards."""

    def __init__(self, at: datetime) -> None:
        self._at: datetime | None = at

    def now(self) -> datetime:
        """Return the present as aware UTC."""
        return datetime.now(UTC) if self._at is None else self._at

    def move_to(self, at: datetime) -> None:
        """Jump ahead in the demo's time."""
        self._at = at

    def let_go(self) -> None:
        """From now on be an ordinary clock."""
        self._at = None


def load_state(folder: Path) -> DemoState | None:
    """Return where the last start ended; None in a fresh folder."""
    try:
        return msgspec.json.decode((folder / FILE).read_bytes(), type=DemoState)
    except FileNotFoundError:
        return None
    except msgspec.MsgspecError as broken:
        raise Refused(f"{folder / FILE} can't be read: {broken}", f"remove {folder} to start afresh") from None


def save_state(folder: Path, state: DemoState) -> None:
    """Keep the state; a kill leaves the old one or the new one."""
    write_private(folder / FILE, msgspec.json.encode(state).decode())
