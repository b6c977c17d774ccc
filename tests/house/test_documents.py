"""What the documents say is so."""

import re
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from tests.house.commands import commands_in, unknown_in
from tests.house.conftest import ROOT

from recoup_core.settings import Settings, load_settings
from recoup_core.settings_reader import PREFIX, leaf_paths

FIRST_SCREEN = 45


def read(root: Path, name: str) -> str:
    return (root / name).read_text()


def test_every_make_target_a_document_names_exists(root: Path) -> None:
    """A newcomer types what stands there."""
    targets = set(re.findall(r"^([a-z]+):", read(root, "Makefile"), re.MULTILINE))

    for name in ("README.md", "docs/operations.md", ".ci/run"):
        named = set(re.findall(r"(?:^|`|&& )make ([a-z]+)", read(root, name), re.MULTILINE))
        assert named <= targets, name


def test_the_first_screen_shows_demo_and_tests(root: Path) -> None:
    """Two commands, at once visible."""
    first = read(root, "README.md").splitlines()[:FIRST_SCREEN]

    assert any(line.startswith("make demo") for line in first)
    assert any(line.startswith("make test") for line in first)


DOCUMENTS = sorted(
    path.relative_to(ROOT)
    for pattern in (
        "*.md",
        "docs/**/*.md",
        "policies/*.md",
        "*/README.md",
        "core/adr/*.md",
        "docker-compose.yml",
        ".ci/run",
    )
    for path in ROOT.glob(pattern)
)


@pytest.mark.parametrize("name", DOCUMENTS, ids=str)
def test_every_command_and_option_a_document_names_exists(name: Path) -> None:
    """What people copy from a document runs."""
    text = (ROOT / name).read_text()

    assert {command: word for command in commands_in(text) if (word := unknown_in(command))} == {}


def test_commands_are_found_and_held_to_the_command_line() -> None:
    """Else the test above could not fail."""
    wrong = "`recoup polcy check`\n  recoup policy check \\\n    --fromat json | cat\n- run: recoup nothing\n"
    text = f"{wrong}the word recoup is ours\n"

    assert [unknown_in(command) for command in commands_in(text)] == ["polcy", "--fromat", "nothing"]
    assert unknown_in("policy check policies --format sarif --strict") is None


def test_pipelines_in_the_documents_are_yaml_with_commands_that_exist() -> None:
    """A step that is quoted away from its line would be missed by looking at lines alone."""
    blocks = re.findall(r"^```yaml\n(.*?)^```$", (ROOT / "docs/policies/ci.md").read_text(), re.M | re.S)

    found = [line for block in blocks for line in steps(yaml.safe_load(block)) if line.startswith("recoup ")]

    assert len(found) >= 5
    assert [unknown_in(line.partition(">")[0].removeprefix("recoup ")) for line in found] == [None] * len(found)


def steps(part: Any) -> Iterator[str]:
    """Yield every text in a pipeline."""
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict | list):
        for each in part.values() if isinstance(part, dict) else part:
            yield from steps(each)


def test_every_setting_is_documented_and_nothing_else(root: Path) -> None:
    """docs/configuration.md is the whole list."""
    known = {PREFIX + "_".join(path).upper() for path in leaf_paths(Settings)}

    documented = set(re.findall(r"^\| `[a-z_.]+` \| `(RECOUP_[A-Z_]+)`", read(root, "docs/configuration.md"), re.M))

    assert documented == known


def test_the_example_settings_are_valid(root: Path, tmp_path: Path) -> None:
    """Copied and given its secrets, the example starts."""
    text = read(root, "docs/recoup.example.toml").replace("/run/gateway-secrets", str(tmp_path))
    (tmp_path / "recoup.toml").write_text(text)
    for name in ("stripe_api_key", "stripe_webhook_secret"):
        (tmp_path / name).write_text("secret")

    settings = load_settings({}, tmp_path)

    assert [gateway.name for gateway in settings.gateways] == ["stripe-eu"]


def test_the_changelog_knows_the_version(root: Path) -> None:
    """No release without a word about it."""
    version = tomllib.loads(read(root, "pyproject.toml"))["project"]["version"]

    assert f"\n## {version}" in read(root, "docs/CHANGELOG.md")


def test_links_in_documents_lead_somewhere() -> None:
    """A relative link names a file of the checkout."""
    for name in DOCUMENTS:
        here = (ROOT / name).parent
        links = re.findall(r"\]\((?!https?:)([^)#]+)", (ROOT / name).read_text())
        assert [link for link in links if not (here / link).exists()] == [], name
