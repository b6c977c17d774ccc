"""docs/policies/first-policy.md, typed as it stands: each file is written, each command run, each answer compared."""

import re
import shlex
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

Recoup = Callable[..., Any]

ROOT = Path(__file__).parents[2]
TUTORIAL = (ROOT / "docs/policies/first-policy.md").read_text()
BLOCK = re.compile(r"^```(yaml|console)([^\n]*)\n(.*?)^```$", re.M | re.S)


def answers(block: str) -> Iterator[tuple[list[str], list[str]]]:
    """Yield each command of a block with the lines below it."""
    for part in re.split(r"^\$ ", block, flags=re.M)[1:]:
        command, *lines = part.splitlines()
        yield shlex.split(command), lines


def left_over(expected: list[str], lines: list[str]) -> list[str]:
    """Return what is not in the answer, in this order; `...` stands for anything."""
    missing, rest = [], iter(lines)
    for wanted in expected:
        pattern = re.compile(".*".join(map(re.escape, wanted.split("..."))))
        if wanted != "..." and not any(pattern.fullmatch(line) for line in rest):
            missing.append(wanted)
    return missing


def write(what: str, text: str) -> None:
    """Write a file, add to it (`+`), or change it (`old -> new`), as the line above the text says."""
    name, _, how = what.strip().partition(" ")
    file = Path(name)
    if " -> " in how:
        old, new = how.split(" -> ")
        assert file.read_text().count(old) == 1
        file.write_text(file.read_text().replace(old, new))
    else:
        file.write_text(f"{file.read_text()}\n{text}" if how == "+" else text)


@pytest.fixture
def shipped(configured: str, recoup: Recoup) -> None:
    """What comes with Recoup is in force, as in the demo."""
    assert recoup("policy", "apply", ROOT / "policies", "--yes").code == 0


def test_the_tutorial_does_what_it_says(shipped: None, recoup: Recoup) -> None:
    """Whoever types it sees what it shows."""
    ran = 0
    for language, what, text in BLOCK.findall(TUTORIAL):
        if language == "yaml":
            write(what, text)
            continue
        for command, expected in answers(text):
            done = recoup(*command[1:])
            assert left_over(expected, [*done.out.splitlines(), *done.err.splitlines()]) == [], done
            ran += 1

    assert ran >= 15


def test_a_line_that_does_not_come_is_found() -> None:
    """Else the test above could not fail."""
    assert left_over(["a", "...", "c ... e"], ["a", "b", "c d e"]) == []
    assert left_over(["b", "a"], ["a", "b"]) == ["a"]
