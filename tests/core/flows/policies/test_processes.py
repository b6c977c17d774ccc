"""Activation over real processes: none of them decides with an old version once an activation has been committed."""

import subprocess
import sys
from pathlib import Path
from time import monotonic_ns
from typing import Any

from recoup_core.flows.versions import activate

PROCESSES = 3
ACTIVATIONS = 25
END_S = 60


def start(url: str, policy: Path) -> "subprocess.Popen[str]":
    """Start a process that opens cases until its input is closed."""
    script = Path(__file__).with_name("opener.py")
    return subprocess.Popen(
        [sys.executable, str(script), url, str(policy)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )


async def test_no_process_decides_with_an_older_version(installation: Any, database_url: str, tmp_path: Path) -> None:
    """Three processes of the operating system open cases while versions follow each other; every case has a version
    that was in force between its beginning and its end, by the one clock that all of them read."""
    folder = tmp_path / "cards.yaml"
    folder.write_text(installation.text())
    desk = await installation.start(installation.text())
    versions = [await installation.bring(desk, installation.text(note=str(number))) for number in range(ACTIVATIONS)]
    (first,) = await installation.rows(desk, "SELECT digest FROM policy_version WHERE state = 'live'")
    openers = [start(database_url, folder) for _ in range(PROCESSES)]
    heads = [opener.stdout.readline() for opener in openers if opener.stdout]  # each has opened its first case
    changes: list[tuple[int, int]] = []
    for version in versions:
        begun = monotonic_ns()
        await activate(desk.context, version.id, installation.by())
        changes.append((begun, monotonic_ns()))
    lines = heads + [line for opener in openers for line in opener.communicate(timeout=END_S)[0].splitlines()]

    assert [opener.returncode for opener in openers] == [0] * PROCESSES
    assert all(heads)
    order = [first, *(version.digest for version in versions)]
    for line in lines:
        begun, ended, digest = line.split()
        certain = sum(done < int(begun) for _, done in changes)  # committed before the case was begun
        possible = sum(start < int(ended) for start, _ in changes)  # asked for before it was there
        assert digest in order[certain : possible + 1]
    assert len({line.split()[2] for line in lines}) > PROCESSES
