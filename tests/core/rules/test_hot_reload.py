"""Policies change while they are asked: no verdict is lost or wrong, and no version's memory stays behind."""

import subprocess
import sys
from pathlib import Path
from typing import Final

import msgspec
import pytest

SCRIPT: Final = Path(__file__).parent / "reload_often.py"
RELOADS: Final = 1_000
MAX_GROWTH: Final = 8 * 2**20
"""From the 200th reload to the last; the engine's memory of so many versions would be more than 1,500 MiB."""


class Told(msgspec.Struct, frozen=True, kw_only=True):
    """What the other process prints."""

    asked: int
    wrong: int
    fallbacks: int
    grown: int
    create_ruleset: int
    delete_ruleset: int
    delete_state: int


@pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="memory is read from /proc")
def test_a_thousand_reloads_keep_memory_flat_and_every_verdict_right() -> None:
    """Two threads ask all the time; every version's state and ruleset is deleted, once."""
    done = subprocess.run([sys.executable, str(SCRIPT)], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    told = msgspec.json.decode(done.stdout, type=Told)
    assert told.asked > RELOADS
    assert told.wrong == 0
    assert told.create_ruleset == told.delete_ruleset == told.delete_state == RELOADS + 1
    assert told.grown < MAX_GROWTH
