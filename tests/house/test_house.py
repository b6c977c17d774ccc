"""The rules about ourselves: the tree, the imports, the errors, and texts that nobody may leave behind."""

import importlib
import pkgutil
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import recoup_cli
import recoup_core
import recoup_plugins
import recoup_server
import recoup_workers
from recoup_core.domain.errors import DomainError

TOP_LEVEL = {
    "core", "policies", "plugins", "server", "workers", "tests", "docs", "pyproject.toml", "README.md",
    "docker-compose.yml", "Makefile", "requirements.lock", "LICENSE",
}  # fmt: skip
PACKAGES = (recoup_core, recoup_plugins, recoup_server, recoup_workers, recoup_cli)
UNFINISHED = re.compile(r"\b(?:TO" r"DO|FIX" r"ME|X" r"XX)\b")
ELSEWHERE = re.compile(r"/wo" r"rk/|/ro" r"ot/|/home/\w|pypi\.o" r"rg|pythonho" r"sted")
DATA = {".csv", ".lock"}


def test_import_rules_hold() -> None:
    """Imports point inwards; the contracts stand in pyproject.toml."""
    checked = subprocess.run(
        [Path(sys.executable).with_name("lint-imports"), "--no-cache"], check=False, capture_output=True, text=True
    )

    assert checked.returncode == 0, checked.stdout


def test_the_top_level_is_as_agreed(root: Path, files: list[Path]) -> None:
    """Nothing but the agreed folders and files, and dotfiles."""
    top = {path.relative_to(root).parts[0] for path in files}

    assert {name for name in top if not name.startswith(".")} - TOP_LEVEL == set()


def test_every_refusal_has_a_code_of_its_own() -> None:
    """The API maps codes to statuses once; two rules behind one code could not be told apart."""
    load_everything()

    codes = Counter(kind.code for kind in subclasses(DomainError))

    assert {code: count for code, count in codes.items() if count > 1} == {}
    assert DomainError.code not in codes
    assert all(re.fullmatch(r"[a-z][a-z0-9_]*", code) for code in codes)


def test_nothing_is_left_unfinished(files: list[Path]) -> None:
    """What is not done is not in the code."""
    written = [path for path in files if path.name != "schema.json"]  # which lists a currency of that name

    assert found(UNFINISHED, written) == []


def test_no_file_names_a_machine_or_a_registry(files: list[Path]) -> None:
    """A checkout works anywhere."""
    assert found(ELSEWHERE, [path for path in files if path.suffix not in DATA]) == []


def test_modules_stay_small_enough_to_read(files: list[Path]) -> None:
    """About 300 lines; 400 is too many whatever the reason."""
    long = {
        path.name: count
        for path in files
        if path.suffix == ".py" and "tests" not in path.parts
        if (count := len(path.read_text().splitlines())) > 400
    }

    assert long == {}


def load_everything() -> None:
    for package in PACKAGES:
        for info in pkgutil.walk_packages(package.__path__, f"{package.__name__}."):
            if not info.name.endswith("conformance"):  # pytest classes, for plugin authors' own runs
                importlib.import_module(info.name)


def subclasses(kind: type[DomainError]) -> Iterator[type[DomainError]]:
    for child in kind.__subclasses__():
        if child.__module__.startswith("recoup_"):
            yield child
            yield from subclasses(child)


def found(pattern: re.Pattern[str], paths: list[Path]) -> list[str]:
    readable = (path for path in paths if path.suffix != ".png")
    texts = ((path, path.read_text(errors="replace").splitlines()) for path in readable)
    return [
        f"{path.name}:{number}" for path, lines in texts for number, line in enumerate(lines, 1) if pattern.search(line)
    ]
