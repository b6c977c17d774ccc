"""The page of measured numbers loses nothing when one benchmark is measured again."""

import re
from collections.abc import Callable
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

import pytest

HERE = Path(__file__).parent
PAGE = "# Benchmarks\n\nWords.\n\n<!-- measured: one -->\n\nold one\n\n<!-- measured: three -->\n\nthree\n"
ORDER = ("one", "two", "three")
Kept = Callable[..., str]


@pytest.fixture
def kept() -> Kept:
    """Load the module by its path: benchmarks are scripts, not a package."""
    spec = spec_from_file_location("bench_report", HERE / "report.py")
    assert spec is not None
    assert spec.loader is not None
    module = module_from_spec(spec)
    spec.loader.exec_module(module)
    function: Kept = module.kept
    return function


def test_other_sections_stay_as_they_are(kept: Kept) -> None:
    """What was measured anew replaces its own section only."""
    page = kept(PAGE, {"one": "new one\n\nwith <!-- a comment -->"}, ORDER)

    assert page == PAGE.replace("old one", "new one\n\nwith <!-- a comment -->")


def test_a_new_section_takes_its_place(kept: Kept) -> None:
    """In the order of the benchmarks; sections of benchmarks that are gone come last, and are not lost."""
    page = kept(PAGE, {"two": "two"}, ("two", "one"))

    names = [line for line in page.splitlines() if line.startswith("<!--")]
    assert names == [f"<!-- measured: {name} -->" for name in ("two", "one", "three")]


def test_the_committed_page_can_be_written_again(kept: Kept) -> None:
    """Nothing of it would change but for what is measured."""
    text = (HERE.parents[1] / "docs" / "benchmarks.md").read_text()
    order = re.findall(r"^<!-- measured: (\w+) -->$", text, re.MULTILINE)

    assert {"decisions", "compile", "payments", "jobs", "claims", "memory"} <= set(order)
    assert kept(text, {}, order) == text
