"""`python tests/bench/run.py [NAME ...]` measures and prints tables; `--write` keeps them in docs/benchmarks.md.

Each benchmark runs in a process of its own and has a section of its own on the page: those that were not asked for, or
failed, stay as they were. None asserts anything about time: numbers are read by people.
"""

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec
from report import Result, heading, kept, markdown, tell

NAMES: Final = ("decisions", "compile", "simulate", "payments", "refunds", "stream", "jobs", "claims", "memory")
TIMEOUT_S: Final = 3_600
PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"


def main() -> int:
    """Run what was asked for; a benchmark that fails is named and the others go on."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(NAMES)}; all, if none is given")
    parser.add_argument("--quick", action="store_true", help="small sizes: to see that it works, not to measure")
    parser.add_argument("--write", action="store_true", help="write the tables to docs/benchmarks.md")
    parser.add_argument("--into", type=Path, help=argparse.SUPPRESS)
    chosen = parser.parse_args()
    names = chosen.names or list(NAMES)
    if unknown := sorted(set(names) - set(NAMES)):
        parser.error(f"there is no benchmark {unknown[0]!r}")
    if chosen.into is not None:
        result: Result = import_module(names[0]).run(quick=chosen.quick)
        chosen.into.write_bytes(msgspec.json.encode(result))
        return 0
    return _run(names, quick=chosen.quick, write=chosen.write)


def _run(names: list[str], *, quick: bool, write: bool) -> int:
    sections: dict[str, str] = {}
    for name in names:
        top = heading()
        result = _measured(name, quick=quick)
        if result is None:
            continue
        places = "".join(f"- {place}\n" for place in result.places)
        sections[name] = f"{top}\n{places}\n" + "\n".join(markdown(table) for table in result.tables)
        print(sections[name])
        if write:  # at once: a later benchmark that fails loses nothing
            before = PAGE.read_text() if PAGE.exists() else "# Benchmarks\n"
            PAGE.write_text(kept(before, {name: sections[name]}, NAMES))
    failed = [name for name in names if name not in sections]
    for name in failed:
        tell(f"{name} could not be measured; see above")
    return 1 if failed else 0


def _measured(name: str, *, quick: bool) -> Result | None:
    tell(f"{name} ...")
    with tempfile.TemporaryDirectory(prefix="recoup-bench-") as folder:
        into = Path(folder) / "result"
        command = [sys.executable, __file__, name, "--into", str(into), *(["--quick"] if quick else [])]
        done = subprocess.run(command, check=False, timeout=TIMEOUT_S)
        if done.returncode != 0 or not into.exists():
            return None
        return msgspec.json.decode(into.read_bytes(), type=Result)


if __name__ == "__main__":
    sys.exit(main())
