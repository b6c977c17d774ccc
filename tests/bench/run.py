"""`python tests/bench/run.py [NAME ...]` measures and prints tables; `--write` keeps them in docs/benchmarks.md.

Each benchmark runs in a process of its own. None asserts anything about time: numbers are read by people.
"""

import argparse
import subprocess
import sys
import tempfile
from importlib import import_module
from pathlib import Path
from typing import Final

import msgspec
from report import Result, heading, markdown, tell

NAMES: Final = ("decisions", "payments", "jobs", "claims", "memory")
TIMEOUT_S: Final = 3_600
PAGE: Final = Path(__file__).parents[2] / "docs" / "benchmarks.md"
BEGIN: Final = "<!-- measured: written by `make bench`, not by hand -->"


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
    top = heading([])
    results = {name: _measured(name, quick=quick) for name in names}
    good = [result for result in results.values() if result is not None]
    places = list(dict.fromkeys(place for result in good for place in result.places))
    text = "\n".join([top, *(f"- {place}" for place in places), ""])
    text += "\n" + "\n".join(markdown(table) for result in good for table in result.tables)
    print(text)
    if write:
        before = PAGE.read_text().partition(BEGIN)[0] if PAGE.exists() else "# Benchmarks\n\n"
        PAGE.write_text(f"{before}{BEGIN}\n\n{text}")
    failed = [name for name, result in results.items() if result is None]
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
