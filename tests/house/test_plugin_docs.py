"""docs/plugins.md takes an author from nothing to a passing plugin: each snippet is run, in order, in a new folder."""

import os
import re
import subprocess
import sys
from pathlib import Path
from typing import NamedTuple

import pytest

from recoup_core.settings import load_settings
from recoup_core.settings_reader import SettingsInvalid
from recoup_plugins.contract import CONTRACT, OLDEST
from recoup_plugins.limits import LIMITS
from recoup_plugins.testing.fault_proxy import FaultProxy

DOCUMENT = "docs/plugins.md"
LIMIT_S = 300
BLOCK = re.compile(r"^```(?P<language>\w+)(?: (?P<how>\S+))?\n(?P<text>.*?)^```$", re.M | re.S)
NOT_RUN = re.compile(r"python -m pip install -e \.\n")
"""The one thing that needs the internet: the test puts in its place what pip would have done."""


class Snippet(NamedTuple):
    """One fenced block."""

    language: str
    how: str | None
    text: str


def snippets(root: Path) -> list[Snippet]:
    return [Snippet(*found.groups()) for found in BLOCK.finditer((root / DOCUMENT).read_text())]


class Author:
    """Follows the document in a folder of their own, with this environment's tools."""

    def __init__(self, folder: Path) -> None:
        self.home = self.folder = folder
        path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
        kept = {name: value for name, value in os.environ.items() if not name.startswith(("RECOUP_", "PYTEST_"))}
        self.environment = {**kept, "PATH": path, "PYTHONDONTWRITEBYTECODE": "1"}

    def follow(self, snippet: Snippet) -> None:
        match snippet:
            case Snippet("shell", "no-run", text):
                assert NOT_RUN.fullmatch(text), text
                self._install()
            case Snippet("shell", None, text):
                *_, folder = self._run("bash", "-ec", f"{text}\npwd").splitlines()
                self.folder = Path(folder)
            case Snippet("python", None, text):
                self._run(sys.executable, "-c", text)
            case Snippet("python", how, text) if how is not None and how.startswith("file="):
                (self.folder / how.removeprefix("file=")).write_text(text)
            case Snippet("toml", None, text):
                (self.home / "recoup.toml").write_text(text)
                names = [f"{plugin}_{name}" for plugin in ("ACME", "PIGEON") for name in ("API_KEY", "WEBHOOK_SECRET")]
                settings = load_settings(dict.fromkeys(names, "s"), self.home)
                plugins = [one.plugin for one in (*settings.gateways, *settings.notifiers)]
                assert plugins == [self.folder.name.removeprefix("recoup-")]
            case _:
                raise AssertionError(f"nobody knows how to run {snippet}")

    def _install(self) -> None:
        name = self.folder.name.removeprefix("recoup-")
        info = self.folder / f"recoup_{name}-0.1.0.dist-info"
        info.mkdir()
        (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: recoup-{name}\nVersion: 0.1.0\n")
        (info / "entry_points.txt").write_text(f"[recoup.plugins]\n{name} = recoup_{name}\n")
        before = self.environment.get("PYTHONPATH")
        self.environment["PYTHONPATH"] = os.pathsep.join([str(self.folder), *([before] if before else [])])

    def _run(self, *command: str) -> str:
        done = subprocess.run(
            command,
            cwd=self.folder,
            env=self.environment,
            check=False,
            capture_output=True,
            text=True,
            timeout=LIMIT_S,
        )
        assert done.returncode == 0, f"{command[-1]}\n{done.stdout}{done.stderr}"
        return done.stdout


def test_every_snippet_runs_in_order(root: Path, tmp_path: Path) -> None:
    """Whoever copies them one after the other ends with a plugin that passes."""
    author = Author(tmp_path)

    for snippet in snippets(root):
        author.follow(snippet)

    assert author.folder.name == "recoup-pigeon"
    assert (tmp_path / "recoup-acme/tests/test_busy.py").exists()
    assert (author.folder / "tests/test_late.py").exists()


@pytest.mark.parametrize(
    "wrong",
    [
        Snippet("shell", None, "recoup plugin nwe acme\n"),
        Snippet("python", None, "assert False\n"),
        Snippet("toml", None, '[[gateways]]\nname = "a"\n'),
        Snippet("shell", "no-run", "recoup plugin list\n"),
        Snippet("ruby", None, ""),
    ],
    ids=["shell", "python", "toml", "not run", "language"],
)
def test_a_snippet_that_is_wrong_is_noticed(wrong: Snippet, tmp_path: Path) -> None:
    """Else the test above could not fail."""
    with pytest.raises((AssertionError, SettingsInvalid)):
        Author(tmp_path).follow(wrong)


def test_the_limits_that_are_told_are_those_that_hold(root: Path) -> None:
    """Numbers in a document grow old."""
    text = (root / DOCUMENT).read_text()

    for told in (
        f"wait {LIMITS.begin_s:g} s to begin",
        f"the {LIMITS.calls_at_once + 1}th is `NotSent`",
        f"ended after {LIMITS.parse_s:g} s; the provider",
        f"ended after {LIMITS.load_s:g} s; that plugin",
        f"ended after {LIMITS.build_s:g} s; the start",
    ):
        assert told in text


def test_the_versions_of_the_contract_are_told(root: Path) -> None:
    """Each one that is kept has its row."""
    rows = re.findall(r"^\| (\d+\.\d+) \|", (root / DOCUMENT).read_text(), re.M)

    assert (rows[0], rows[-1]) == (str(OLDEST), str(CONTRACT))


def test_every_way_to_break_a_provider_is_told(root: Path) -> None:
    """An author looks there first."""
    text = (root / DOCUMENT).read_text()
    ways = {name for name in vars(FaultProxy) if name.startswith(("lose", "reset", "answer", "delay", "stop"))}

    assert {way for way in ways if f"`{way}" not in text} == set()
